"""Soft-label stores after kills, damage and under few file descriptors."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_store import SHARD_ROWS, packed, read, rows_of, write, writer

from aplantida_jax import files
from aplantida_jax.distill import store
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "_SHARD_ROWS", SHARD_ROWS)


WRITE_ON = """
import sys
sys.path[:0] = ["tests", "."]
import pathlib
import test_store as t
t.store._SHARD_ROWS = t.SHARD_ROWS
ids, probability = t.rows_of(40)
out = t.writer(pathlib.Path(sys.argv[1]))
for row in range(out.rows_written, 40):
    out.append(t.packed(ids[row : row + 1], probability[row : row + 1]))
    print("ready", flush=True)
"""


def test_a_writer_killed_at_any_moment_ends_with_the_same_bytes(tmp_path):
    ids, probability = rows_of(40)
    write(tmp_path / "whole", ids, probability, block=1)
    broken = tmp_path / "broken"
    for appended in (1, 9):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_ON, broken], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            for _ in range(appended):
                assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert len(read(broken)) >= appended
    subprocess.run(
        [sys.executable, "-c", WRITE_ON, broken],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    files.sweep_temporary(broken)
    assert files.sha256_tree(broken) == files.sha256_tree(tmp_path / "whole")


def test_a_shard_that_the_description_does_not_name_goes(tmp_path):
    ids, probability = rows_of(20)
    write(tmp_path, ids, probability)
    stray = tmp_path / "shard-00001.rows"  # killed before it was named
    stray.write_bytes((tmp_path / "shard-00000.rows").read_bytes())
    assert len(read(tmp_path)) == 20
    assert writer(tmp_path).rows_written == 20
    assert not stray.exists()


def test_rows_that_the_description_does_not_name_are_cut_off(tmp_path):
    ids, probability = rows_of(30)
    write(tmp_path, ids, probability)
    whole = files.sha256_tree(tmp_path)
    last = tmp_path / "shard-00001.rows"
    with open(last, "ab") as shard:  # killed in the middle of a block
        shard.write(b"\x01" * 77)
    assert len(read(tmp_path)) == 30
    assert writer(tmp_path).rows_written == 30
    assert files.sha256_tree(tmp_path) == whole


@pytest.mark.parametrize(
    ("damage", "kept"), [("flipped", 30), ("cut", 30), ("missing", 20)]
)
def test_a_writer_does_again_what_is_damaged_and_what_follows(tmp_path, damage, kept):
    ids, probability = rows_of(50)
    write(tmp_path, ids, probability)
    whole = files.sha256_tree(tmp_path)
    path = tmp_path / "shard-00001.rows"
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    out = writer(tmp_path)
    assert out.rows_written == kept
    assert len(read(tmp_path)) == kept
    assert not (tmp_path / "shard-00002.rows").exists()
    for start in range(kept, 50, 10):
        part = slice(start, start + 10)
        out.append(packed(ids[part], probability[part]))
    assert files.sha256_tree(tmp_path) == whole


@pytest.mark.parametrize("content", ["", "{}", "[]", "null"])
def test_a_writer_starts_anew_where_the_description_is_damaged(tmp_path, content):
    write(tmp_path, *rows_of(30))
    (tmp_path / "store.json").write_text(content)
    assert writer(tmp_path).rows_written == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["store.json", "shard-00000.rows", "shard-00001.rows"])
def test_every_flipped_bit_is_noticed(tmp_path, name):
    write(tmp_path, *rows_of(30))
    path = tmp_path / name
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    for bit in rng.choice(8 * len(whole), 200, replace=False).tolist():
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="run stage 'predict' again"):
            read(tmp_path)
    path.write_bytes(whole)
    assert len(read(tmp_path)) == 30


@pytest.mark.parametrize("name", ["store.json", "shard-00001.rows"])
def test_truncation_and_deletion_are_noticed(tmp_path, name):
    write(tmp_path, *rows_of(30))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="run stage 'predict' again"):
        read(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="stage 'predict'"):
        read(tmp_path)


READ_WITH_FEW_FILES = """
import resource, sys
sys.path[:0] = ["tests", "."]
import pathlib
import numpy as np
import test_store as t
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (32, hard))
found = t.read(pathlib.Path(sys.argv[1]))
ids = found.image_id[::1000]
assert (found.packed(ids)["image_id"] == ids).all()
print(len(found))
"""


def test_a_store_of_many_blocks_takes_few_file_descriptors(tmp_path, monkeypatch):
    """One of 593,000 images in 4 views has 1,158 blocks; Ubuntu's limit is 1,024."""
    monkeypatch.setattr(store, "_SHARD_ROWS", 65_536)
    block = np.tile(packed(*rows_of(128)), 16)
    out = writer(tmp_path)
    for number in range(64):
        first = number * len(block)
        block["image_id"] = np.arange(first, first + len(block))
        out.append(block)
    done = subprocess.run(
        [sys.executable, "-c", READ_WITH_FEW_FILES, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 131_072
