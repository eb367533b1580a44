"""The manifests that all stages left, in the order in which the stages ran.

What the report says of commits, machines, versions, seeds and commands comes from here,
and whether a run that was trained twice came out the same.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from aplantida_jax import manifest
from aplantida_jax.errors import UserError

# Below data_dir, runs_dir and dist_dir; the cache of images is not searched.
_DATA = (
    *("raw", "export", "download", "audit", "pack", "preview/*", "splits/*"),
    "soft_labels/*/*",
)
_RUNS = ("*", "*/evaluate/*", "*/calibrate", "*/out_of_distribution", "compare/*")
_DIST = (".", "saved_model/*/*", "variants/*/*", "models/*/*", "validation/*/*")


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """One manifest.

    Attributes:
        path: of the manifest.
        content: as `manifest.Job.finish` writes it.
    """

    path: Path
    content: dict[str, Any]

    @property
    def stage(self) -> str:
        return str(self.content["stage"])

    @property
    def where(self) -> Path:
        """The directory that the stage filled."""
        return self.path.parent

    @property
    def seconds(self) -> float:
        began, ended = (
            datetime.fromisoformat(self.content[name])
            for name in ("started", "finished")
        )
        return (ended - began).total_seconds()

    @property
    def arguments(self) -> str:
        """What its command was given, without the path of the program."""
        return " ".join(str(self.content.get("command", "")).split(" ")[1:])


@dataclasses.dataclass(frozen=True)
class Repeat:
    """Two finished trainings with the same configuration, seed and inputs.

    Attributes:
        first, second: their working directories.
        difference: the largest between any two of their metrics.
        same_weights: their best checkpoints are equal, bit for bit.
    """

    first: Path
    second: Path
    difference: float
    same_weights: bool


def read_all(data_dir: Path, runs_dir: Path, dist_dir: Path) -> list[StageRecord]:
    """Every stage's manifest but the report's own, by the time it started.

    Raises:
        UserError: one is damaged.
    """
    found = []
    for root, places in ((data_dir, _DATA), (runs_dir, _RUNS), (dist_dir, _DIST)):
        for place in places:
            found += sorted(root.glob(f"{place}/{manifest.MANIFEST}"))
    records = [_read(path) for path in dict.fromkeys(found)]
    records = [record for record in records if record.stage != "report"]
    return sorted(records, key=lambda record: str(record.content["started"]))


def repeats(records: Iterable[StageRecord]) -> list[Repeat]:
    """Trainings that were done twice, in working directories of their own."""
    first: dict[str, StageRecord] = {}
    found = []
    for record in records:
        if record.stage != "train":
            continue
        one = first.setdefault(record.content["key"], record)
        if one is not record:
            found.append(_compare(one, record))
    return found


def values(records: Sequence[StageRecord], field: str) -> list[str]:
    """The different values of a field of the manifests, the most frequent first."""
    said = [str(record.content[field]) for record in records if field in record.content]
    return sorted(dict.fromkeys(said), key=lambda value: -said.count(value))


def _read(path: Path) -> StageRecord:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = StageRecord(path, content)
        _ = record.stage, record.seconds, content["key"], content["inputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): run the stage that fills {path.parent} again"
        ) from None
    return record


def _compare(one: StageRecord, other: StageRecord) -> Repeat:
    mine, theirs = one.content["metrics"], other.content["metrics"]
    gaps = [abs(mine[name] - theirs[name]) for name in mine if name in theirs]
    weights = [_weights(record) for record in (one, other)]
    return Repeat(
        one.where, other.where, max(gaps, default=0.0), weights[0] == weights[1]
    )


def _weights(record: StageRecord) -> list[str]:
    outputs = record.content["outputs"]
    return [digest for name, digest in outputs.items() if "checkpoints" in name]
