"""What every image of the cache turned out to be, written down as it happens.

Lies in the cache's directory, because it tells of the originals of what is there; it
survives kill -9 with all that was recorded. SQLite, one writer at a time, any number of
readers.
"""

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aplantida_jax.data import cache_directory
from aplantida_jax.data.cache_index import connect, explained
from aplantida_jax.errors import UserError

# Status of an image; those but OK come with a reason.
OK, PERMANENT, TEMPORARY, REJECTED = "ok", "permanent", "temporary", "rejected"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One image.

    Attributes:
        image_id: of `records.Photo`.
        status: OK (it is in the cache); PERMANENT (404, 410: not asked again);
            TEMPORARY (asked again by the next run); REJECTED (it came, but is no use).
        reason: one word, "" when ok.
        width, height: pixels of the original, upright; 0 when unknown.
        bytes: of the original.
        sha256: of the original, "" when it did not come.
        phash: see `aplantida_jax.data.phash`; "" when unknown or featureless.
        orientation: EXIF value, 0 when it is given but impossible.
    """

    image_id: str
    status: str
    reason: str = ""
    width: int = 0
    height: int = 0
    bytes: int = 0
    sha256: str = ""
    phash: str = ""
    orientation: int = 1


_FIELDS = [field.name for field in dataclasses.fields(Outcome)]
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS outcomes
    ({", ".join(_FIELDS)}, PRIMARY KEY (image_id)) WITHOUT ROWID;
"""


class Journal:
    """The journal beside a cache."""

    def __init__(self, cache_dir: Path):
        """Opens or makes it; raises UserError when it is damaged, or cannot be made."""
        self.path = Path(cache_dir) / "journal.sqlite"
        with cache_directory.usable(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = connect(self.path, _SCHEMA)

    def settle(self, settings: dict[str, Any]) -> None:
        """Remembers how images are kept; refuses a cache that keeps them otherwise.

        Raises:
            UserError: the cache was filled with other settings.
        """
        kept = dict(self._db.execute("SELECT name, value FROM settings"))
        for name, value in settings.items():
            if kept.setdefault(name, value) != value:
                raise UserError(
                    f"the images in {self.path.parent} were kept with {name}="
                    f"{kept[name]!r}, not {value!r}: set it back, or fill another "
                    "cache with --config.download.cache_dir"
                )
        self._db.executemany(
            "INSERT OR IGNORE INTO settings VALUES (?, ?)", settings.items()
        )

    def record(self, outcomes: Iterable[Outcome]) -> None:
        """Writes outcomes, all or none; a later one of an image replaces an earlier.

        Raises:
            OSError: the disk is full.
        """
        marks = ", ".join("?" * len(_FIELDS))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                f"INSERT OR REPLACE INTO outcomes VALUES ({marks})",
                [dataclasses.astuple(outcome) for outcome in outcomes],
            )
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise explained(error, self.path) from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def outcomes(self) -> Iterator[Outcome]:
        """All of them, by `image_id`."""
        rows = self._db.execute(
            f"SELECT {', '.join(_FIELDS)} FROM outcomes ORDER BY image_id"
        )
        for row in rows:
            yield Outcome(*row)

    def outcomes_of(self, image_ids: Iterable[str]) -> dict[str, Outcome]:
        """Those that are known, by `image_id`."""
        query = f"SELECT {', '.join(_FIELDS)} FROM outcomes WHERE image_id = ?"
        rows = (self._db.execute(query, (name,)).fetchone() for name in image_ids)
        return {row[0]: Outcome(*row) for row in rows if row is not None}

    def version(self) -> int:
        """Changes when somebody else has written; not by what is written here."""
        return self._db.execute("PRAGMA data_version").fetchone()[0]

    def mean_bytes(self) -> float:
        """Of the originals that came so far; 0 when none did."""
        row = self._db.execute("SELECT AVG(bytes) FROM outcomes WHERE status = 'ok'")
        return row.fetchone()[0] or 0.0

    def close(self) -> None:
        self._db.close()
