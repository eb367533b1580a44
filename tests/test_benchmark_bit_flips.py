"""R3 in small: what the benchmark flips is noticed, and it would say so if not."""

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


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("benchmark_bit_flips")


@pytest.mark.parametrize("kind", ["soft_labels", "splits"])
def test_flips_in_what_lies_before_training_are_noticed(script, tmp_path, kind):
    target = getattr(script, kind)(tmp_path)
    assert {"manifest.json"} < {path.name for path in target.files}
    assert script.undetected(target, FLIPS, random.Random(0)) == []


def test_flips_in_a_checkpoint_are_noticed(script, trained, tmp_path):
    shutil.copytree(trained.root, tmp_path / "copy")
    config = Dataset(tmp_path / "copy", trained.label_map).teacher()
    target = script.of_run(config)
    assert {"best.json", "manifest.json"} < {path.name for path in target.files}
    assert script.undetected(target, FLIPS, random.Random(0)) == []


def test_what_nobody_checks_is_counted(script, tmp_path):
    checked, not_checked = tmp_path / "checked", tmp_path / "not"
    for path in (checked, not_checked):
        path.write_bytes(b"0123456789")

    def read() -> None:
        if checked.read_bytes() != b"0123456789":
            raise UserError("damaged")

    target = script.Target("files", [checked, not_checked], read)
    missed = script.undetected(target, FLIPS, random.Random(0))
    assert {path for path, _ in missed} == {not_checked}
    assert 10 < len(missed) < FLIPS - 10
    assert checked.read_bytes() == not_checked.read_bytes() == b"0123456789"
