"""The directory that a cache lives in: making it, and who has it to themselves.

Whoever has the cache open holds `users.lock` shared. Who gets it exclusively is alone,
and may tidy or rebuild; who comes meanwhile waits, and looks at what is there, or makes
what is missing, only then. The kernel ends a lock with its process.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from aplantida_jax.errors import UserError

OBJECTS, INDEX = "objects", "index.sqlite"


@contextlib.contextmanager
def usable(directory: Path) -> Iterator[None]:
    """While the block opens what is in `directory`: its OSErrors become UserErrors."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{directory} cannot hold the cache ({error.strerror or error}): set "
            "--config.download.cache_dir to a directory that can be made and written"
        ) from error


def open_lock(directory: Path) -> int:
    """Makes the directory; returns a handle on its `users.lock`, not yet locked.

    Raises:
        UserError: it is no directory, or may not be made or written to.
    """
    with usable(directory):
        directory.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        return os.open(directory / "users.lock", flags, 0o644)


def join(users: int, directory: Path) -> bool:
    """Locks a handle of `open_lock`; waits while somebody else is alone.

    Returns:
        Is the caller alone? Then nobody else gets in until it calls `share`.
    """
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    try:
        fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.debug("waiting for the process that tidies %s", directory)
        fcntl.flock(users, fcntl.LOCK_SH)
    return False


def share(users: int) -> None:
    """Lets others in.

    The kernel gives one lock up before it takes the other: somebody may be alone in
    between, so have nothing in hand.
    """
    fcntl.flock(users, fcntl.LOCK_SH)


def lost_its_index(directory: Path) -> bool:
    """Are there objects, but no index that knows them?"""
    objects = Path(directory) / OBJECTS
    # In this order: others make the index first, and then objects.
    has_objects = objects.is_dir() and bool(os.listdir(objects))
    return has_objects and not (Path(directory) / INDEX).exists()
