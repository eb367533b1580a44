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
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from aplantida_jax.errors import UserError

_BUSY_S = 60.0  # that a writer waits for the others
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

    def oldest(self) -> tuple[str, int]:
        """What was not used for the longest, and its tick; the index is not empty."""
        with self._locked() as db:
            return db.execute(
                "SELECT image_id, last_use FROM objects ORDER BY last_use LIMIT 1"
            ).fetchone()

    def size_since(self, tick: int) -> int:
        """Bytes of the objects that were last used at this tick or later."""
        with self._locked() as db:
            return db.execute(
                "SELECT COALESCE(SUM(size), 0) FROM objects WHERE last_use >= ?",
                (tick,),
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
        """Writes down what `note_use` remembers; a full disk loses it."""
        with self._locked():
            uses = list(self._uses)
            self._uses.clear()
            if not uses:
                return
            try:
                self.use_now(uses)
            except OSError as error:
                # They only say what to evict first. Nothing was asked to be written
                # here: neither a read, nor what ends a run, may fail of it.
                logging.debug("%d uses of images are lost: %s", len(uses), error)

    def use_now(self, image_ids: Sequence[str]) -> int:
        """Counts all of them as used just now, in this order.

        Returns:
            The tick of the first; those of later uses are higher.
        """
        with self._locked() as db, self.transaction():
            first = _next_uses(db, max(1, len(image_ids)))
            db.executemany(
                "UPDATE objects SET last_use = ? WHERE image_id = ?",
                enumerate(image_ids, start=first),
            )
            return first

    def close(self) -> None:
        try:
            self.flush_uses()
        finally:
            # Under a statement of another thread SQLite would crash the process.
            with self._lock:
                self._db.close()

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._uses: dict[str, None] = {}
        self._db = connect(self.path, _SCHEMA)

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


def connect(path: Path, schema: str) -> sqlite3.Connection:
    """Opens or makes a database that several processes may write to, in turns.

    Raises:
        UserError: it is damaged, or may not be opened.
        OSError: the disk is full.
    """
    try:
        db = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.DatabaseError as error:
        raise explained(error, path) from error
    try:
        _turn_to_wal(db)
        # A power cut may lose the last commits, but tears none.
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(schema)
    except sqlite3.DatabaseError as error:
        db.close()
        raise explained(error, path) from error
    return db


def _turn_to_wal(db: sqlite3.Connection) -> None:
    """Waits for others who do the same with a new database: SQLite itself does not."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def explained(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """UserError for what cannot be read, OSError for a full disk, else the error."""
    # The low byte is the error, the rest its detail.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return UserError(
            f"{path} is damaged ({error}): remove {path}* and run stage 'download' "
            "again; what the index of a cache held is found again from the images, "
            "what a journal held is asked for again"
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return UserError(
            f"{path} cannot be opened for writing ({error}): mend its permissions, or "
            "name another directory with --config.download.cache_dir"
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
