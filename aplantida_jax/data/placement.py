"""Which photos take part in a split, which belong together, and where they go.

Reads `photos.jsonl` and the download index side by side, once; keeps of 741,533 photos
only what grouping and writing need, a column for each field.
"""

import collections
import dataclasses
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, paths
from aplantida_jax.data import assignment, duplicates, records
from aplantida_jax.data.journal import OK, PERMANENT, REJECTED
from aplantida_jax.data.phash import MIRROR
from aplantida_jax.errors import UserError

# A group larger than both, in photos and of all photos, is told of.
_MANY, _LARGE_SHARE = 100, 0.001
# What the download index knows of a photo and `photos.jsonl` does not.
_FOUND = ("width", "height", "sha256", "phash")
_OUTCOME = operator.itemgetter("image_id", "status", "reason", *_FOUND)
_KNOWN = operator.itemgetter(*_FOUND)


@dataclasses.dataclass(frozen=True)
class Taken:
    """The photos that take part, by `image_id`; a list for each field.

    Attributes:
        rows: for each row of `photos.jsonl`, does it take part?
        left_out: reason -> photos that take no part.
    """

    image_id: list[str] = dataclasses.field(default_factory=list)
    class_id: list[int] = dataclasses.field(default_factory=list)
    observation: list[str] = dataclasses.field(default_factory=list)
    # width, height, sha256, phash
    found: list[tuple[int, int, str, str]] = dataclasses.field(default_factory=list)
    rows: list[bool] = dataclasses.field(default_factory=list)
    left_out: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where the photos of `taken` go.

    Attributes:
        taken: the photos that take part.
        split: uint8 [n]: index in `SPLITS`.
        group: int64 [n]: position of the group's first photo.
        unmet: classes whose rule could not be met.
    """

    taken: Taken
    split: np.ndarray
    group: np.ndarray
    unmet: int

    def rows(self, config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name of the split and the row to write, of every photo by `image_id`."""
        ids = self.taken.image_id
        rows = records.read_rows(paths.photos(config), made_by="export_dataset")
        for row, split, group, found in zip(
            itertools.compress(rows, self.taken.rows),
            self.split.tolist(),
            self.group.tolist(),
            self.taken.found,
            strict=True,
        ):
            row["width"], row["height"], row["sha256"], row["phash"] = found
            row["group_id"] = ids[group]
            yield assignment.SPLITS[split], row


def place(config: Any) -> Placed:
    """Groups the photos and gives every group its split.

    Raises:
        UserError: an input is missing or damaged, or no photo takes part.
    """
    taken = _take(config)
    if not taken.image_id:
        raise UserError(
            f"no photo of {paths.photos(config)} is in the cache "
            f"({dict(taken.left_out) or 'it is empty'}): run stage 'download' first"
        )
    group = _group(taken, config.split.phash_distance)
    _warn_of_chains(group, config)
    if config.split.method == "random":
        position = assignment.positions(config.seed, taken.image_id)
        split = assignment.by_threshold(position, config.split.fractions)
        return Placed(taken, split, group, 0)
    firsts, number = np.unique(group, return_inverse=True)
    keys = [taken.image_id[first] for first in firsts.tolist()]
    position = assignment.positions(config.seed, keys)
    members = _members(np.array(taken.class_id), number)
    assigned = assignment.assign(position, members, config.split.fractions)
    return Placed(taken, assigned.split[number], group, assigned.unmet)


def _take(config: Any) -> Taken:
    """One pass over the photos and what is known of them; both are sorted by id."""
    taken = Taken()
    cached_only = config.split.cached_only
    outcomes = _outcomes(config)
    outcome = next(outcomes, None)
    photos = records.read_rows(paths.photos(config), made_by="export_dataset")
    for row in photos:
        image_id = row["image_id"]
        while outcome is not None and outcome[0] < image_id:
            outcome = next(outcomes, None)
        if outcome is not None and outcome[0] == image_id:
            _, status, reason, *found = outcome
        else:
            status, reason, found = "not in the download index", "", _KNOWN(row)
        useless = status in (PERMANENT, REJECTED)
        takes_part = not useless and (status == OK or not cached_only)
        taken.rows.append(takes_part)
        if not takes_part:
            taken.left_out[f"{status}: {reason}" if reason else status] += 1
            continue
        taken.image_id.append(image_id)
        taken.class_id.append(row["class_id"])
        taken.observation.append(row["observation"])
        taken.found.append(tuple(found))
    # To its end, where a damaged index is noticed.
    collections.deque(outcomes, maxlen=0)
    return taken


def _outcomes(config: Any) -> Iterator[tuple[Any, ...]]:
    path = paths.download_index(config)
    try:
        yield from map(_OUTCOME, files.read_jsonl(path, made_by="download"))
    except KeyError as error:
        raise UserError(
            f"{path} is damaged (no {error}): run stage 'download' again"
        ) from None


def _group(taken: Taken, distance: int) -> np.ndarray:
    """int64 [n]: for each photo the position of its group's first."""
    if not 0 <= distance <= duplicates.MOST_BITS:
        raise UserError(
            f"--config.split.phash_distance={distance} is not possible: it must be 0 "
            f"to {duplicates.MOST_BITS}",
            exit_code=2,
        )
    hashes, known = duplicates.parse_hashes([found[3] for found in taken.found])
    places = np.flatnonzero(known)
    near = (
        (places[left], places[right])
        for left, right in duplicates.near_pairs(hashes[known], distance, MIRROR)
    )
    contents = [found[2] for found in taken.found]
    sure = [duplicates.equal_pairs(keys) for keys in (contents, taken.observation)]
    return duplicates.groups(len(hashes), itertools.chain(sure, near))


def _members(class_of: np.ndarray, group: np.ndarray) -> list[np.ndarray]:
    """For each class that has photos, its groups."""
    pairs = np.unique(np.stack([class_of, group], axis=1), axis=0)
    starts = np.flatnonzero(np.diff(pairs[:, 0])) + 1
    return np.split(pairs[:, 1], starts)


def _warn_of_chains(group: np.ndarray, config: Any) -> None:
    largest = int(np.bincount(group).max())
    if largest > max(_MANY, _LARGE_SHARE * len(group)):
        logging.warning(
            "%d of %d photos are one group: one picture many times, or near duplicates "
            "that chain through unlike ones; look at the audit's pairs, or lower "
            "--config.split.phash_distance=%d",
            largest,
            len(group),
            config.split.phash_distance,
        )
