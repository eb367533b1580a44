"""Which photos take part in a split, which belong together, and where they go.

Reads `photos.jsonl` and the download index side by side; keeps of 741,533 photos only
what grouping needs.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, paths
from aplantida_jax.data import assignment, duplicates, records
from aplantida_jax.data.journal import OK, PERMANENT, REJECTED, Outcome
from aplantida_jax.errors import UserError

# Of all images in one group: then near duplicates chain through unlike pictures.
_SUSPICIOUS = 0.05


@dataclasses.dataclass(frozen=True)
class Placed:
    """The photos that take part, in the order of `photos.jsonl`.

    Attributes:
        split: uint8 [n]: index in `SPLITS`.
        group: int64 [n]: position of the group's first photo.
        ids: image ids.
        unmet: classes whose rule could not be met.
        left_out: reason -> photos that take no part.
    """

    split: np.ndarray
    group: np.ndarray
    ids: list[str]
    unmet: int
    left_out: dict[str, int]


def photos(
    config: Any, left_out: collections.Counter[str]
) -> Iterator[tuple[records.Photo, Outcome | None]]:
    """The photos that take part, with what is known of them. Both files are sorted."""
    rows = files.read_jsonl(paths.download_index(config), made_by="download")
    outcomes = (Outcome(**row) for row in rows)
    outcome = next(outcomes, None)
    made_by = "export_dataset"
    for photo in records.read_photos(paths.photos(config), made_by=made_by):
        while outcome is not None and outcome.image_id < photo.image_id:
            outcome = next(outcomes, None)
        known = outcome if outcome and outcome.image_id == photo.image_id else None
        status = known.status if known else "not in the download index"
        useless = status in (PERMANENT, REJECTED)
        if useless or (config.split.cached_only and status != OK):
            left_out[f"{status}: {known.reason}" if known else status] += 1
            continue
        yield photo, known
    # To its end, where a damaged index is noticed.
    collections.deque(outcomes, maxlen=0)


def place(config: Any) -> Placed:
    ids: list[str] = []
    class_of: list[int] = []
    keys: dict[str, list[str]] = {"sha256": [], "phash": [], "observation": []}
    left_out: collections.Counter[str] = collections.Counter()
    for photo, known in photos(config, left_out):
        ids.append(photo.image_id)
        class_of.append(photo.class_id)
        keys["sha256"].append(known.sha256 if known else "")
        keys["phash"].append(known.phash if known else "")
        keys["observation"].append(photo.observation)
    if not ids:
        raise UserError(
            f"no photo of {paths.photos(config)} is in the cache "
            f"({dict(left_out) or 'it is empty'}): run stage 'download' first"
        )
    group = _group(keys, config.split.phash_distance)
    _warn_of_chains(group, config)
    if config.split.method == "random":
        position = assignment.positions(config.seed, ids)
        split = assignment.by_threshold(position, config.split.fractions)
        return Placed(split, group, ids, 0, dict(left_out))
    firsts, number = np.unique(group, return_inverse=True)
    position = assignment.positions(config.seed, [ids[first] for first in firsts])
    members = _members(np.array(class_of), number)
    assigned = assignment.assign(position, members, config.split.fractions)
    return Placed(assigned.split[number], group, ids, assigned.unmet, dict(left_out))


def _group(keys: dict[str, list[str]], distance: int) -> np.ndarray:
    if not 0 <= distance <= duplicates.MOST_BITS:
        raise UserError(
            f"--config.split.phash_distance={distance} is not possible: it must be 0 "
            f"to {duplicates.MOST_BITS}",
            exit_code=2,
        )
    hashes, known = duplicates.parse_hashes(keys["phash"])
    places = np.flatnonzero(known)
    near = (
        (places[left], places[right])
        for left, right in duplicates.near_pairs(hashes[known], distance)
    )
    sure = [duplicates.equal_pairs(keys[kind]) for kind in ("sha256", "observation")]
    return duplicates.groups(len(hashes), itertools.chain(sure, near))


def _members(class_of: np.ndarray, group: np.ndarray) -> list[np.ndarray]:
    """For each class that has photos, its groups."""
    pairs = np.unique(np.stack([class_of, group], axis=1), axis=0)
    starts = np.flatnonzero(np.diff(pairs[:, 0])) + 1
    return np.split(pairs[:, 1], starts)


def _warn_of_chains(group: np.ndarray, config: Any) -> None:
    largest = int(np.bincount(group).max())
    if largest > max(100, _SUSPICIOUS * len(group)):
        logging.warning(
            "%d of %d photos are one group: near duplicates chain; lower "
            "--config.split.phash_distance=%d",
            largest,
            len(group),
            config.split.phash_distance,
        )
