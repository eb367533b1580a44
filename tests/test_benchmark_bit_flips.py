"""R3 in small: what the benchmark flips is noticed, and it would say so if not."""

import dataclasses
import importlib
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Dataset

from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
FLIPS = 60
RESTORES = 6  # each takes a second


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("benchmark_bit_flips")


@pytest.fixture
def bit_flips(script: Any) -> Any:
    return importlib.import_module("bit_flips")


def trained_in(root, label_map):
    """The configuration of `trained`, of a copy."""
    config = Dataset(root, label_map).teacher()
    config.train.update({"epochs": 12, "learning_rate": 3e-3, "patience": 99})
    return config


@pytest.mark.parametrize("kind", ["soft_labels", "splits"])
def test_flips_in_what_lies_before_training_are_noticed(script, tmp_path, kind):
    target = getattr(script, kind)(tmp_path)
    assert {"manifest.json"} < {path.name for path in target.files}
    assert script.undetected(target, FLIPS, random.Random(0)) == ([], 0)


def test_a_damaged_npz_that_is_certified_would_be_counted(
    script, tmp_path, monkeypatch
):
    target = script.soft_labels(tmp_path)
    npz = [path for path in target.files if path.name == "dense.npz"]
    target = dataclasses.replace(target, files=npz)
    assert script.undetected(target, 3, random.Random(0)) == ([], 0)
    monkeypatch.setattr(script.dense.DenseWriter, "_is_made", lambda *_: True)
    missed, _ = script.undetected(target, 3, random.Random(0))
    assert len(missed) == 3


def test_flips_in_what_a_restore_reads_are_noticed(script, trained, tmp_path):
    shutil.copytree(trained.root, tmp_path / "copy")
    config = trained_in(tmp_path / "copy", trained.label_map)
    target = script.of_run(config)
    names = {path.name for path in target.files}
    assert {"best.json", "manifest.json", "checkpoint_hashes.json"} < names
    assert {"history.jsonl", "run_key.txt", "_METADATA"} < names
    assert not any("tensorboard" in path.parts for path in target.files)
    missed, _ = script.undetected(target, RESTORES, random.Random(0))
    assert missed == []


def test_a_restore_that_trusts_all_bytes_would_be_counted(
    script, bit_flips, trained, tmp_path, monkeypatch
):
    """orbax alone takes what parses for what was saved."""
    shutil.copytree(trained.root, tmp_path / "copy")
    config = trained_in(tmp_path / "copy", trained.label_map)
    target = script.of_run(config)
    restore = target.readers[-1]
    checkpoints = target.directory / "checkpoints"
    newest = max(int(path.name) for path in checkpoints.glob("[0-9]*"))
    metadata = checkpoints / str(newest) / "progress" / "metadata"
    digit = metadata.read_bytes().index(b'"epoch": ') + len('"epoch": ')
    assert bit_flips.after_flip(target, restore, metadata, 8 * digit) is None
    hashes = script.checkpoint.CheckpointHashes
    monkeypatch.setattr(hashes, "is_whole", lambda *_: True)
    assert bit_flips.after_flip(target, restore, metadata, 8 * digit) is not None


def test_what_nobody_checks_is_counted(script, tmp_path):
    directory = tmp_path / "files"
    directory.mkdir()
    for name in ("checked", "not", "unused"):
        (directory / name).write_bytes(b"0123456789")

    def read(copy: Path) -> str:
        if (copy / "checked").read_bytes() != b"0123456789":
            raise UserError("damaged")
        return (copy / "not").read_text(encoding="latin-1")

    target = script.Target("files", directory, script.there(directory), [read])
    missed, harmless = script.undetected(target, FLIPS, random.Random(0))
    assert {path.name for path, _ in missed} == {"not"}
    assert 10 < len(missed) < FLIPS / 2
    assert 10 < harmless < FLIPS / 2
    assert {p.read_bytes() for p in directory.iterdir()} == {b"0123456789"}
