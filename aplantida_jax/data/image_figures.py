"""What the download index says of the images: sizes, faults, duplicates."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from aplantida_jax.data import duplicates
from aplantida_jax.data.journal import OK, TEMPORARY, Outcome
from aplantida_jax.data.phash import MIRROR

# Of images that were not asked for, or came and were lost again: they say nothing of
# the URL.
_NOT_ASKED = ("not_asked", "not_in_cache", "host_given_up", "cache_size")
_QUANTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that are the same, or nearly, one of them perhaps mirrored."""

    left: str
    right: str
    bits: int  # that their perceptual hashes differ in; 0 for the same bytes
    exact: bool
    same_class: bool


class ImageFigures:
    """Collects outcomes; memory is a few arrays' worth."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._sha256: list[str] = []
        self._phash: list[str] = []
        self._sides: list[int] = []
        self._orientations: collections.Counter[int] = collections.Counter()
        self._faults: collections.Counter[str] = collections.Counter()
        self._asked = 0
        self._broken = 0

    def add(self, outcome: Outcome) -> None:
        if outcome.status == TEMPORARY and outcome.reason in _NOT_ASKED:
            return
        self._asked += 1
        if outcome.status != OK:
            self._faults[f"{outcome.status}: {outcome.reason}"] += 1
            self._broken += outcome.reason != "small"
            return
        self._ids.append(outcome.image_id)
        self._sha256.append(outcome.sha256)
        self._phash.append(outcome.phash)
        self._sides.append(min(outcome.width, outcome.height))
        self._orientations[outcome.orientation] += 1

    @property
    def asked(self) -> int:
        """Images that were asked for."""
        return self._asked

    @property
    def broken(self) -> int:
        """Those among them that gave no picture; a small picture is one."""
        return self._broken

    def summary(self) -> dict[str, Any]:
        """Counts of everything but duplicates."""
        sides = np.array(self._sides or [0])
        quantiles = np.percentile(sides, _QUANTILES).astype(int).tolist()
        turned = sum(n for value, n in self._orientations.items() if value > 1)
        return {
            "asked": self._asked,
            "downloaded": len(self._ids),
            "faults": dict(self._faults.most_common()),
            "short_side_percentiles": dict(
                zip(map(str, _QUANTILES), quantiles, strict=True)
            ),
            "exif_turned": turned,
            "exif_impossible": self._orientations[0],
            "featureless": sum(text == "" for text in self._phash),
        }

    def duplicates(
        self, class_of: Mapping[str, int], distance: int, examples: int
    ) -> tuple[dict[str, Any], list[Pair]]:
        """Counts, and up to `examples` pairs, those of different classes first.

        Args:
            class_of: image id -> class id.
            distance: bits; at most this far is a near duplicate.
            examples: how many pairs to give.
        """
        classes = np.array([class_of[image_id] for image_id in self._ids], np.int64)
        left, right, bits, is_exact = self._pairs(distance)
        group = duplicates.groups(len(classes), [(left, right)])
        same = classes[left] == classes[right]
        counts = {
            "images": len(classes),
            "distance": distance,
            "exact": int(is_exact.sum()),
            "near": int((~is_exact).sum()),
            "exact_of_different_classes": int((is_exact & ~same).sum()),
            "near_of_different_classes": int((~is_exact & ~same).sum()),
            "groups": len(np.unique(group)),
            "largest_group": int(np.bincount(group).max()) if len(group) else 0,
        }
        # Of different classes first, then near ones, then the doubtful: most bits.
        order = np.lexsort((right, left, -bits, is_exact, same))[:examples]
        return counts, [
            Pair(
                self._ids[left[i]],
                self._ids[right[i]],
                int(bits[i]),
                bool(is_exact[i]),
                bool(same[i]),
            )
            for i in order
        ]

    def _pairs(self, distance: int) -> tuple[np.ndarray, ...]:
        """Positions left and right, bits between them, and whether bytes are equal."""
        hashes, known = duplicates.parse_hashes(self._phash)
        places = np.flatnonzero(known)
        sha256 = np.array(self._sha256)
        exact = duplicates.equal_pairs(self._sha256)
        pairs = [exact]
        for left, right in duplicates.near_pairs(hashes[known], distance, MIRROR):
            left, right = places[left], places[right]
            unlike = sha256[left] != sha256[right]
            pairs.append((left[unlike], right[unlike]))
        left = np.concatenate([pair[0] for pair in pairs])
        right = np.concatenate([pair[1] for pair in pairs])
        differing = hashes[left] ^ hashes[right]
        turned = np.bitwise_count(differing ^ np.uint64(MIRROR))
        bits = np.minimum(np.bitwise_count(differing), turned).astype(np.int64)
        return left, right, bits, np.arange(len(left)) < len(exact[0])


def collect(outcomes: Iterable[Outcome]) -> ImageFigures:
    figures = ImageFigures()
    for outcome in outcomes:
        figures.add(outcome)
    return figures
