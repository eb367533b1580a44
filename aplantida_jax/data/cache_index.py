"""The index of the cache: id -> size, SHA-256 and last use, in SQLite (WAL).

Knows no files. Every change happens inside `transaction()`, which is alone among
the writers of all processes and happens as a whole or not at all. One connection per
process, which its threads take turns with; a forked child makes its own.
"""

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from aplantida_jax.errors import UserError

_NOTED_USES = 1024  # that wait in memory before they are written
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    image_id TEXT PRIMARY KEY, size INTEGER, sha256 BLOB, last_use INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON objects (last_use);
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER);
INSERT OR IGNORE INTO totals VALUES ('bytes', 0), ('uses', 0);
"""


class Index:
    """Opens or makes the index at `path`.

    Methods raise UserError when the index is damaged, OSError when the disk is full.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._inherited: list[sqlite3.Connection] = []
        self._connect()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Begins and commits; an exception inside rolls back."""
        with self._locked() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def row(self, image_id: str) -> tuple[int, bytes] | None:
        """(size, SHA-256 digest), or None."""
        with self._locked() as db:
            return db.execute(
                "SELECT size, sha256 FROM objects WHERE image_id = ?", (image_id,)
            ).fetchone()

    def ids(self) -> list[str]:
        """All ids, sorted."""
        with self._locked() as db:
            rows = db.execute("SELECT image_id FROM objects ORDER BY image_id")
            return [image_id for (image_id,) in rows]

    def sizes(self) -> dict[str, int]:
        """Bytes of every object, by id."""
        with self._locked() as db:
            return dict(db.execute("SELECT image_id, size FROM objects"))

    def count(self) -> int:
        with self._locked() as db:
            return db.execute("SELECT COUNT(*) FROM objects").fetchone()[0]

    def size(self) -> int:
        """Bytes of all objects."""
        with self._locked() as db:
            return _total(db, "bytes")

    def oldest(self) -> str:
        """The id that was not used for the longest; the index is not empty."""
        with self._locked() as db:
            return db.execute(
                "SELECT image_id FROM objects ORDER BY last_use LIMIT 1"
            ).fetchone()[0]

    def insert(self, image_id: str, size: int, digest: bytes) -> None:
        with self._locked() as db:
            row = (image_id, size, digest, _next_uses(db, 1))
            db.execute("INSERT INTO objects VALUES (?, ?, ?, ?)", row)
            _add(db, "bytes", size)

    def delete(self, image_id: str) -> bool:
        """Removes a row; False when there is none."""
        with self._locked() as db:
            found = db.execute(
                "DELETE FROM objects WHERE image_id = ? RETURNING size", (image_id,)
            ).fetchone()
            if found is not None:
                _add(db, "bytes", -found[0])
            return found is not None

    def note_use(self, image_id: str) -> None:
        """Remembers that the object was read just now, later than all others."""
        with self._locked():
            self._uses.pop(image_id, None)
            self._uses[image_id] = None
            if len(self._uses) >= _NOTED_USES:
                self.flush_uses()

    def flush_uses(self) -> None:
        """Writes down what `note_use` remembers."""
        with self._locked() as db, self.transaction():
            first = _next_uses(db, len(self._uses))
            db.executemany(
                "UPDATE objects SET last_use = ? WHERE image_id = ?",
                list(enumerate(self._uses, start=first)),
            )
            self._uses.clear()

    def close(self) -> None:
        self.flush_uses()
        self._db.close()

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._uses: dict[str, None] = {}
        self._db = sqlite3.connect(
            self.path, timeout=60.0, isolation_level=None, check_same_thread=False
        )
        with self._locked() as db:
            db.execute("PRAGMA journal_mode = WAL")
            # A power cut may lose the last commits, but tears none.
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        """This process's connection, for one thread at a time."""
        if self._pid != os.getpid():
            # SQLite forbids a child to use, or close, its parent's connection; kept
            # here, it is not collected either.
            self._inherited.append(self._db)
            self._connect()
        with self._lock:
            try:
                yield self._db
            except sqlite3.DatabaseError as error:
                raise explained(error, self.path) from error


def explained(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """UserError for a damaged database, OSError for a full disk, else the error."""
    # The low byte is the error, the rest its detail.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return UserError(
            f"{path} is damaged ({error}): remove {path.parent} and run stage "
            "'download' again"
        )
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, str(error), str(path))
    if code == sqlite3.SQLITE_IOERR:
        return OSError(errno.EIO, str(error), str(path))
    return error


def _total(db: sqlite3.Connection, name: str) -> int:
    return db.execute("SELECT value FROM totals WHERE name = ?", (name,)).fetchone()[0]


def _add(db: sqlite3.Connection, name: str, amount: int) -> None:
    db.execute("UPDATE totals SET value = value + ? WHERE name = ?", (amount, name))


def _next_uses(db: sqlite3.Connection, count: int) -> int:
    """Reserves `count` ticks of the use counter; returns the first."""
    _add(db, "uses", count)
    return _total(db, "uses") - count + 1
