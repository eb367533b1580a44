"""Splits that are killed, that would leak, or whose inputs are not in order."""

import dataclasses
import functools
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from split_collection import prepared, read, written

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import duplicates, records, regions, split
from aplantida_jax.data.assignment import SPLITS
from aplantida_jax.data.leakage import Written
from aplantida_jax.data.phash import MIRROR
from aplantida_jax.data.records import Photo
from aplantida_jax.errors import UserError
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]
STATS = "dataset_stats.json"


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


def test_an_index_with_other_fields_is_refused(config, tmp_path):
    rows = list(files.read_jsonl(paths.download_index(config), made_by="download"))
    del rows[5]["sha256"]
    files.write_jsonl(paths.download_index(config), rows)
    (paths.download_dir(config) / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"damaged \(no 'sha256'\): run stage 'down"):
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
    assert not hidden(config)


def hidden(config: Any) -> list[Path]:
    """What a split at work, or killed at it, has in the data directory."""
    return list(Path(config.data_dir).glob(".splits*"))


def lines(directory: Path) -> dict[str, Path]:
    return {name: directory / f"dataset_{name}.jsonl" for name in SPLITS}


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        ("images", ("image_id",)),
        ("groups", ("group_id",)),
        ("sha256", ("sha256",)),
        ("observations", ("observation",)),
        ("near_duplicates", ("phash",)),
    ],
)
def test_whole_files_that_leak_are_refused(config, tmp_path, kind, shared):
    """A photo of val is given what one of train has, one kind of key at a time."""
    config.split.regions = ()
    split.run(config, tmp_path)
    found = read(config)
    named = next(photo for photo in found["train"] if photo.observation)
    own = {name: getattr(named, name) for name in shared}
    found["val"][0] = dataclasses.replace(found["val"][0], **own)
    for name, path in lines(paths.splits_dir(config)).items():
        records.write_photos(path, found[name])
    found_again = Written(lines(paths.splits_dir(config)))
    stats = {**found_again.summary(), "leakage": found_again.leakage(6)}
    assert {name for name, count in stats["leakage"].items() if count} == {kind}
    with pytest.raises(UserError, match=f"the split of all plants leaks .*{kind}"):
        split._refuse_leaks("", stats)


def test_a_mirrored_copy_in_another_split_is_a_leak(config, tmp_path):
    split.run(config, tmp_path)
    found = read(config)
    turned = int(found["train"][0].phash, 16) ^ MIRROR ^ 0b11
    found["val"][0] = dataclasses.replace(found["val"][0], phash=f"{turned:016x}")
    for name, path in lines(paths.splits_dir(config)).items():
        records.write_photos(path, found[name])
    leakage = Written(lines(paths.splits_dir(config))).leakage(6)
    assert leakage["near_duplicates"] == 1


def test_flipped_bits_are_noticed_before_a_split_is_read(config, tmp_path):
    """300 random bits of the three sets and their statistics, one at a time."""
    split.run(config, tmp_path)
    own = paths.splits_dir(config)
    sets = list(lines(own).values())
    inputs = [manifest.Input(path, "split") for path in (*sets, own / STATS)]
    reader = functools.partial(
        manifest.begin,
        config,
        stage="train",
        out_dir=tmp_path / "run",
        inputs=inputs,
        depends_on=("train",),
    )
    assert reader() is not None
    rng = np.random.default_rng(0)
    for _ in range(300):
        path = (*sets, own / STATS)[rng.integers(4)]
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=f"{path.name} is not what stage 'split'"):
            reader()
        if path in sets:
            with pytest.raises(UserError, match=f"{path.name} is damaged"):
                list(records.read_photos(path, made_by="split"))
        path.write_bytes(whole)
    assert reader() is not None


def test_killed_it_leaves_the_split_before_or_the_one_after(tmp_path):
    """Killed at 12 moments of its work; all regions are always of one split."""
    config = dataset.get_config()
    config.data_dir = str(tmp_path / "data")
    written(config, *many_photos(6000))
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *("--config.stage=split", f"--config.data_dir={config.data_dir}"),
    ]
    split.run(config, tmp_path)
    whole = [contents(config)]
    config.seed = 43
    subprocess.run([*command, "--config.seed=43"], cwd=ROOT, check=True)
    whole.append(contents(config))
    inside = 0
    delays = np.random.default_rng(0).uniform(0.0, 0.3, 12)
    for turn, delay in enumerate(delays.tolist()):
        child = subprocess.Popen(
            [*command, f"--config.seed={(42, 43)[turn % 2]}"],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        while child.poll() is None and not hidden(config):
            time.sleep(0.002)
        time.sleep(delay)
        child.kill()
        child.wait()
        inside += bool(hidden(config))
        assert contents(config) in ({}, *whole)
    assert inside >= 3  # or the moments were none of its work
    for seed, expected in ((42, whole[0]), (43, whole[1])):
        subprocess.run([*command, f"--config.seed={seed}"], cwd=ROOT, check=True)
        assert contents(config) == expected
    assert not list(Path(config.data_dir).glob(".*"))


def contents(config: Any) -> dict[str, bytes]:
    """Every file of the split but the manifests, which hold the time."""
    directory = paths.splits_dir(config).parent
    return {path.name: path.read_bytes() for path in directory.rglob("dataset_*")}


def many_photos(count: int) -> tuple[list[Photo], list[int]]:
    """Photos of 50 classes of the three regions, and hashes."""
    rng = np.random.default_rng(1)
    photos = [
        Photo(
            image_id=f"{number:016x}",
            plant_id="p",
            latin_name=f"Rosa {number % 50}",
            class_id=number % 50,
            url=f"{number}.jpg",
            source="s",
            licence="CC0-1.0",
            licence_raw="cc0",
            attribution="",
            countries=(),
            regions=(regions.REGIONS[number % 3],),
        )
        for number in range(count)
    ]
    return photos, rng.integers(0, 1 << 64, count, np.uint64).tolist()
