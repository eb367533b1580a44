import sqlite3
import threading

import pytest

from aplantida_jax.data.journal import OK, PERMANENT, TEMPORARY, Journal, Outcome
from aplantida_jax.errors import UserError


def outcome(number: int, status: str = OK, **fields) -> Outcome:
    return Outcome(f"{number:016x}", status, **fields)


def test_outcomes_come_back_sorted_and_replaced(tmp_path):
    journal = Journal(tmp_path)
    journal.record([outcome(3, bytes=10), outcome(1, PERMANENT, reason="http_404")])
    journal.record([outcome(2, TEMPORARY, reason="timeout")])
    journal.record([outcome(2, bytes=30, width=4, height=5, sha256="a", phash="b")])
    journal.close()
    journal = Journal(tmp_path)
    assert list(journal.outcomes()) == [
        outcome(1, PERMANENT, reason="http_404"),
        outcome(2, bytes=30, width=4, height=5, sha256="a", phash="b"),
        outcome(3, bytes=10),
    ]
    assert journal.mean_bytes() == 20
    journal.close()


def test_settings_are_kept(tmp_path):
    journal = Journal(tmp_path)
    assert journal.mean_bytes() == 0
    journal.settle({"shrink_short_side": 512, "jpeg_quality": 90})
    journal.settle({"shrink_short_side": 512, "jpeg_quality": 90})
    with pytest.raises(UserError, match="shrink_short_side=512, not 256"):
        journal.settle({"shrink_short_side": 256, "jpeg_quality": 90})
    journal.close()


def test_a_journal_that_cannot_be_made_names_the_option(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        with pytest.raises(UserError, match=r"--config\.download\.cache_dir"):
            Journal(place)
    (tmp_path / "cache" / "journal.sqlite").mkdir(parents=True)
    with pytest.raises(UserError, match=r"journal\.sqlite cannot be opened"):
        Journal(tmp_path / "cache")


def test_all_or_nothing(tmp_path):
    journal = Journal(tmp_path)
    unstorable = Outcome("b" * 16, OK, reason=["not", "text"])  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        journal.record([outcome(1), unstorable])
    assert list(journal.outcomes()) == []
    journal.record([outcome(1)])
    assert len(list(journal.outcomes())) == 1
    journal.close()


def test_two_writers_take_turns(tmp_path):
    def write(start: int) -> None:
        journal = Journal(tmp_path)
        for number in range(start, start + 200):
            journal.record([outcome(number)])
        journal.close()

    threads = [threading.Thread(target=write, args=(n * 1000,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal = Journal(tmp_path)
    assert len(list(journal.outcomes())) == 400
    journal.close()


def test_a_damaged_journal_is_told(tmp_path):
    (tmp_path / "journal.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(UserError, match="journal.sqlite is damaged"):
        Journal(tmp_path)


def test_outcomes_of_some_images(tmp_path):
    journal = Journal(tmp_path)
    journal.record([outcome(number, bytes=number) for number in range(5)])
    names = [f"{number:016x}" for number in (1, 3, 9)]
    assert journal.outcomes_of(names) == {
        names[0]: outcome(1, bytes=1),
        names[1]: outcome(3, bytes=3),
    }
    journal.close()


def test_the_version_tells_of_others_writing(tmp_path):
    ours, theirs = Journal(tmp_path), Journal(tmp_path)
    before = ours.version()
    ours.record([outcome(1)])
    assert ours.version() == before
    theirs.record([outcome(2)])
    assert ours.version() != before
    ours.close()
    theirs.close()
