"""A cache whose index was lost: its objects are read, judged and entered again.

The index is the only thing that knows an object's hash, so what was damaged before is
not noticed by hashing it now; hence `is_whole`, which looks at the bytes themselves.
Costs one read of the cache, and no request: the journal still tells of the originals.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from absl import logging

from aplantida_jax import progress
from aplantida_jax.data import cache_directory
from aplantida_jax.data.cache_directory import INDEX, OBJECTS, lost_its_index
from aplantida_jax.data.cache_index import Index
from aplantida_jax.errors import UserError


def recover(directory: Path, is_whole: Callable[[bytes], bool]) -> None:
    """Makes the index of a cache that lost it; nothing where there is one.

    Args:
        directory: of the cache.
        is_whole: are these the bytes of an object? The others are removed.

    Raises:
        UserError: somebody has the cache open.
    """
    if not lost_its_index(directory):
        return
    users = cache_directory.open_lock(directory)
    try:
        alone = cache_directory.join(users, directory)
        # Who was alone before has perhaps just recovered it.
        if not lost_its_index(directory):
            return
        if not alone:
            raise UserError(
                f"{directory / INDEX} is missing, and a running process has the cache "
                "open: end that, then run stage 'download' again"
            )
        _rebuild(directory, is_whole)
    finally:
        os.close(users)


def _rebuild(directory: Path, is_whole: Callable[[bytes], bool]) -> None:
    logging.warning("%s is missing: entering the images again", directory / INDEX)
    # The lost index's log would be taken for the new one's.
    for stale in [*directory.glob(f"{INDEX}-*"), *directory.glob(f"{INDEX}.new*")]:
        stale.unlink()
    index = Index(directory / f"{INDEX}.new")
    paths = sorted(path for path in (directory / OBJECTS).rglob("*") if path.is_file())
    entered = 0
    # A kill in between loses the new index, which is then made from the start again.
    with index.transaction():
        for path in progress.track(paths, total=len(paths), what="recovery"):
            data = path.read_bytes()
            if is_whole(data):
                index.insert(path.name, len(data), hashlib.sha256(data).digest())
                entered += 1
            else:
                path.unlink()
    index.close()
    os.replace(directory / f"{INDEX}.new", directory / INDEX)
    removed = len(paths) - entered
    logging.info("%d images entered again, %d broken ones removed", entered, removed)
