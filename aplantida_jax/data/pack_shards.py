"""Writing the pack's shards: deterministic, one after another, kept when right.

A shard takes images in order of their ids until it is full, and the next one goes on
from there. A finished shard is entered in `shards.json` with a key of what went into
it, so that a run that was killed, or one for other splits, knows what to keep.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import hashlib
import itertools
import json
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from aplantida_jax import directories, files
from aplantida_jax.data import decode
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.packed import SHARDS, STAGE, to_record
from aplantida_jax.errors import UserError
from aplantida_jax.progress import track

# Random access wants single records; what is in them is compressed already. One writer
# thread: the same bytes every time.
_WRITER = "group_size:1,uncompressed,max_parallelism:1"
_READ_AHEAD = 64  # images under way in the threads
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """An image to pack; `sha256` is of its original, "" when unknown."""

    image_id: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Shard:
    """A finished shard: `key` tells what it was made of, `sha256` what it became."""

    name: str
    images: int
    bytes: int
    sha256: str
    key: str


class Packer:
    """Writes shard after shard; each begins where the one before it ended."""

    def __init__(
        self, config: Any, out_dir: Path, cache: Cache, wanted: Sequence[Wanted]
    ):
        self._out_dir, self._cache, self._wanted = out_dir, cache, wanted
        self._limit = int(config.pack.shard_mb * 1e6)
        self._short_side = config.input.pack_short_side
        self._quality = config.download.jpeg_quality
        self._max_pixels = config.download.max_pixels
        self._threads = config.input.threads

    def write(self) -> list[Shard]:
        """All shards; those that are there and right are kept.

        Raises:
            UserError: an image is not in the cache any more; another process packs.
            OSError: the disk is full; the shards before stay.
        """
        self._out_dir.mkdir(parents=True, exist_ok=True)
        shards: list[Shard] = []
        with directories.exclusive(self._out_dir):
            files.sweep_temporary(self._out_dir)
            for _ in track(self._steps(shards), total=len(self._wanted), what=STAGE):
                pass
        return shards

    def _steps(self, shards: list[Shard]) -> Iterator[None]:
        """Appends to `shards`; yields once for each image."""
        earlier = _earlier(self._out_dir / SHARDS)
        done = 0
        while done < len(self._wanted):
            name = f"images-{len(shards):05d}.array_record"
            shard = earlier.get(name)
            if shard is not None and self._is_right(shard, done):
                yield from itertools.repeat(None, shard.images)
            else:
                shard = yield from self._write_shard(name, done)
            shards.append(shard)
            done += shard.images
            rows = [dataclasses.asdict(shard) for shard in shards]
            if done < len(self._wanted):
                # A run that is killed now may still find those behind it right.
                rows += [dataclasses.asdict(s) for n, s in earlier.items() if n > name]
            files.write_json(self._out_dir / SHARDS, rows)

    def _key(self, start: int, images: int) -> str:
        """Of what goes into a shard of these images."""
        settings = [self._limit, self._short_side]
        settings += [self._quality] if self._short_side else []
        digest = hashlib.sha256(json.dumps(settings).encode())
        for image in self._wanted[start : start + images]:
            digest.update(f"{image.image_id} {image.sha256}\n".encode())
        return digest.hexdigest()

    def _is_right(self, shard: Shard, start: int) -> bool:
        path = self._out_dir / shard.name
        return (
            path.exists()
            and shard.key == self._key(start, shard.images)
            and shard.sha256 == files.sha256_file(path)
        )

    def _write_shard(self, name: str, start: int) -> Generator[None, None, Shard]:
        """Images from the `start`-th on, until the shard is full."""
        path = self._out_dir / name
        images = size = 0
        with (
            _array_record(path) as writer,
            contextlib.closing(self._records(start)) as contents,
        ):
            for record in contents:
                writer.write(record)
                images += 1
                yield
                size += len(record)
                if size >= self._limit:
                    break
        return Shard(
            name,
            images,
            path.stat().st_size,
            files.sha256_file(path),
            self._key(start, images),
        )

    def _records(self, start: int) -> Generator[bytes, None, None]:
        with concurrent.futures.ThreadPoolExecutor(self._threads) as pool:
            rest = iter(self._wanted[start:])
            while some := list(itertools.islice(rest, _READ_AHEAD)):
                yield from pool.map(self._record, some)

    def _record(self, image: Wanted) -> bytes:
        """In a thread."""
        data = self._cache.get(image.image_id)
        if data is None:
            raise not_cached(f"image {image.image_id} is")
        if self._short_side:
            data = self._smaller(data)
        return to_record(int(image.image_id, 16), data)

    def _smaller(self, data: bytes) -> bytes:
        try:
            found = decode.header(data)
            if min(found.width, found.height) <= self._short_side:
                return data
            image = decode.decode(
                data, max_pixels=self._max_pixels, min_target_side=self._short_side
            )
        except decode.BrokenImage:
            return data  # whoever reads it says so, and counts it
        small = decode.shrink(image, self._short_side)
        return decode.encode_jpeg(small, self._quality)


@contextlib.contextmanager
def _array_record(path: Path) -> Iterator[ArrayRecordWriter]:
    """Writes to a temporary name that becomes `path` when the block ends well.

    Raises:
        OSError: the disk is full, or fails otherwise.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer = ArrayRecordWriter(str(temporary), _WRITER)
        try:
            yield writer
        finally:
            writer.close()
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except RuntimeError as error:
        # ArrayRecord has nothing else for what the system says.
        text = str(error)
        code = next((c for c in _FULL if os.strerror(c) in text), errno.EIO)
        raise OSError(code, os.strerror(code), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _earlier(path: Path) -> dict[str, Shard]:
    """The shards of an earlier run by name; whatever is wrong with it is made anew."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["name"]: Shard(**row) for row in rows}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def not_cached(what: str) -> UserError:
    """What cannot be packed; `what` is e.g. "image 0123 is"."""
    return UserError(
        f"{what} not in the cache any more: run stage 'download' again, with a larger "
        "--config.download.cache_size_gb if they were evicted"
    )
