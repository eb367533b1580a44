"""Which checkpoints are trusted: told by files alone, without orbax."""

import json
import os
from pathlib import Path

import pytest

from aplantida_jax import files
from aplantida_jax.errors import UserError
from aplantida_jax.train.checkpoint_hashes import CheckpointHashes

STEPS = (5, 10, 15)


@pytest.fixture
def hashes(tmp_path: Path) -> CheckpointHashes:
    """Three committed checkpoints of a few bytes."""
    found = CheckpointHashes(tmp_path)
    for step in STEPS:
        _write(tmp_path, step)
        found.add(step, files.sha256_tree(_of(tmp_path, step)))
    return found


def _of(workdir: Path, step: int) -> Path:
    return workdir / "checkpoints" / str(step)


def _write(workdir: Path, step: int) -> None:
    for name in ("model/d/0", "progress/metadata"):
        files.write_text(_of(workdir, step) / name, f"{name} at step {step}")


def _damage(workdir: Path, step: int) -> None:
    (_of(workdir, step) / "model/d/0").write_text("else")


def _left(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints").iterdir()}


def test_the_newest_whole_one_is_trusted_and_a_newer_one_put_aside(hashes, tmp_path):
    assert hashes.newest_whole(STEPS) == 15
    _damage(tmp_path, 15)
    assert hashes.newest_whole(STEPS) == 10
    assert _left(tmp_path) == {"5", "10", "damaged-15"}


def test_of_all_damaged_ones_only_the_last_is_kept(hashes, tmp_path):
    for step in (15, 10):
        _damage(tmp_path, step)
    assert hashes.newest_whole(STEPS) == 5
    assert _left(tmp_path) == {"5", "damaged-15"}
    hashes.put_aside(5)
    assert _left(tmp_path) == {"damaged-5"}


def test_an_unfinished_one_is_deleted(hashes, tmp_path):
    _write(tmp_path, 20)
    assert hashes.newest_whole((*STEPS, 20)) == 15
    assert _left(tmp_path) == {"5", "10", "15"}


def test_one_that_was_deleted_is_told(hashes, tmp_path, caplog):
    for path in sorted(_of(tmp_path, 15).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    _of(tmp_path, 15).rmdir()
    with caplog.at_level("WARNING", logger="absl"):
        assert hashes.newest_whole(STEPS[:2]) == 10
    assert "checkpoints/15 is gone" in caplog.text


def test_where_all_are_damaged_everything_stays(hashes, tmp_path):
    for step in STEPS:
        _damage(tmp_path, step)
    for _ in range(2):
        with pytest.raises(UserError, match="move it away to start from the beginning"):
            hashes.newest_whole(STEPS)
    assert _left(tmp_path) == {"5", "10", "15"}


def test_moved_away_as_told_it_starts_from_the_beginning(hashes, tmp_path):
    (tmp_path / "checkpoints").rename(tmp_path / "away")
    assert hashes.newest_whole(()) is None
    _write(tmp_path, 3)  # killed before its hash was recorded
    assert hashes.newest_whole((3,)) is None
    assert _left(tmp_path) == set()


def test_no_flipped_bit_of_the_record_makes_a_run_start_again(hashes, tmp_path):
    """Each bit, one by one: it costs a checkpoint or two, never all of them."""
    record = tmp_path / "checkpoint_hashes.json"
    good = record.read_bytes()
    found = []
    for bit in range(8 * len(good)):
        altered = bytearray(good)
        altered[bit // 8] ^= 1 << bit % 8
        record.write_bytes(altered)
        whole = [step for step in STEPS if hashes.is_whole(step)]
        assert len(whole) >= 2, (bit, altered)
        found.append(len(whole))
    assert found.count(2) > 3 * 64 * 7  # nearly all are noticed: the digits are hashed


def test_entries_are_plain_json(hashes, tmp_path):
    kept = json.loads((tmp_path / "checkpoint_hashes.json").read_text())
    assert list(kept) == ["5", "10", "15"]
    hashes.keep_only({10})
    assert hashes.newest() == 10


def test_sync_tree_syncs_every_file_and_directory(tmp_path, monkeypatch):
    _write(tmp_path, 1)
    synced = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    files.sync_tree(_of(tmp_path, 1))
    everything = {str(path) for path in _of(tmp_path, 1).rglob("*")}
    assert set(synced) == everything | {
        str(_of(tmp_path, 1)),
        str(tmp_path / "checkpoints"),
    }
    for path in everything:  # a directory after what it holds
        assert synced.index(path) < synced.index(str(Path(path).parent))
