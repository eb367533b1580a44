"""Reads what evaluated runs answered, and refuses what can't be compared.

Each run of `config.compare.runs` has an evaluation of `config.eval.split`: that of
`config.region`, or else that of its own region, as a regional teacher has one. Refused,
with the command that mends it: an evaluation that is missing, damaged or altered, of an
older checkpoint or split, of another label map, and runs without a photo in common.
"""

import dataclasses
import difflib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import files, manifest, paths
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import outputs
from aplantida_jax.evaluate.measures import Answered, Contender, common_photos

_CONFIGS = Path(__file__).parents[2] / "configs"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Where a run's evaluation lies.

    Attributes:
        name: of the run.
        directory: of the evaluation.
        region: that it is of.
        stage: that makes it.
        mend: completes "run ... again" for whatever is wrong with it.
    """

    name: str
    directory: Path
    region: str
    stage: str
    mend: str

    @property
    def again(self) -> str:
        return f"run stage '{self.stage}' ({self.mend}) again"


Sides = list[tuple[str, list[Evaluated]]]  # the contenders' names and their runs


def contenders_of(config: Any) -> Sides:
    """The runs to compare; "a+b" is one contender of two runs."""
    return [
        (name, [_evaluated(config, member) for member in name.split("+")])
        for name in config.compare.runs
    ]


def inputs(config: Any, sides: Sides) -> list[manifest.Input]:
    """What the comparison reads of them, each to be what its evaluation wrote.

    Raises:
        UserError: an evaluation is of an older checkpoint, split or label map.
    """
    found = []
    for run in _each(sides):
        for name in (outputs.METRICS, outputs.PREDICTIONS):
            path = run.directory / name
            found.append(manifest.Input(path, run.stage, run.mend, finished=True))
        if (run.directory / manifest.MANIFEST).exists():
            _check_fresh(config, run)
    return found


def read(config: Any, sides: Sides, label_map: LabelMap) -> list[Contender]:
    """The answers of all runs.

    Raises:
        UserError: damaged, of another label map, or of photos that don't match.
    """
    contenders = [
        Contender(name, tuple(_read(run, label_map) for run in runs))
        for name, runs in sides
    ]
    here = {
        run.name: run.again
        for run in _each(sides)
        if paths.region_slug(run.region) == paths.region_slug(config.region)
    }
    members = [member for side in contenders for member in side.members]
    whole = [member for member in members if member.name in here]
    for member in whole[1:]:
        if not np.array_equal(member.image_id, whole[0].image_id):
            raise UserError(
                f"{member.name} and {whole[0].name} were evaluated on different "
                f"photos: {here[member.name]}, and that of {whole[0].name}"
            )
    for index, first in enumerate(contenders):
        for second in contenders[index + 1 :]:
            _check_pair(first, second)
    return contenders


def _each(sides: Sides) -> Iterator[Evaluated]:
    for _, runs in sides:
        yield from runs


def _evaluated(config: Any, name: str) -> Evaluated:
    workdir = paths.run_dir(config, name)
    _check_there(config, workdir)
    split, region = config.eval.split, config.region
    directory = paths.evaluation_dir(workdir, split, region)
    best = paths.best(workdir)
    if not directory.exists() and best.exists():
        own = files.read_json(best, made_by="train")["region"]
        if paths.evaluation_dir(workdir, split, own).exists():
            directory, region = paths.evaluation_dir(workdir, split, own), own
    stage = outputs.evaluated_by(workdir)
    mend = f"{_experiment(config, name, stage)} --config.eval.split={split}"
    mend += f" --config.region={region}" if region else ""
    return Evaluated(name, directory, region, stage, mend)


def _check_there(config: Any, workdir: Path) -> None:
    """Refuses a run that was never begun, and names those that were."""
    if workdir.is_dir():
        return
    beside = sorted(path.parent.name for path in workdir.parent.glob("*/evaluate"))
    near = difflib.get_close_matches(workdir.name, beside, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    stages = "train and evaluate it"
    if (_CONFIGS / f"{workdir.name}.py").exists():
        stages += f" with {_experiment(config, workdir.name, '')}"
    raise UserError(
        f"compare.runs names {workdir.name}, and {workdir.parent} has no such run: "
        f"{hint}evaluated there are {', '.join(beside) or 'none'}; or {stages} first"
    )


def _experiment(config: Any, name: str, stage: str) -> str:
    """The flags that name a run: its file in configs/, where it has one, and itself."""
    file = "baseline" if stage == "baseline" else name
    named = f"--config.name={name}"
    if not (_CONFIGS / f"{file}.py").exists():
        return named  # of a seed or a trial: the file is the user's to know
    variant = f":{config.variant}" if config.variant else ""
    flag = f"--config=configs/{file}.py{variant}"
    return flag if file == name else f"{flag} {named}"


def _check_fresh(config: Any, run: Evaluated) -> None:
    """Refuses an evaluation of a checkpoint or split that has been replaced since."""
    made = manifest.read(run.directory, made_by=run.stage)
    recorded = {Path(path).name: digest for path, digest in made["inputs"].items()}
    present = (
        paths.best(paths.run_dir(config, run.name)),
        paths.split_file(config, config.eval.split, run.region),
        paths.classes(config),
    )
    for path in present:
        if path.name not in recorded or not path.exists():
            continue
        if files.sha256_file(path) != recorded[path.name]:
            raise UserError(
                f"{run.directory} was made before {path} changed: {run.again}"
            )


def _read(run: Evaluated, label_map: LabelMap) -> Answered:
    path = run.directory / outputs.PREDICTIONS
    metrics = files.read_json(run.directory / outputs.METRICS, made_by=run.stage)
    manifest.check_label_map(
        metrics["label_map"],
        label_map.fingerprint,
        where=run.directory,
        made_by=run.stage,
    )
    mask = metrics["class_mask"]
    fields = ("image_id", "label", "label_rank", "group")
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns = [stored[field] for field in fields]
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} can't be read ({error}): {run.again}") from None
    order = np.argsort(columns[0])
    columns = [column[order] for column in columns]
    return Answered(run.name, mask["region"] if mask else "", *columns)


def _check_pair(first: Contender, second: Contender) -> None:
    """Refuses runs that share no photo, or that disagree on what one shows."""
    pair: Sequence[Contender] = (first, second)
    photos = common_photos(pair)
    if len(photos) == 0:
        raise UserError(
            f"{first.name} and {second.name} have answered no photo in common: compare "
            "them in a region that both were evaluated on (--config.region)"
        )
    about = [member.at(photos) for side in pair for member in side.members]
    for member in about[1:]:
        for field in ("label", "group"):
            if not np.array_equal(getattr(member, field), getattr(about[0], field)):
                raise UserError(
                    f"{member.name} and {about[0].name} were evaluated on splits that "
                    f"differ in the {field} of a photo: run stage 'evaluate' of both "
                    "again"
                )
