"""Groups -> train, val or test; pure functions over arrays.

Each group gets a number in [0, 1) from the hash of its id, and its split from where
that number falls, so that a group stays where it is when others come. Then, class by
class, as few groups as possible move so that

- a class with one group has it in train;
- a class with two has one in train, one in val;
- a class with three or more has at least one in each;
- every class has one in train, whatever else that costs.

A group with images of several classes is placed once; it may keep a rule but the last
from being met, and is then counted in `unmet`.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

TRAIN, VAL, TEST = 0, 1, 2
SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What `assign` returns.

    Attributes:
        split: uint8 [groups]: TRAIN, VAL or TEST.
        unmet: classes with groups enough whose rule could not be met.
    """

    split: np.ndarray
    unmet: int


def positions(seed: int, keys: Sequence[str]) -> np.ndarray:
    """A number in [0, 1) for each key, as good as random and always the same."""
    digests = (hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8] for key in keys)
    whole = np.frombuffer(b"".join(digests), ">u8")
    # The upper 53 bits are what a float holds exactly.
    return (whole >> 11).astype(np.float64) / 2.0**53


def by_threshold(position: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """uint8: below the first fraction is TRAIN, then VAL, then TEST."""
    edges = np.cumsum(fractions)[:2]
    return np.searchsorted(edges, position, side="right").astype(np.uint8)


def assign(
    position: np.ndarray, members: Sequence[np.ndarray], fractions: Sequence[float]
) -> Assignment:
    """Places every group.

    Args:
        position: float [groups], from `positions`.
        members: for each class the numbers of the groups with images of it.
        fractions: of train, val and test.
    """
    split = by_threshold(position, fractions)
    classes_of = np.zeros(len(position), np.int64)
    for groups in members:
        classes_of[groups] += 1
    fixed = np.zeros(len(position), bool)
    for groups in sorted(members, key=len):
        ordered = groups[np.argsort(position[groups], kind="stable")]
        if len(ordered) == 1:
            split[ordered], fixed[ordered] = TRAIN, True
        elif len(ordered) == 2:
            _place_two(split, fixed, ordered)
        elif len(ordered):
            _fill_empty(split, fixed[ordered] | (classes_of[ordered] > 1), ordered)
    unmet = 0
    for groups in members:
        if len(groups) and not (split[groups] == TRAIN).any():
            # Rather a test set without the class than a class that is never learnt.
            split[groups[np.argmin(position[groups])]] = TRAIN
    for groups in members:
        wanted = min(len(groups), len(SPLITS))
        has = set(split[groups].tolist())
        unmet += not has >= set(range(wanted))
    return Assignment(split, unmet)


def _place_two(split: np.ndarray, fixed: np.ndarray, ordered: np.ndarray) -> None:
    """The one that is fixed decides; else the lower goes to train."""
    first, second = ordered
    if fixed[first] and fixed[second]:
        return
    if fixed[second]:
        first, second = second, first
    if not fixed[first]:
        split[first] = TRAIN
    split[second] = VAL if split[first] == TRAIN else TRAIN
    fixed[ordered] = True


def _fill_empty(split: np.ndarray, held: np.ndarray, ordered: np.ndarray) -> None:
    """Moves the lowest group that its own split can spare into each empty split.

    Args:
        split: of all groups; changed in place.
        held: bool, for each of `ordered`: it stays.
        ordered: numbers of the class's groups, by position.
    """
    for wanted in (TRAIN, VAL, TEST):
        counts = np.bincount(split[ordered], minlength=len(SPLITS))
        if counts[wanted]:
            continue
        spare = (counts[split[ordered]] > 1) & ~held
        if spare.any():
            split[ordered[np.argmax(spare)]] = wanted
