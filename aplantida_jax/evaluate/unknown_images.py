"""What the model is asked of although it cannot know it: held-out species, pictures.

Held-out photos come from the cache; those that are copies of a photo in any split, or
of its observation, are left out, since the model may have learnt from these. Pictures
come from a folder whose sub-folders are kinds. Of both, what cannot be decoded is left
out and counted.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from aplantida_jax import files, paths, progress
from aplantida_jax.data import decode, duplicates, names, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.data.journal import Outcome
from aplantida_jax.data.phash import MIRROR
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate.intervals import Groups

COPY = "copy of a photo in a split"
_Tried = TypeVar("_Tried")
_Outcome = TypeVar("_Outcome")
_KEYS = tuple[str, str, str]  # SHA-256, perceptual hash, observation; "" is not known


@dataclasses.dataclass(frozen=True)
class Unknown:
    """Pictures of one kind.

    Attributes:
        kind: what they are.
        image_id: hex, of each.
        name: of each: the species, or the file.
        genus: of each, "" for what is no plant.
        left_out: reason -> pictures that could not be asked about, or must not.
        group: of each, its species or its kind, whose pictures are answered alike;
            empty where each stands for itself.
        sampled: what the groups are.
    """

    kind: str
    image_id: list[str] = dataclasses.field(default_factory=list)
    name: list[str] = dataclasses.field(default_factory=list)
    genus: list[str] = dataclasses.field(default_factory=list)
    left_out: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    group: list[str] = dataclasses.field(default_factory=list)
    sampled: str = "pictures"

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def ids(self) -> np.ndarray:
        """uint64 [n]."""
        return np.array([int(image_id, 16) for image_id in self.image_id], np.uint64)

    @property
    def groups(self) -> Groups:
        """Which pictures intervals take together."""
        return Groups.of(np.array(self.group or self.image_id))

    @classmethod
    def together(cls, kind: str, parts: Iterable["Unknown"]) -> "Unknown":
        """The pictures of all parts, one after another; each part is a group."""
        whole = cls(kind, sampled="kinds")
        for part in parts:
            whole.image_id.extend(part.image_id)
            whole.name.extend(part.name)
            whole.genus.extend(part.genus)
            whole.left_out.update(part.left_out)
            whole.group.extend([part.kind] * len(part))
        return whole


class FolderImages:
    """An `ImageSource` of files, by the hash of their bytes."""

    remedy = "it was there a moment ago: leave the folder as it is and run this again"

    def __init__(self, path_of: dict[str, Path]):
        self._path_of = path_of

    def get(self, image_id: str) -> bytes | None:
        path = self._path_of.get(image_id)
        return path.read_bytes() if path and path.is_file() else None


def held_out(config: Any) -> Unknown | None:
    """The photos of species that nothing was trained on; None when none are held out.

    Raises:
        UserError: what export, download or split wrote is missing or damaged.
    """
    path = paths.held_out(config)
    if not path.exists():
        return None
    photos = list(records.read_photos(path, made_by="export_dataset"))
    wanted = {photo.image_id for photo in photos}
    rows = files.read_jsonl(paths.download_index(config), made_by="download")
    outcomes = (Outcome(**row) for row in rows)
    keys = {o.image_id: (o.sha256, o.phash) for o in outcomes if o.image_id in wanted}
    mine: list[_KEYS] = [
        (*keys.get(p.image_id, ("", "")), p.observation) for p in photos
    ]
    copies = _copies_of_splits(config, mine)
    found = Unknown("held_out", sampled="species")
    reasons = _tried_in_cache(config, [photo.image_id for photo in photos])
    for photo, is_copy, reason in zip(photos, copies, reasons, strict=True):
        if reason or is_copy:
            found.left_out[reason or COPY] += 1
        else:
            found.image_id.append(photo.image_id)
            found.name.append(photo.latin_name)
            found.genus.append(names.genus_of(photo.latin_name))
            found.group.append(names.species_of(photo.latin_name) or photo.latin_name)
    return found


def _tried_in_cache(config: Any, image_id: list[str]) -> list[str]:
    """Why each cannot be asked about, "" where it can."""
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)

    def reason(wanted: str) -> str:
        data = cache.get(wanted)
        if data is None:
            return "not in the cache"
        return _refusal(data, config.download.max_pixels)

    try:
        return _try_out(config, reason, image_id)
    finally:
        cache.close()


def _copies_of_splits(config: Any, mine: list[_KEYS]) -> np.ndarray:
    """bool [n]: would the split put this photo into the group of one of its own?"""
    keys = list(mine)
    for split in paths.SPLITS:
        rows = records.read_rows(paths.split_file(config, split), made_by="split")
        keys += [(row["sha256"], row["phash"], row["observation"]) for row in rows]
    contents, perceptual, observations = zip(*keys, strict=True)
    hashes, known = duplicates.parse_hashes(perceptual)
    places = np.flatnonzero(known)
    near = (
        (places[left], places[right])
        for left, right in duplicates.near_pairs(
            hashes[known], config.split.phash_distance, MIRROR
        )
    )
    sure = [duplicates.equal_pairs(column) for column in (contents, observations)]
    group = duplicates.groups(len(keys), itertools.chain(sure, near))
    return np.isin(group[: len(mine)], group[len(mine) :])


def kinds_in(directory: Path) -> dict[str, list[Path]]:
    """{sub-folder: its files, by name}; hidden ones do not count.

    Raises:
        UserError: no such folder, or nothing in sub-folders of it.
    """
    field = "--config.out_of_distribution.images_dir"
    if not directory.is_dir():
        raise UserError(f"{field}={directory} is no folder: name one, or leave it out")
    kinds = {
        kind.name: sorted(
            path
            for path in kind.iterdir()
            if path.is_file() and not path.name.startswith(".")
        )
        for kind in sorted(directory.iterdir())
        if kind.is_dir() and not kind.name.startswith(".")
    }
    kinds = {kind: found for kind, found in kinds.items() if found}
    if not kinds:
        raise UserError(
            f"{field}={directory} has no pictures in sub-folders: put them into one "
            "sub-folder for each kind, as text/, animals/"
        )
    return kinds


def pictures(config: Any, directory: Path) -> tuple[list[Unknown], ImageSource]:
    """The pictures of a folder, by kind, and where their bytes are.

    Raises:
        UserError: see `kinds_in`.
    """
    found, path_of = [], {}
    try_out = functools.partial(
        _id_or_reason,
        max_bytes=config.download.max_bytes,
        max_pixels=config.download.max_pixels,
    )
    kinds = kinds_in(directory)
    every = [path for kind_files in kinds.values() for path in kind_files]
    outcome = dict(zip(every, _try_out(config, try_out, every), strict=True))
    for kind, kind_files in kinds.items():
        unknown = Unknown(kind)
        for path in kind_files:
            image_id, reason = outcome[path]
            if reason:
                unknown.left_out[reason] += 1
                continue
            path_of[image_id] = path
            unknown.image_id.append(image_id)
            unknown.name.append(path.name)
            unknown.genus.append("")
        found.append(unknown)
    return found, FolderImages(path_of)


def _try_out(
    config: Any, attempt: Callable[[_Tried], _Outcome], every: Sequence[_Tried]
) -> list[_Outcome]:
    """What `attempt` makes of each, in threads.

    All are decoded here once more than needed, since the input, which must not leave
    out a photo of a split, stops at what it cannot read.
    """
    with concurrent.futures.ThreadPoolExecutor(config.input.threads) as pool:
        tried = pool.map(attempt, every)
        done = progress.track(tried, total=len(every), what="decoding", unit="pictures")
        return list(done)


def _id_or_reason(path: Path, *, max_bytes: int, max_pixels: int) -> tuple[str, str]:
    """(image id, "") of a picture, ("", why not) of anything else."""
    if path.stat().st_size > max_bytes:
        return "", "oversized"
    data = path.read_bytes()
    reason = _refusal(data, max_pixels)
    return ("", reason) if reason else (hashlib.sha256(data).hexdigest()[:16], "")


def _refusal(data: bytes, max_pixels: int) -> str:
    """Why the decoder refuses a file, "" if it does not."""
    try:
        decode.decode(data, max_pixels=max_pixels)
    except decode.BrokenImage as error:
        return error.reason
    return ""
