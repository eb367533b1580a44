"""Directories that are replaced as a whole, by one process at a time.

Work goes on in a hidden directory beside the one that it will replace. A process that
is killed leaves its own behind, and the next one removes it; one that is still at work
is not disturbed.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aplantida_jax import files
from aplantida_jax.errors import UserError

_WORK, _OLD = ".tmpdir", ".old"  # endings of the hidden ones


@contextlib.contextmanager
def exclusive(directory: Path, *, doing: str = "writing") -> Iterator[None]:
    """While the block runs no other process is in one on the same directory.

    The lock is the kernel's and on the directory itself: it ends with the process, and
    leaves no file behind.

    Args:
        directory: has to be there.
        doing: what the block does, for the message of whoever comes second.

    Raises:
        UserError: another process is.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _occupied(directory, doing) from None
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that replaces `path` whole when the block ends well.

    What a killed process left behind is tidied up first, and a directory that it had
    taken away is put back.

    Raises:
        UserError: another process is writing `path`, or `path` is a file.
    """
    # Through a link, so that the temporary one lies on the same disk.
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file where a directory belongs: move it away")
    _tidy(path)
    work = Path(
        tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_WORK)
    )
    try:
        with exclusive(work):
            for other in path.parent.glob(f".{path.name}.*{_WORK}"):
                if other != work and _is_in_use(other):
                    raise _occupied(path)
            yield work
            os.chmod(work, 0o755)
            _replace_directory(path, work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _tidy(path: Path) -> None:
    leftovers = list(path.parent.glob(f".{path.name}.*{_WORK}"))
    if any(_is_in_use(leftover) for leftover in leftovers):
        raise _occupied(path)
    old = path.with_name(f".{path.name}{_OLD}")
    if old.exists() and not path.exists():
        os.replace(old, path)
    for leftover in (old, *leftovers):
        shutil.rmtree(leftover, ignore_errors=True)


def _replace_directory(path: Path, work: Path) -> None:
    old = path.with_name(f".{path.name}{_OLD}")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(work, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    files.sync_directory(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _is_in_use(directory: Path) -> bool:
    try:
        with exclusive(directory):
            return False
    except FileNotFoundError:
        return False  # it is gone: its owner has finished
    except UserError:
        return True


def _occupied(path: Path, doing: str = "writing") -> UserError:
    return UserError(f"another process is {doing} {path}: wait until it ends")
