"""Flips single bits in copies of files, and asks those who read them what they have."""

import contextlib
import dataclasses
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aplantida_jax.errors import UserError

# Given a copy: a digest of what it goes on with; UserError when it does not.
Reader = Callable[[Path], str]


@dataclasses.dataclass(frozen=True)
class Target:
    """Files of one kind in a directory, and all who read them."""

    name: str
    directory: Path
    files: list[Path]
    readers: Sequence[Reader]


def undetected(
    target: Target, flips: int, rng: random.Random
) -> tuple[list[tuple[Path, int]], int]:
    """The flips after which somebody goes on with something else; how many do nothing.

    Raises:
        UserError: what is not damaged is refused.
    """
    expected = []
    for read in target.readers:
        with copy_of(target.directory) as copy:
            expected.append(read(copy))
    missed, harmless = [], 0
    for _ in range(flips):
        path = rng.choice(target.files)
        bit = rng.randrange(8 * path.stat().st_size)
        found = [after_flip(target, read, path, bit) for read in target.readers]
        wrong = [f not in (e, None) for f, e in zip(found, expected, strict=True)]
        if any(wrong):
            missed.append((path, bit))
        harmless += found == expected
    return missed, harmless


def after_flip(target: Target, read: Reader, path: Path, bit: int) -> str | None:
    """What a reader goes on with after a flip; None when it noticed."""
    with copy_of(target.directory) as copy:
        flip(copy / path.relative_to(target.directory), bit)
        try:
            return read(copy)
        except UserError:
            return None


@contextlib.contextmanager
def copy_of(directory: Path) -> Iterator[Path]:
    """A copy for one reader, of links: whoever writes writes other files."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as beside:
        copy = Path(beside) / directory.name
        yield Path(shutil.copytree(directory, copy, copy_function=os.link))


def flip(path: Path, bit: int) -> None:
    """Another bit, in a file of its own."""
    damaged = bytearray(path.read_bytes())
    damaged[bit // 8] ^= 1 << bit % 8
    path.unlink()
    path.write_bytes(damaged)


def there(directory: Path) -> list[Path]:
    """Every file under a directory that has a bit to flip."""
    found = sorted(p for p in directory.rglob("*") if p.is_file())
    return [path for path in found if path.stat().st_size]
