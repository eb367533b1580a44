"""The URLs of a split's photos, looked up in its file: 16 bytes of memory a photo."""

import hashlib
import os
from pathlib import Path

import numpy as np
import orjson

from aplantida_jax import files
from aplantida_jax.data import origin
from aplantida_jax.errors import UserError


class PhotoUrls:
    """Of one split file, which stays open; safe for several threads.

    Attributes:
        image_id: uint64 [n], sorted.
        example: host -> the URL of one of its photos, "" for what is relative.
    """

    def __init__(self, path: Path):
        """Reads where each photo stands.

        Raises:
            UserError: the file is missing, damaged, or not sorted by `image_id`.
        """
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise files.missing(path, "split") from None
        self.example: dict[str, str] = {}
        try:
            self._read()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise UserError(
                f"{path} is damaged ({error}): run stage 'split' again"
            ) from None

    def _read(self) -> None:
        ids: list[int] = []
        offsets = [0]
        digest = hashlib.sha256()
        trailer = None
        with open(self._file, "rb", closefd=False) as lines:
            for line in lines:
                if trailer is not None:
                    raise ValueError("lines after the trailer")
                row = orjson.loads(line)
                if files.TRAILER in row:
                    trailer = row[files.TRAILER]
                    continue
                digest.update(line)
                ids.append(int(row["image_id"], 16))
                offsets.append(offsets[-1] + len(line))
                self.example.setdefault(origin.host_of(row["url"]), row["url"])
        if trailer != {"count": len(ids), "sha256": digest.hexdigest()}:
            raise ValueError("its trailer does not agree with its lines")
        self.image_id = np.array(ids, np.uint64)
        self._offset = np.array(offsets, np.int64)
        if (self.image_id[1:] <= self.image_id[:-1]).any():
            raise ValueError("its photos are not sorted by image_id")

    def url(self, image_id: str) -> str:
        """Raises KeyError when the split has no such photo."""
        wanted = np.uint64(int(image_id, 16))
        at = int(np.searchsorted(self.image_id, wanted))
        if at == len(self.image_id) or self.image_id[at] != wanted:
            raise KeyError(image_id)
        start, stop = int(self._offset[at]), int(self._offset[at + 1])
        return orjson.loads(os.pread(self._file, stop - start, start))["url"]

    def close(self) -> None:
        os.close(self._file)
