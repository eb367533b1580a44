"""Splits that are killed, that would leak, or whose inputs are not in order."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from split_collection import prepared, read, stats

from aplantida_jax import files, paths
from aplantida_jax.data import duplicates, split
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("original")
    return prepared(root)


@pytest.fixture
def config(original, tmp_path):
    """A copy of the prepared collection, that a test may change."""
    changed = original.copy_and_resolve_references()
    shutil.copytree(original.data_dir, tmp_path / "data")
    changed.data_dir = str(tmp_path / "data")
    return changed


def test_nothing_downloaded_is_an_error(config, tmp_path):
    files.write_jsonl(paths.download_index(config), [])
    (paths.download_dir(config) / "manifest.json").unlink()
    with pytest.raises(UserError, match="run stage 'download' first"):
        split.run(config, tmp_path)
    paths.download_index(config).unlink()
    with pytest.raises(UserError, match="index.jsonl is missing"):
        split.run(config, tmp_path)


def test_an_altered_index_is_refused(config, tmp_path):
    path = paths.download_index(config)
    path.write_bytes(path.read_bytes().replace(b'"ok"', b'"OK"', 1))
    with pytest.raises(UserError, match="index.jsonl is not what stage 'download'"):
        split.run(config, tmp_path)


def test_a_leaking_split_is_not_left_in_place(config, tmp_path, monkeypatch):
    split.run(config, tmp_path)
    before = paths.split_file(config, "val").read_bytes()
    config.split.fractions = (0.6, 0.2, 0.2)

    def scattered(count, pairs):
        return np.arange(count)

    monkeypatch.setattr(duplicates, "groups", scattered)
    with pytest.raises(UserError, match="leaks"):
        split.run(config, tmp_path)
    assert paths.split_file(config, "val").read_bytes() == before
    assert not list((Path(config.data_dir) / "splits").glob(".*"))


def test_killed_it_leaves_a_whole_split_or_none(config, tmp_path):
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *("--config.stage=split", f"--config.data_dir={config.data_dir}"),
    ]
    for delay in (0.25, 0.35, 0.45):
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        child.kill()
        child.wait()
        for region in ("", "EU_SW"):
            if paths.splits_dir(config, region).exists():
                assert set(stats(config, region)["leakage"].values()) == {0}
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    killed = {name: [p.image_id for p in own] for name, own in read(config).items()}
    shutil.rmtree(Path(config.data_dir) / "splits")
    split.run(config, tmp_path)
    assert killed == {n: [p.image_id for p in own] for n, own in read(config).items()}
