"""Reads the plan's dense `.npz` (see `dense`) in a stream; never unpickles anything.

Arrays may be compressed or not, as numpy's savez and savez_compressed leave them. What
is wrong with a file is a UserError that names the file and what to do.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from absl import logging

from aplantida_jax.errors import UserError

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What zipfile raises for a file that is none, damaged, encrypted or compressed oddly.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError),
    *(RuntimeError, NotImplementedError),
)


class DenseFile:
    """A `.npz` of the plan, whose logits are streamed.

    Attributes:
        count: rows.
        classes: columns of the logits.
    """

    def __init__(self, path: Path):
        """Reads all but the logits.

        Raises:
            UserError: no such `.npz`, or arrays that are missing, pickled or of another
                shape.
        """
        self._path = path
        if not path.is_file():
            raise self._wrong("is no file")
        with self._open("logits", kinds="f") as (_, _, shape):
            if len(shape) != 2:
                raise self._wrong(f"has logits {shape}, not [n, classes]")
            self.count, self.classes = shape
        self._label = self._column("indices")
        self._image_id = self._column("image_id") if self._has("image_id") else None

    def require_classes(self, classes: int) -> None:
        """Raises UserError when the logits are not of so many classes."""
        if self.classes != classes:
            raise self._wrong(
                f"has logits of {self.classes} classes, but classes.json has {classes}"
            )

    def require_labels(self, row: np.ndarray, label: np.ndarray, *, of: Path) -> None:
        """Raises UserError unless the rows int [n] have the labels int [n]."""
        wrong = self._label[row] != label
        if wrong.any():
            at = int(row[wrong].min())
            raise self._wrong(
                f"says class {self._label[at]} in row {at}, but its photo is of class "
                f"{int(label[row == at][0])} in {of} ({int(wrong.sum())} rows differ)"
            )

    def rows_of(self, image_id: np.ndarray, *, of: Path) -> np.ndarray:
        """The rows of images, int [n].

        Args:
            image_id: uint64 [n], in the order of the split file.
            of: the split file, for the messages.

        Raises:
            UserError: images that are missing or there twice; without ids, another
                number of images.
        """
        if self._image_id is None:
            if len(image_id) != self.count:
                raise self._wrong(
                    f"has {self.count} rows and no image_id, so that only their order "
                    f"tells what they are of, but {of} has {len(image_id)} photos"
                )
            return np.arange(self.count)
        order = np.argsort(self._image_id, kind="stable")
        known = self._image_id[order].astype(np.uint64)
        if (known[1:] == known[:-1]).any():
            raise self._wrong("has an image_id twice")
        there = np.isin(image_id, known)
        if not there.all():
            raise self._wrong(
                f"lacks {int((~there).sum())} of the {len(image_id)} photos of {of}, "
                f"the first is {int(image_id[~there][0]):016x}"
            )
        return order[np.searchsorted(known, image_id)]

    def verify(self) -> None:
        """Reads everything once; UserError where a checksum of the archive is wrong."""
        logging.info("verifying %s", self._path)
        with self._reading(), zipfile.ZipFile(self._path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"checksum of {damaged}")

    def logits(self, chunk: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (number of its first row, float [m, classes]), m at most `chunk`."""
        with self._open("logits", kinds="f") as (member, dtype, _):
            for start in range(0, self.count, chunk):
                size = min(chunk, self.count - start) * self.classes * dtype.itemsize
                part = np.frombuffer(member.read(size), dtype)
                yield start, part.reshape(-1, self.classes)

    def _column(self, name: str) -> np.ndarray:
        """An array [n] of whole numbers."""
        with self._open(name, kinds="iu") as (member, dtype, shape):
            if shape != (self.count,):
                raise self._wrong(f"has {name} {shape}, but {self.count} rows")
            return np.frombuffer(member.read(), dtype)

    def _has(self, name: str) -> bool:
        with self._reading(), zipfile.ZipFile(self._path) as archive:
            return f"{name}.npy" in archive.namelist()

    @contextlib.contextmanager
    def _open(
        self, name: str, *, kinds: str
    ) -> Iterator[tuple[IO[bytes], np.dtype, tuple[int, ...]]]:
        """An array's bytes, type and shape; refuses other kinds of numbers."""
        if not self._has(name):
            raise self._wrong(f"has no array '{name}'")
        with self._reading(), zipfile.ZipFile(self._path) as archive:
            size = archive.getinfo(f"{name}.npy").file_size
            with archive.open(f"{name}.npy") as member:
                read_header = _HEADERS[np.lib.format.read_magic(member)]
                shape, fortran_order, dtype = read_header(member)
                if dtype.kind not in kinds or (fortran_order and len(shape) > 1):
                    order = " in Fortran's order" if fortran_order else ""
                    raise self._wrong(f"has {name} of {dtype}{order}")
                # Before anything is allocated by what a header claims.
                if int(np.prod(shape, dtype=object)) * dtype.itemsize != (
                    size - member.tell()
                ):
                    raise ValueError(f"{name} is not as long as its header says")
                yield member, dtype, shape

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except (*_DAMAGED, KeyError) as error:
            raise self._wrong(f"is no whole .npz ({error})") from None

    def _wrong(self, what: str) -> UserError:
        return UserError(
            f"--config.predict.import_npz: {self._path} {what}; it needs logits "
            "float32 [n, classes] and indices int64 [n], and image_id uint64 [n] "
            "unless its rows are in the order of the split file"
        )
