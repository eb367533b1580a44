"""The pack on disk: shards of image records for random access, and their index.

What stage `pack` writes and training reads instead of the cache:

    image_ids.u64               every image's id, sorted; raw little-endian uint64
    shards.json                 [{name, images, bytes, sha256, key}], in order
    images-00000.array_record   ArrayRecord, one record an image, in the index's order
    manifest.json               what it was made from, and the SHA-256 of all of these

A record is SHA-256 (32 bytes) of the rest, image id (8 bytes), file. Index and table
are verified when the pack is opened, each record when it is read; nothing is unpickled.
The zeros with which ArrayRecord fills up to 128 kB of a shard are looked at by the
stage only.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError

STAGE = "pack"
INDEX = "image_ids.u64"
SHARDS = "shards.json"

_DIGEST, _ID = 32, 8  # bytes


def to_record(image_id: int, data: bytes) -> bytes:
    """One image as a record."""
    content = image_id.to_bytes(_ID, "little") + data
    return hashlib.sha256(content).digest() + content


def from_record(record: bytes, image_id: int) -> bytes | None:
    """The image's bytes, or None when the record is damaged or of another image."""
    content = memoryview(record)[_DIGEST:]
    if hashlib.sha256(content).digest() != record[:_DIGEST]:
        return None
    if content[:_ID] != image_id.to_bytes(_ID, "little"):
        return None
    return bytes(content[_ID:])


class _Extent:
    """A whole shard, so that its length need not be asked of the file."""

    def __init__(self, path: Path, images: int):
        self.filename = str(path)
        self.skip = 0
        self.take = self.examples_in_shard = images


class Pack:
    """A finished pack, for reading; any number of threads may read at a time.

    Attributes:
        image_ids: uint64 [n], sorted.
    """

    remedy = f"run stage '{STAGE}' again"

    def __init__(self, directory: Path):
        """Opens a pack.

        Raises:
            UserError: it is missing, not finished, or its index or table is damaged, or
                a shard is not as long as it was.
        """
        self.directory = Path(directory)
        made = manifest.read(self.directory, made_by=STAGE)
        try:
            self._outputs, self._label_map = dict(made["outputs"]), made["label_map"]
            # By name: the data's directory may have moved.
            self._inputs = {Path(p).name: h for p, h in made["inputs"].items()}
            self._short_side = made["metrics"]["short_side"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._damaged(manifest.MANIFEST) from None
        self.image_ids = np.frombuffer(self._verified(INDEX), "<u8")
        self._verified(SHARDS)
        shards = files.read_json(self.directory / SHARDS, made_by=STAGE)
        for shard in shards:
            path = self.directory / shard["name"]
            if not path.exists() or path.stat().st_size != shard["bytes"]:
                raise self._damaged(path.name)
        self._records = ArrayRecordDataSource(
            [_Extent(self.directory / s["name"], s["images"]) for s in shards],
            {"max_parallelism": "0"},  # nothing is read ahead
        )

    def get(self, image_id: str) -> bytes | None:
        """The image's bytes, verified; None for an image that was not packed.

        Raises:
            UserError: the record is damaged.
        """
        wanted = int(image_id, 16)
        place = int(np.searchsorted(self.image_ids, np.uint64(wanted)))
        if place == len(self) or self.image_ids[place] != wanted:
            return None
        try:
            data = from_record(self._records[place], wanted)
        except (RuntimeError, ValueError, IndexError, OSError):
            data = None  # how ArrayRecord says that a file is not what it wrote
        if data is None:
            raise self._damaged(f"image {image_id}")
        return data

    def __len__(self) -> int:
        return len(self.image_ids)

    def require_current(self, config: Any) -> None:
        """Refuses a pack of other splits, classes or sizes than the configuration's.

        Raises:
            UserError: names what differs.
        """
        label_map = labels.read(paths.classes(config))
        manifest.check_label_map(
            self._label_map,
            label_map.fingerprint,
            where=self.directory,
            made_by=STAGE,
        )
        for split in paths.SPLITS:
            path = paths.split_file(config, split)
            if not path.exists():
                raise files.missing(path, "split")
            if self._inputs.get(path.name) != files.sha256_file(path):
                raise UserError(
                    f"{self.directory} was made from another {path}: run stage "
                    f"'{STAGE}' again, it keeps the shards that are still right"
                )
        side = self._short_side
        if side != config.input.pack_short_side:
            raise UserError(
                f"{self.directory} was made with --config.input.pack_short_side={side},"
                f" not {config.input.pack_short_side}: give that, or run stage "
                f"'{STAGE}' again"
            )

    def _verified(self, name: str) -> bytes:
        path = self.directory / name
        expected = self._outputs.get(name)
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != expected:
            raise self._damaged(name)
        return data

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"{self.directory}: {what} is missing or not as it was written: run stage "
            f"'{STAGE}' again, it mends what is damaged"
        )
