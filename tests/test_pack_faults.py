"""What kills, bit flips, missing files and full disks do to the pack."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Dataset
from packed_dataset import (
    IMAGES,
    command,
    config_for,
    contents,
    ids_of,
    read_all,
    shards_of,
    train_batches,
)

from aplantida_jax import paths
from aplantida_jax.data import pack, packed
from aplantida_jax.data.image_source import open_images
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def config(dataset: Dataset) -> Any:
    """The configuration of a dataset that has been packed."""
    config = config_for(dataset)
    pack.run(config, dataset.root)
    return config


def test_damage_to_one_shard_costs_one_shard(config, tmp_path):
    whole = contents(config)
    damaged = shards_of(config)[2]
    others = {p: p.stat().st_mtime_ns for p in shards_of(config) if p != damaged}
    damaged.write_bytes(damaged.read_bytes()[:-1])
    pack.run(config, tmp_path)
    assert contents(config) == whole
    assert others == {path: path.stat().st_mtime_ns for path in others}


def test_a_pack_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    dataset, tmp_path
):
    config = config_for(dataset)
    config.pack.shard_mb = 0.02
    stage = command(config, "--config.input.pack_short_side=64")
    subprocess.run(stage, cwd=ROOT, check=True, capture_output=True)
    undisturbed = contents(config)
    shards = len(shards_of(config))
    shutil.rmtree(paths.pack_dir(config))
    kept: dict[Path, int] = {}
    left = []  # shards that a killed run had still to write
    for wanted in (1, shards // 3, 2 * shards // 3):
        with subprocess.Popen(
            stage, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            while len(shards_of(config)) < wanted and process.poll() is None:
                time.sleep(0.001)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        left.append(shards - len(shards_of(config)))
        assert {p: p.stat().st_mtime_ns for p in kept} == kept
        # The last may have been renamed but not entered yet: it is written again.
        kept = {p: p.stat().st_mtime_ns for p in shards_of(config)[:-1]}
    assert left[0] > 0
    subprocess.run(stage, cwd=ROOT, check=True, capture_output=True)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert contents(config) == undisturbed


def _noticed(config: Any, expected: dict[str, bytes]) -> bool:
    """Whether a reader is told what to do; if not, it must have read what is right."""
    try:
        found = read_all(config)
    except UserError as error:
        return "stage 'pack'" in str(error)
    assert found == expected
    return False


def test_every_flipped_bit_is_noticed_by_the_reader_or_by_the_stage(config, tmp_path):
    expected, whole = read_all(config), contents(config)
    rng = np.random.default_rng(0)
    names = sorted(whole)
    sizes = np.array([len(whole[name]) for name in names])
    noticed = 0
    for turn in range(200):
        # Half of them where most bytes are, half on all files alike.
        weights = sizes / sizes.sum() if turn % 2 else None
        name = str(rng.choice(names, p=weights))
        damaged = bytearray(whole[name])
        bit = int(rng.integers(0, 8 * len(damaged)))
        damaged[bit // 8] ^= 1 << bit % 8
        path = paths.pack_dir(config) / name
        path.write_bytes(damaged)
        if _noticed(config, expected):
            noticed += 1
            path.write_bytes(whole[name])
        else:
            # ArrayRecord fills up to 128 kB of a file with zeros, which nobody reads;
            # the stage looks at every byte.
            assert whole[name][bit // 8] == 0
            pack.run(config, tmp_path)
            assert path.read_bytes() == whole[name]
    assert noticed > 100


@pytest.mark.parametrize(
    "name", [packed.INDEX, packed.SHARDS, "images-00001.array_record", "manifest.json"]
)
@pytest.mark.parametrize("how", ["missing", "cut", "empty"])
def test_a_file_that_is_missing_or_cut_is_one_clear_error(config, name, how):
    path = paths.pack_dir(config) / name
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(data[: len(data) // 2] if how == "cut" else b"")
    with pytest.raises(UserError, match="stage 'pack'"):
        open_images(config)


def test_damage_stops_training_with_the_stage_to_run(config):
    path = shards_of(config)[1]
    damaged = bytearray(path.read_bytes())
    damaged[10_000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"image [0-9a-f]{16} .*stage 'pack'"):
        train_batches(config, 30)


def test_an_evicted_image_names_the_stage_that_brings_it_back(dataset, tmp_path):
    config = config_for(dataset)
    gone = ids_of(config)[7]
    next(paths.cache_dir(config).rglob(gone)).unlink()
    with pytest.raises(UserError, match=f"{gone}.*stage 'download'"):
        pack.run(config, tmp_path)
    with pytest.raises(UserError, match="stage 'pack' makes it"):
        open_images(config)


def test_a_full_disk_is_one_line_and_the_stage_goes_on_later(dataset):
    config = config_for(dataset)
    directory = paths.pack_dir(config)
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500k", "none", str(directory)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    try:
        done = subprocess.run(
            command(config, "--log_level=error"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("error: [Errno 28] No space left on device")
        kept = {path: path.stat().st_mtime_ns for path in shards_of(config)}
        assert kept
        subprocess.run(["mount", "-o", "remount,size=9m", str(directory)], check=True)
        pack.run(config, dataset.root)
        assert len(read_all(config)) == IMAGES
        assert {path: path.stat().st_mtime_ns for path in kept} == kept
    finally:
        subprocess.run(["umount", str(directory)], check=True)
