"""Runs that comparisons train and read: stage by stage through main, kept apart.

Everything lies under data/comparisons/<name> and workdirs/comparisons/<name>, so that
the runs of the pipeline stay as they are. Each stage goes on, or has nothing to do,
when a script is started again.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aplantida_jax import files, paths
from aplantida_jax.models import registry

ROOT = Path(__file__).resolve().parents[1]
COLLECTION = {
    "demo": ("demo_data", "export_dataset", "download", "split"),
    "photos": ("export_dataset", "download", "split"),
}


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

    def minutes(self, name: str) -> float:
        """How long the training of a run took."""
        made = json.loads((self.runs_dir / name / "manifest.json").read_text())
        began, ended = (
            datetime.fromisoformat(made[k]) for k in ("started", "finished")
        )
        return (ended - began).total_seconds() / 60

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
    parser.add_argument("--seeds", type=int, default=2, help="students of each way")
    parser.add_argument("--epochs", type=int, help="of every student")
    parser.add_argument("--only", action="append", help="a row; may be repeated")
    parser.add_argument("--table", action="store_true", help="only of what is there")
    parser.add_argument("--quick", action="store_true", help="a trial of the script")
    return parser


def place_of(options: argparse.Namespace, name: str) -> Place:
    """The place that the options describe; --quick has its own."""
    fields: list[str] = []
    if options.data == "photos":
        if options.dump is None or options.small is None:
            raise SystemExit("--data=photos needs --dump=DUMP.json and --small=WEIGHTS")
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


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None when there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def compared(place: Place, ways: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """comparison.json of stage compare (see evaluate/compare.py).

    Args:
        place: of the runs.
        ways: way of training -> its runs, one a seed; the first way is the reference.
    """
    groups = ["+".join(runs) for runs in ways.values()]
    place.stage("student_labels", "compare", (f"compare.runs={tuple(groups)!r}",))
    path = place.runs_dir / "compare" / "test" / "comparison.json"
    return json.loads(path.read_text(encoding="utf-8"))


def row_of(
    place: Place, way: str, runs: Sequence[str], found: Mapping[str, Any]
) -> dict[str, Any]:
    """What a table says of a way: means over its runs, and how it differs.

    Differences in top-1 and macro recall are to the reference, with intervals and the
    corrected p (null for the reference itself).
    """
    name = "+".join(runs)
    measured = next(run for run in found["runs"] if run["name"] == name)
    pair = next(
        (
            pair
            for pair in found["pairs"]
            if pair["run"] == name and pair["with_reference"]
        ),
        None,
    )
    evaluations = [place.evaluation(run) for run in runs]
    fitted = [evaluation["ece"] for evaluation in evaluations]
    return {
        "way": way,
        "runs": list(runs),
        "top1_accuracy": measured["top1_accuracy"],
        "macro_recall": measured["macro_recall"],
        "intervals": measured["intervals"],
        "ece": mean(fitted),
        "megabytes": 2e-6 * place.parameters(runs[0]),
        "minutes": mean([place.minutes(run) for run in runs]),
        "differences": pair and pair["differences"],
        "p": pair and pair["p_holm"],
        "bands": band_means(evaluations),
    }


def band_means(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Recall over the classes of each band, mean over runs, with its images."""
    found = {}
    for band in evaluations[0]["bands"]:
        rows = [evaluation["bands"][band] for evaluation in evaluations]
        found[band] = {
            "images": rows[0]["images"],
            "classes": rows[0]["classes"],
            "macro_recall": mean([row["macro_recall"] for row in rows]),
            "top1_accuracy": mean([row["top1_accuracy"] for row in rows]),
        }
    return found


def share(value: float | None, interval: Sequence[float] | None, *, sign: str = ""):
    """E.g. " 71.2 (66.0 to 76.1)", per cent; `sign` "+" is for differences."""
    if value is None:
        return "—"
    text = f"{100 * value:{sign}.1f}"
    if interval is None:
        return text
    low, high = (f"{100 * end:{sign}.1f}" for end in interval)
    return f"{text} ({low} to {high})"


def finished(
    place: Place, ways: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """The ways whose runs are all trained and evaluated."""
    return {
        way: runs
        for way, runs in ways.items()
        if all(
            (paths.evaluation_dir(place.runs_dir / run, "test") / name).exists()
            for run in runs
            for name in ("metrics.json", "manifest.json")
        )
    }


def save(place: Place, rows: Sequence[dict[str, Any]], **more: Any) -> Path:
    """Writes the table as JSON beside the runs."""
    path = place.runs_dir / "table.json"
    files.write_json(path, {"data": place.data, **more, "rows": list(rows)})
    return path
