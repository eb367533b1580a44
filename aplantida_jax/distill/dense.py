"""The plan's dense soft labels: every logit of a split in one `.npz`, in a stream.

    logits       float32 [n, classes]
    indices      int64 [n]    class ids of the photos, i.e. their labels
    confidences  float32 [n]  the greatest probability of each row
    image_id     uint64 [n]   ours; the plan's files have none and go by their order

At the plan's size that is 30 GB, so rows are appended to a file beside the store first
and no more than a few are ever in memory. An interrupted `predict` goes on with it: the
file is cut to the rows that the store has committed. The `.npz` is made of it at the
end, which for that moment takes the room twice, and sealed by its SHA-256 in a file
beside it: without that seal it is not taken for what was made.
"""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import scipy.special
from absl import logging

from aplantida_jax import files
from aplantida_jax.distill.store import Writer
from aplantida_jax.errors import UserError
from aplantida_jax.progress import track

NAME = "dense.npz"
_ROWS = "dense.rows"  # what is appended to
_SEAL = "dense.sha256"
_CHUNK_BYTES = 64e6


def bytes_needed(images: int, classes: int) -> int:
    """Room on the disk while the `.npz` is made."""
    return 2 * images * _row_type(classes).itemsize


def discard(directory: Path) -> None:
    """Removes what an earlier job with dense soft labels left beside a store."""
    for name in (NAME, _ROWS, _SEAL):
        (Path(directory) / name).unlink(missing_ok=True)


class DenseWriter:
    """Writes `dense.npz` beside a store."""

    def __init__(self, directory: Path, store: Writer, *, images: int):
        """Goes on where the store does, or starts both anew where rows are lost.

        Args:
            directory: of the store.
            store: its writer, which has one row an image.
            images: that there will be.

        Raises:
            UserError: the disk has no room for it.
        """
        self._directory = Path(directory)
        self._images = images
        self._row_type = _row_type(store.layout.classes)
        self._path = self._directory / _ROWS
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._is_made(store):
            return
        for name in (NAME, _SEAL):
            (self._directory / name).unlink(missing_ok=True)
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < store.rows_written * self._row_type.itemsize:
            logging.warning("%s lacks rows: predicting all again", self._path)
            store.start_over()
        self._require_room(size)
        with open(self._path, "ab") as rows:
            rows.truncate(store.rows_written * self._row_type.itemsize)

    def _is_made(self, store: Writer) -> bool:
        """Whether an interrupted job got as far as the `.npz`, and it is whole."""
        target, seal = self._directory / NAME, self._directory / _SEAL
        if self._path.exists() or store.rows_written != self._images:
            return False
        if not (target.exists() and seal.exists()):
            return False
        return seal.read_bytes() == _seal(target)

    def _require_room(self, present: int) -> None:
        needed = bytes_needed(self._images, self._row_type["logits"].shape[0]) - present
        free = shutil.disk_usage(self._directory).free
        if needed > free:
            raise UserError(
                f"dense soft labels need {needed / 1e9:.1f} GB at {self._directory}, "
                f"which has {free / 1e9:.1f} GB free: make room, or leave "
                "--config.predict.dense out"
            )

    def append(
        self, image_id: np.ndarray, label: np.ndarray, logits: np.ndarray
    ) -> None:
        """Adds rows.

        Args:
            image_id: uint64 [n].
            label: int [n].
            logits: float32 [n, classes].
        """
        rows = np.empty(len(image_id), self._row_type)
        rows["image_id"], rows["label"], rows["logits"] = image_id, label, logits
        with open(self._path, "ab") as out:
            rows.tofile(out)

    def commit(self) -> None:
        """Until what was appended is on the disk; before the store appends its rows."""
        with open(self._path, "ab") as out:
            os.fsync(out.fileno())

    def finish(self) -> list[Path]:
        """Makes the `.npz` of all rows; its path and its seal's."""
        target, seal = self._directory / NAME, self._directory / _SEAL
        if self._path.exists():
            rows = np.memmap(self._path, self._row_type, mode="r")
            if len(rows) != self._images:
                raise ValueError(f"{len(rows)} rows appended, not {self._images}")
            with files.atomic_open(target) as out:
                _write_npz(out, rows)
            files.write_bytes(seal, _seal(target))
            self._path.unlink()
        return [target, seal]


def _seal(target: Path) -> bytes:
    return f"{files.sha256_file(target)}\n".encode()


def _write_npz(out: BinaryIO, rows: np.ndarray) -> None:
    """The `.npz` of appended rows: uncompressed, the same bytes for the same rows."""
    confidences = np.empty(len(rows), np.float32)
    chunk = max(1, int(_CHUNK_BYTES // rows.dtype.itemsize))
    starts = range(0, len(rows), chunk)
    with zipfile.ZipFile(out, "w", allowZip64=True) as archive:
        with _member(archive, "logits", rows["logits"]) as member:
            for start in track(starts, total=len(starts), what=NAME, unit="chunks"):
                part = slice(start, start + chunk)
                logits = np.ascontiguousarray(rows["logits"][part])
                member.write(logits.tobytes())
                confidences[part] = scipy.special.softmax(logits, axis=1).max(axis=1)
        columns = {
            "indices": rows["label"],
            "confidences": confidences,
            "image_id": rows["image_id"],
        }
        for name, values in columns.items():
            with _member(archive, name, values) as member:
                member.write(values.tobytes())


@contextlib.contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, values: np.ndarray
) -> Iterator[IO[bytes]]:
    """A `.npy` in the archive: its header is written, its bytes are the caller's."""
    # A ZipInfo of its own: the date is 1980, not now.
    info = zipfile.ZipInfo(f"{name}.npy")
    with archive.open(info, "w", force_zip64=True) as member:
        header = {
            "descr": np.lib.format.dtype_to_descr(values.dtype),
            "fortran_order": False,
            "shape": values.shape,
        }
        np.lib.format.write_array_header_1_0(member, header)
        yield member


def _row_type(classes: int) -> np.dtype:
    fields = [("image_id", "<u8"), ("label", "<i8"), ("logits", "<f4", (classes,))]
    return np.dtype(fields)
