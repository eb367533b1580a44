"""Runs that comparisons train: stage by stage through main, kept apart.

Everything lies under data/comparisons/<name> and workdirs/comparisons/<name>, so that
the runs of the pipeline stay as they are. Each stage goes on, or has nothing to do,
when a script is started again. `comparison_table.py` reads them.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aplantida_jax import paths
from aplantida_jax.models import registry
from aplantida_jax.train import run_directory

ROOT = Path(__file__).resolve().parents[1]
COLLECTION = {
    "demo": ("demo_data", "export_dataset", "download", "split"),
    "photos": ("export_dataset", "download", "split"),
}


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to train the student.

    Attributes:
        name: of the row.
        config: the experiment's file.
        fields: beside seed and length.
        begins: the way that it goes on from, "" for none.
        reference: the way that it is compared with, told before it; "" for none.
        scratch: without weights from ImageNet.
    """

    name: str
    config: str
    fields: tuple[str, ...] = ()
    begins: str = ""
    reference: str = ""
    scratch: bool = False


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a comparison's data and runs are.

    Attributes:
        data: "demo" or "photos", the variant of every configuration.
        name: of the comparison, a directory below "comparisons".
        fields: for every stage, e.g. "source.uri=...".
        quick: the smallest that runs, for trying a script out.
    """

    data: str
    name: str
    fields: tuple[str, ...]
    quick: bool

    @property
    def data_dir(self) -> Path:
        return ROOT / "data" / "comparisons" / self.name

    @property
    def runs_dir(self) -> Path:
        return ROOT / "workdirs" / "comparisons" / self.name

    def stage(
        self, config: str, stage: str, fields: Iterable[str] = (), *, of: str = ""
    ) -> None:
        """Runs a stage of an experiment; what it says goes to a log.

        Args:
            config: the experiment's file.
            stage: the stage.
            fields: beside those of the place.
            of: the run whose working directory it is, where the name says another.

        Raises:
            SystemExit: it failed; names the log.
        """
        given = [*self.fields, f"data_dir={self.data_dir}", f"runs_dir={self.runs_dir}"]
        given += fields
        self.runs_dir.mkdir(parents=True, exist_ok=True)
        log = self.runs_dir / "log.txt"
        command = [
            *(sys.executable, "-m", "aplantida_jax.main"),
            *(f"--config=configs/{config}.py:{self.data}", f"--config.stage={stage}"),
            *(f"--config.{field}" for field in given),
            *((f"--workdir={self.runs_dir / of}",) if of else ()),
        ]
        with log.open("a") as out:
            print("$", *command, file=out, flush=True)
            ended = subprocess.run(command, cwd=ROOT, stdout=out, stderr=out)
        if ended.returncode:
            last = log.read_text(errors="replace").splitlines()[-1:]
            raise SystemExit(f"{config}, {stage}: {''.join(last)} (see {log})")

    def collection(self) -> None:
        """Makes photos, label map and splits; no regions, no audit."""
        for stage in COLLECTION[self.data]:
            self.stage("dataset", stage)

    def trained(self, config: str, name: str, fields: Iterable[str] = ()) -> None:
        """Trains and evaluates a run called `name`."""
        for stage in ("train", "evaluate"):
            self.stage(config, stage, (f"name={name}", *fields))

    def evaluation(self, name: str, region: str = "") -> dict[str, Any]:
        """metrics.json of a run on test."""
        directory = paths.evaluation_dir(self.runs_dir / name, "test", region)
        path = directory / "metrics.json"
        return json.loads(path.read_text(encoding="utf-8"))

    def minutes(self, name: str) -> float | None:
        """The training of a run at its steady pace, validation included.

        By its checkpoints: neither the compilation nor the time that it was stopped
        counts. None before two of them.
        """
        workdir = self.runs_dir / name
        epochs = run_directory.history(workdir).read_text().splitlines()
        pace = run_directory.seconds_per_step(workdir)
        return pace and pace * json.loads(epochs[-1])["step"] / 60

    def parameters(self, name: str) -> int:
        """How many parameters the network of a run has, BatchNorm's statistics too."""
        best = json.loads(paths.best(self.runs_dir / name).read_text())
        fields = dict(best["model"])
        size = fields["image_size"]
        module = registry.create(fields.pop("name"), **fields)
        shapes = jax.eval_shape(
            module.init, jax.random.key(0), jnp.zeros((1, size, size, 3))
        )
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that the comparisons share."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--data", choices=sorted(COLLECTION), default="demo")
    parser.add_argument(
        "--dump", type=Path, help="of the photos, as scripts/real_photos.sh takes it"
    )
    parser.add_argument("--small", type=Path, help="weights of MobileNetV2 0.35")
    parser.add_argument(
        "--seeds", type=_at_least_one, default=2, help="students of each way"
    )
    parser.add_argument("--epochs", type=int, help="of every student")
    parser.add_argument("--only", action="append", help="a row; may be repeated")
    parser.add_argument("--table", action="store_true", help="only of what is there")
    parser.add_argument("--quick", action="store_true", help="a trial of the script")
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1")
    return int(text)


def place_of(options: argparse.Namespace, name: str) -> Place:
    """The place that the options describe; --quick has its own.

    Raises:
        SystemExit: a file that the photos need is not given, or is not there.
    """
    fields: list[str] = []
    if options.data == "photos" and not options.table:
        for option in sorted({"dump", "small", "large"} & set(vars(options))):
            file = getattr(options, option)
            if file is None or not file.is_file():
                given = f"is no file: {file}" if file else "is not given"
                raise SystemExit(f"--data=photos needs --{option}=FILE, which {given}")
        fields.append(f"source.uri={options.dump.resolve()}")
    elif options.quick:
        fields += ["demo.species=12", "demo.images=240"]
    apart = f"{name}_{options.data}" + ("_quick" if options.quick else "")
    place = Place(options.data, apart, tuple(fields), options.quick)
    if options.data == "demo":
        # The dump lies where demo_data writes it.
        uri = f"source.uri={place.data_dir}/raw/plants.jsonl"
        place = dataclasses.replace(place, fields=(*fields, uri))
    return place


def run_name(way: str, seed: int) -> str:
    """E.g. ("online, mixup", 2) -> "online_mixup_s2"."""
    plain = "".join(c if c.isalnum() else "_" for c in way).replace("__", "_")
    return f"{plain}_s{seed}"


def asked(
    ways: Mapping[str, Way], only: Sequence[str] | None, *, always: str
) -> list[str]:
    """The names of `only`, or all; with what they begin from and are compared with.

    Raises:
        SystemExit: there is no such way.
    """
    if unknown := sorted(set(only or ()) - set(ways)):
        raise SystemExit(f"no way {unknown[0]!r}; there are: {'; '.join(ways)}")
    missing = {always, *only} if only else set(ways)
    needed: set[str] = set()
    while missing:
        needed |= missing
        more = ({ways[name].begins, ways[name].reference} for name in missing)
        missing = set().union(*more) - needed - {""}
    return [name for name in ways if name in needed]


def train(
    place: Place,
    way: Way,
    runs: Sequence[str],
    *,
    epochs: int,
    weights: Path | None = None,
) -> None:
    """Trains and evaluates the students of a way, one for each seed.

    Args:
        place: of the runs.
        way: how.
        runs: their names, by seed from 1.
        epochs: of a way that goes on from no other.
        weights: pretrained, of such a way that is not from scratch.
    """
    for seed, name in enumerate(runs, start=1):
        fields = [f"seed={seed}", *way.fields]
        if way.begins:
            fields.append(f"model.init_from={run_name(way.begins, seed)}")
        else:
            fields += [f"train.epochs={epochs}", f"train.patience={epochs}"]
            if weights and not way.scratch:
                fields += pretrained(weights)
        if place.quick:
            fields += ["train.epochs=1", "train.warmup_epochs=0.0"]
            if any(field.startswith("model.head_rank") for field in way.fields):
                fields.append("model.head_rank=8")  # of so few classes
        print(f"{way.name}, seed {seed} ...", flush=True)
        place.trained(way.config, name, fields)


def pretrained(file: Path) -> tuple[str, str]:
    """The fields of a trial's weights."""
    # Files that state no licence are refused; nothing of this trial ships.
    return f"model.pretrained={file.resolve()}", "model.pretrained_licence=Apache-2.0"
