"""Stage predict: the store holds what the teacher says, interrupted or not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from conftest import CLASSES, PER_CLASS, Dataset

from aplantida_jax import files, paths
from aplantida_jax.distill import predict
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.evaluate import inference
from aplantida_jax.train import checkpoint


@pytest.fixture
def teacher(trained: Dataset, tmp_path: Path):
    shutil.copytree(trained.root, tmp_path / "copy")
    config = Dataset(tmp_path / "copy", trained.label_map).teacher()
    return config, paths.run_dir(config, config.name), trained.label_map


def test_rows_are_the_teachers_probabilities(teacher):
    config, workdir, label_map = teacher
    predict.run(config, workdir)
    store = paths.soft_labels(config, config.name, "train")
    soft = SoftLabels(store, label_map=label_map, made_by="predict")
    assert len(soft) == CLASSES * PER_CLASS["train"]
    best = checkpoint.load_best(workdir, label_map)
    split = paths.split_file(config, "train")
    said = inference.run(config, best, split, label_map)
    expected = scipy.special.softmax(said.logits, axis=1)
    found = soft.probabilities(said.image_id, CLASSES)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # float16 log-probabilities


def test_an_interrupted_store_ends_with_the_same_bytes(teacher, monkeypatch):
    config, workdir, _ = teacher
    monkeypatch.setattr(predict, "_SHARD_ROWS", 32)
    predict.run(config, workdir)
    out = paths.soft_labels(config, config.name, "train")
    whole = {path.name: path.read_bytes() for path in out.glob("shard-*")}
    assert len(whole) == 3

    # As a kill after the first shard leaves it: no manifest, the others unnamed.
    (out / "manifest.json").unlink()
    described = files.read_json(out / "store.json", made_by="predict")
    files.write_json(
        out / "store.json", {**described, "shards": described["shards"][:1]}
    )
    (out / "shard-00002.npy").unlink()
    predict.run(config, workdir)
    again = {path.name: path.read_bytes() for path in out.glob("shard-*")}
    assert again == whole


def test_a_second_run_has_nothing_to_do(teacher):
    config, workdir, _ = teacher
    predict.run(config, workdir)
    manifest = paths.soft_labels(config, config.name, "train") / "manifest.json"
    before = manifest.read_bytes()
    predict.run(config, workdir)
    assert manifest.read_bytes() == before


def test_dry_run_writes_nothing(teacher):
    config, workdir, _ = teacher
    config.dry_run = True
    predict.run(config, workdir)
    assert not paths.soft_labels(config, config.name, "train").exists()
