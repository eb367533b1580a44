"""Runs measured on the photos that they have in common, each resample included.

What `comparison.py` computes with: the metrics of one run over a set of photos, over
each frequency band and region of it, and the same of every resample, whose draws are
those of every other run on these photos.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from aplantida_jax.data import regions
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.evaluate import intervals, metrics
from aplantida_jax.evaluate.intervals import Groups

METRICS = ("top1_accuracy", "top5_accuracy", "macro_recall")
ALL, BAND, REGION = "", "band:", "region:"  # parts of a set of photos, by their name


@dataclasses.dataclass(frozen=True, eq=False)
class Answered:
    """One run's answers about n photos, in ascending order of `image_id`.

    Attributes:
        name: of the run.
        trained_on: its region, "" is all plants.
        image_id: uint64 [n].
        label: int32 [n].
        label_rank: int32 [n], as in `answers.Answers`.
        group: uint64 [n], as there.
    """

    name: str
    trained_on: str
    image_id: np.ndarray
    label: np.ndarray
    label_rank: np.ndarray
    group: np.ndarray

    def at(self, image_id: np.ndarray) -> "Answered":
        """About these photos only, all of which were answered; ascending."""
        index = np.searchsorted(self.image_id, image_id)
        fields = ("image_id", "label", "label_rank", "group")
        return dataclasses.replace(self, **{f: getattr(self, f)[index] for f in fields})


@dataclasses.dataclass(frozen=True)
class Contender:
    """A run, or several that differ in their seed only.

    Attributes:
        name: as in `config.compare.runs`.
        members: the runs, one at least.
    """

    name: str
    members: tuple[Answered, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """A metric of one run over some photos, and the same in every resample."""

    value: float | None
    replicates: np.ndarray  # float64 [resamples], or [0] where there are < 2 groups


class Measures:
    """Measures every run once on every set of photos that it is asked about."""

    def __init__(
        self,
        label_map: LabelMap,
        train_images: np.ndarray,
        *,
        resamples: int,
        seed: int,
    ):
        """`train_images` int [classes]; the rest as in `intervals.bootstrap`."""
        self._train_images = train_images
        self._grows = {
            region: np.array(label_map.in_regions((region,)))
            for region in regions.REGIONS
        }
        self._resamples = resamples
        self._seed = seed
        self._known: dict[tuple[str, bytes], dict[str, dict[str, Measured]]] = {}

    def side(
        self, contender: Contender, photos: np.ndarray, part: str, metric: str
    ) -> list[Measured]:
        """`metric` of every member over a part of `photos` (uint64, ascending)."""
        return [self._of(run, photos)[part][metric] for run in contender.members]

    def parts(self, label: np.ndarray) -> dict[str, np.ndarray]:
        """bool [n] for ALL, BAND + each band and REGION + each region."""
        bands = metrics.band_members(label, self._train_images)
        parts = {ALL: np.ones(len(label), bool)}
        parts |= {BAND + band: inside for band, inside in bands.items()}
        return parts | {
            REGION + region: grows[label] for region, grows in self._grows.items()
        }

    def _of(self, run: Answered, photos: np.ndarray) -> dict[str, dict[str, Measured]]:
        """By part and metric; kept for the run's other pairs."""
        key = (run.name, photos.tobytes())
        if key not in self._known:
            about = run.at(photos)
            self._known[key] = {
                part: self._measure(about, inside)
                for part, inside in self.parts(about.label).items()
            }
        return self._known[key]

    def _measure(self, about: Answered, inside: np.ndarray) -> dict[str, Measured]:
        label, rank = about.label[inside], about.label_rank[inside]
        right, near = rank == 0, rank < 5
        groups = Groups.of(about.group[inside])
        values = (
            metrics.mean(right),
            metrics.mean(near),
            metrics.macro_recall(label, right),
        )
        shares = {
            "top1_accuracy": intervals.mean_of(right, groups),
            "top5_accuracy": intervals.mean_of(near, groups),
        }
        resamples = self._resamples if groups.count > 1 else 0
        options = {"resamples": resamples, "seed": self._seed}
        drawn = intervals.replicates(shares, groups, **options)
        drawn["macro_recall"] = intervals.macro_replicates(
            right, label, groups, **options
        )
        return {
            metric: Measured(value, drawn[metric])
            for metric, value in zip(METRICS, values, strict=True)
        }


def common_photos(contenders: Sequence[Contender]) -> np.ndarray:
    """uint64: the photos that all of their runs answered, ascending."""
    members = [member for contender in contenders for member in contender.members]
    return functools.reduce(np.intersect1d, [member.image_id for member in members])
