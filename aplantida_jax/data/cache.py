"""Content cache on disk: image id -> bytes, least recently used out first.

Objects are files named by their id under two levels of directories, with an index
beside them (`aplantida_jax.data.cache_index`). What holds at any moment, also after
kill -9:

- `get` returns the very bytes that were put, or None; a damaged object is removed.
- An object is whole or absent: it is written aside and renamed.
- The objects' bytes stay within the limit, but for one object per writer.

Safe for several threads and processes, usable after fork and pickling. "Last use" is
a counter, not a clock. Uses are noted in batches, so a process may evict what another
has just read, which then reads None: never something torn.
"""

import contextlib
import hashlib
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aplantida_jax.data import cache_directory
from aplantida_jax.data.cache_directory import INDEX, OBJECTS
from aplantida_jax.data.cache_index import Index
from aplantida_jax.errors import UserError

_ID = re.compile(r"[0-9a-f]{16}")
_NEVER = sys.maxsize  # a tick that is not reached


class CacheFull(Exception):
    """There is room only for what may not be evicted."""


class Cache:
    """A directory of objects with a size limit.

    Any number of processes may open it at once. Opening it removes what a killed one
    left behind unless somebody else has the cache open. Only `put` evicts: a reader
    with a smaller limit costs no image.
    """

    remedy = "run the stages 'download' and 'split' again"

    def __init__(self, directory: Path, size_gb: float):
        """Opens or makes the cache.

        Args:
            directory: belongs to the cache alone.
            size_gb: limit, in units of 10^9 bytes.

        Raises:
            UserError: the directory cannot be made or written to; the index is
                damaged, or missing although there are objects.
        """
        self.directory = Path(directory)
        self.limit = int(size_gb * 1e9)
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def get(self, image_id: str) -> bytes | None:
        """The object's bytes, verified, or None."""
        row = self._index.row(image_id)
        if row is None:
            return None
        data = self._read(image_id, row)
        if data is None:
            data = self._read_alone(image_id)
        if data is not None:
            self._index.note_use(image_id)
        return data

    def put(self, image_id: str, data: bytes, *, spare_since: int = _NEVER) -> bool:
        """Stores an object, evicting others as needed; replaces one of the same id.

        Args:
            image_id: its name.
            data: its bytes.
            spare_since: a tick of `use_now`; what was used since is not evicted.

        Returns:
            False when the object alone exceeds the limit, so that it was not stored.

        Raises:
            CacheFull: no room but for what is spared; nothing was stored.
            OSError: e.g. no space left; what was there before stays, or is absent.
        """
        path = self._path(image_id)
        if len(data) > self.limit:
            return False
        digest = hashlib.sha256(data).digest()
        temporary = self._write_aside(data)
        try:
            with self._index.transaction():
                # What was evicted stays so, also when it was not enough.
                fits = self._make_room(len(data), spare_since)
                if fits:
                    self._delete(image_id)
                    self._index.insert(image_id, len(data), digest)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(temporary, path)
            if not fits:
                raise CacheFull(f"{self.directory} is full")
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        return True

    def use_now(self, image_ids: Sequence[str]) -> int:
        """Counts objects as used now; returns the tick for `put(spare_since=...)`."""
        return self._index.use_now(image_ids)

    def room(self, spare_since: int) -> int:
        """Bytes that `put(spare_since=...)` can still find room for."""
        return self.limit - self._index.size_since(spare_since)

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self._index.row(image_id) is not None

    def __len__(self) -> int:
        return self._index.count()

    def ids(self) -> list[str]:
        """All ids, sorted."""
        return self._index.ids()

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return self._index.size()

    def close(self) -> None:
        """Writes the noted uses down and lets go; the cache cannot be used after it."""
        try:
            self._index.close()
        finally:
            self._release()

    def _open(self) -> None:
        self._objects = self.directory / OBJECTS
        self._aside = self.directory / "aside"
        users = cache_directory.open_lock(self.directory)
        # A cache that nobody closed lets go when it is collected.
        self._release = weakref.finalize(self, os.close, users)
        try:
            # Nothing is looked at, or made, before: who is alone may be at work in it.
            alone = cache_directory.join(users, self.directory)
            self._make()
            if alone:
                self._tidy()
                cache_directory.share(users)
        except BaseException:
            self._release()
            raise

    def _make(self) -> None:
        """Opens what is there and makes what is missing, as others may do just now."""
        index = self.directory / INDEX
        if cache_directory.lost_its_index(self.directory):
            # Without the index all of them would be swept away as leftovers.
            raise UserError(
                f"{index} is missing although {self._objects} holds images: run stage "
                "'download', it enters them again"
            )
        # The index first: objects without one are taken for those of a lost index.
        self._index = Index(index)
        with cache_directory.usable(self.directory):
            self._objects.mkdir(exist_ok=True)
            self._aside.mkdir(exist_ok=True)

    def _tidy(self) -> None:
        """Makes index and directory agree; for who is alone in them."""
        for name in os.listdir(self._aside):
            os.unlink(self._aside / name)
        with self._index.transaction():
            # By size, not by name alone: who was killed while replacing an object has
            # left the new bytes under the old row.
            indexed = self._index.sizes()
            for directory, _, names in os.walk(self._objects):
                for name in names:
                    path = os.path.join(directory, name)
                    if indexed.get(name) == os.path.getsize(path):
                        del indexed[name]
                    else:
                        os.unlink(path)
            for image_id in indexed:
                self._index.delete(image_id)

    def _path(self, image_id: str) -> Path:
        if not _ID.fullmatch(image_id):
            raise ValueError(f"not an image id: {image_id!r}")
        return self._objects / image_id[:2] / image_id[2:4] / image_id

    def _read(self, image_id: str, row: tuple[int, bytes]) -> bytes | None:
        size, digest = row
        try:
            data = self._path(image_id).read_bytes()
        except FileNotFoundError:
            return None
        whole = len(data) == size and hashlib.sha256(data).digest() == digest
        return data if whole else None

    def _read_alone(self, image_id: str) -> bytes | None:
        """Reads again with no writer at work: what disagrees now is damaged."""
        with self._index.transaction():
            row = self._index.row(image_id)
            data = self._read(image_id, row) if row else None
            if data is None:
                self._delete(image_id)
            return data

    def _write_aside(self, data: bytes) -> str:
        # Not flushed to the disk: that would cost more than the download. What a power
        # cut loses the hash tells; what a kill interrupts was never renamed.
        handle, name = tempfile.mkstemp(dir=self._aside)
        try:
            with open(handle, "wb") as out:
                out.write(data)
        except BaseException:
            os.unlink(name)
            raise
        return name

    def _make_room(self, size: int, spare_since: int) -> bool:
        """Evicts until `size` more bytes fit; call it inside a transaction."""
        while self._index.size() + size > self.limit:
            image_id, last_use = self._index.oldest()
            if last_use >= spare_since:
                return False
            self._delete(image_id)
        return True

    def _delete(self, image_id: str) -> None:
        if self._index.delete(image_id):
            self._path(image_id).unlink(missing_ok=True)
