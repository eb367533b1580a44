"""Files that are whole or absent: atomic writes, JSON Lines with a trailer, SHA-256.

Every write goes to a temporary name in the same directory, is flushed to the disk and
renamed, so that a reader (or a rerun after kill -9) sees the old file or the new one.
A JSON Lines file ends in a trailer line with the count and the SHA-256 of the lines
before it, so that a torn or altered file is noticed by whoever reads it to the end.
Its lines are read and written with orjson, several times as fast as json, within one
limit: a number has 64 bits at most.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from aplantida_jax.errors import UserError

TRAILER = "_trailer"
_CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file that takes the name `path` when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A leading dot and a suffix of our own: `sweep_temporary` can tell what is ours.
    # mkstemp and not NamedTemporaryFile: the file must outlive its handle.
    descriptor, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
    )
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_open(path) as out:
        out.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON; NaN and infinity raise ValueError (they are not JSON)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, *, made_by: str) -> Any:
    """Reads JSON; a missing or broken file is a UserError that names `made_by`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise missing(path, made_by) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not valid JSON ({error}): run stage '{made_by}' again"
        ) from None


def missing(path: Path, made_by: str) -> UserError:
    """The error for an input that is not there yet."""
    return UserError(f"{path} is missing: stage '{made_by}' makes it, run that first")


@contextlib.contextmanager
def jsonl_writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yields what adds a line, its newline included; the trailer follows by itself."""
    digest = hashlib.sha256()
    count = 0
    with atomic_open(path) as out:

        def add(line: bytes) -> None:
            nonlocal count
            digest.update(line)
            out.write(line)
            count += 1

        yield add
        out.write(to_line({TRAILER: {"count": count, "sha256": digest.hexdigest()}}))


def to_line(row: dict[str, Any]) -> bytes:
    """One JSON object and a newline, for `jsonl_writer`.

    Raises:
        ValueError: NaN or infinity, which are not JSON.
        TypeError: what is not JSON otherwise: an integer beyond 64 bits, a key that is
            no string, a string that is not Unicode (a lone surrogate), an object.
    """
    options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATETIME
    line = orjson.dumps(row, option=options)
    if b"null" in line:
        # orjson writes NaN and infinity as null; json tells them from None.
        json.dumps(row, allow_nan=False)
    return line


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Writes one JSON object a line and the trailer; returns the number of rows."""
    count = 0
    with jsonl_writer(path) as add:
        for row in rows:
            add(to_line(row))
            count += 1
    return count


def read_jsonl(path: Path, *, made_by: str) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file that `write_jsonl` wrote.

    Raises:
        UserError: missing file; a line that is not JSON; no trailer, or one that does
            not agree with the lines (raised at the end, after the rows were yielded).
    """
    digest = hashlib.sha256()
    count = 0
    trailer = None
    try:
        with open(path, "rb") as lines:
            for line in lines:
                if trailer is not None:
                    raise ValueError("lines after the trailer")
                row = orjson.loads(line)
                if type(row) is not dict:
                    raise ValueError("a line that is no object")
                if TRAILER in row:
                    trailer = row[TRAILER]
                    continue
                digest.update(line)
                count += 1
                yield row
        if trailer != {"count": count, "sha256": digest.hexdigest()}:
            raise ValueError("its trailer does not agree with its lines")
    except FileNotFoundError:
        raise missing(path, made_by) from None
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): run stage '{made_by}' again"
        ) from None


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_tree(path: Path) -> str:
    """SHA-256 of a file, or of a directory's relative names and file hashes."""
    path = Path(path)
    if not path.is_dir():
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path).as_posix()
        digest.update(f"{name}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a directory."""
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def sweep_temporary(directory: Path) -> int:
    """Removes what interrupted `atomic_open` calls left in `directory`."""
    swept = 0
    for leftover in Path(directory).glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
        swept += 1
    return swept


def sync_directory(directory: Path) -> None:
    """Makes a rename in it last through a power cut."""
    _sync(directory)


def sync_tree(directory: Path) -> None:
    """Makes a directory last through a power cut: its files, their names, its own.

    For what others wrote: they may have left all of it to the operating system.
    """
    directory = Path(directory)
    for path in sorted(directory.rglob("*"), reverse=True):  # what it holds before it
        _sync(path)
    _sync(directory)
    _sync(directory.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
