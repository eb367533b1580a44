"""Stage predict: the store holds what the teacher says, interrupted or not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from conftest import CLASSES, PER_CLASS, Dataset

from aplantida_jax import files, paths
from aplantida_jax.data import records, views
from aplantida_jax.data.image_source import open_images
from aplantida_jax.distill import labelling, predict, store
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import inference
from aplantida_jax.train import checkpoint

IMAGES = CLASSES * PER_CLASS["train"]


@pytest.fixture
def teacher(trained: Dataset, tmp_path: Path):
    shutil.copytree(trained.root, tmp_path / "copy")
    config = Dataset(tmp_path / "copy", trained.label_map).teacher()
    return config, paths.run_dir(config, config.name), trained.label_map


def store_of(config):
    return paths.soft_labels(config, config.name, "train")


def shards(config):
    return {p.name: p.read_bytes() for p in store_of(config).glob("shard-*")}


def probabilities(found):
    """Dense [n, CLASSES] of unpacked rows that keep every class."""
    dense = np.zeros((len(found["teacher_class"]), CLASSES))
    row, slot = np.nonzero(found["teacher_class"] >= 0)
    column = found["teacher_class"][row, slot]
    dense[row, column] = np.exp(found["teacher_logprob"][row, slot])
    return dense


def test_rows_are_the_teachers_probabilities(teacher):
    config, workdir, label_map = teacher
    predict.run(config, workdir)
    soft = SoftLabels(store_of(config), label_map=label_map, made_by="predict")
    assert len(soft) == IMAGES
    best = checkpoint.load_best(workdir, label_map)
    split = paths.split_file(config, "train")
    said = inference.run(config, best, split, label_map)
    expected = scipy.special.softmax(said.logits, axis=1)
    found = probabilities(soft.look_up(said.image_id))
    # Half a step of the grid is 16 / 255 / 2 nats; that the sum is 1 costs it again.
    np.testing.assert_allclose(found, expected, rtol=0.065, atol=1e-6)


def test_the_manifest_says_size_and_divergence(teacher):
    config, workdir, label_map = teacher
    config.predict.top_k = 3
    predict.run(config, workdir)
    manifest = files.read_json(store_of(config) / "manifest.json", made_by="predict")
    metrics = manifest["metrics"]
    assert metrics["rows"] == metrics["kl_rows"] == IMAGES
    best = checkpoint.load_best(workdir, label_map)
    split = paths.split_file(config, "train")
    said = inference.run(config, best, split, label_map)
    dense = scipy.special.softmax(said.logits.astype(np.float64), axis=1)
    soft = SoftLabels(store_of(config), label_map=label_map, made_by="predict")
    found = soft.look_up(said.image_id)
    packed = probabilities(found)
    missing = packed == 0  # what is left is spread evenly over these
    packed += missing * (found["teacher_tail"] / missing.sum(axis=1, keepdims=True))
    divergence = (dense * np.log(dense / packed)).sum(axis=1)
    assert metrics["kl_mean"] == pytest.approx(divergence.mean(), rel=0.01, abs=1e-6)
    assert 0 < metrics["sum_error"] < 1e-6  # float32's
    assert soft.sum_error() == metrics["sum_error"]
    softened = [
        p ** (1 / 3) / (p ** (1 / 3)).sum(1, keepdims=True) for p in (dense, packed)
    ]
    at_three = 9 * scipy.special.rel_entr(*softened).sum(axis=1).mean()
    assert metrics["kl_temperature"] == config.distill.temperature == 3
    assert metrics["kl_mean_at_temperature"] == pytest.approx(at_three, rel=0.01)
    high = np.percentile(divergence, 99)
    assert metrics["kl_99th_percentile"] == pytest.approx(high, rel=0.01, abs=1e-6)


@pytest.mark.parametrize(("count", "left"), [(0, -1), (3, 1)])
def test_an_interrupted_store_ends_as_an_undisturbed_one(
    teacher, monkeypatch, count, left
):
    config, workdir, _ = teacher
    config.predict.views = count
    monkeypatch.setattr(labelling, "_BLOCK_ROWS", 32 * max(1, count) + 2)
    monkeypatch.setattr(store, "_SHARD_ROWS", 32 * max(1, count) + 2)
    monkeypatch.setattr(labelling, "_SAMPLE", 48 * max(1, count))
    predict.run(config, workdir)
    whole, out = shards(config), store_of(config)
    metrics = files.read_json(out / "manifest.json", made_by="predict")["metrics"]
    assert len(whole) == 3
    assert 0.3 * metrics["rows"] < metrics["kl_rows"] < 0.7 * metrics["rows"]

    # As a kill leaves it, after the first block or just before the manifest. And
    # whatever the batches are then.
    (out / "manifest.json").unlink()
    if left >= 0:
        (out / "shard-00002.rows").unlink()
        shard = out / "shard-00001.rows"
        shard.write_bytes(shard.read_bytes()[: 77 * left])
    config.eval.batch_size = 10
    predict.run(config, workdir)
    assert shards(config) == whole
    again = files.read_json(out / "manifest.json", made_by="predict")["metrics"]
    assert again == pytest.approx(metrics, rel=1e-3, abs=1e-6)


class Stopping:
    """The images of a cache; the process is told to stop when one is asked for."""

    def __init__(self, config, image_id):
        self._cache, self._last = open_images(config), image_id
        self.remedy = self._cache.remedy

    def get(self, image_id):
        if image_id == self._last:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._cache.get(image_id)


def test_sigterm_keeps_whole_shards_and_says_how_far_it_came(teacher, monkeypatch):
    config, workdir, label_map = teacher
    monkeypatch.setattr(labelling, "_BLOCK_ROWS", 32)
    monkeypatch.setattr(store, "_SHARD_ROWS", 32)
    # Little ahead: when the 80th of 96 images is read, one shard or two are written.
    config.input.update({"threads": 1, "prefetch": 1})
    photos = list(
        records.read_photos(paths.split_file(config, "train"), made_by="split")
    )
    stopping = Stopping(config, photos[80].image_id)
    with monkeypatch.context() as patch:
        patch.setattr(predict, "open_images", lambda _: stopping)
        with pytest.raises(UserError, match=r"SIGTERM: (32|64) of 96 images") as stop:
            predict.run(config, workdir)
    assert stop.value.exit_code == 128 + signal.SIGTERM
    kept = shards(config)
    assert len(kept) in (1, 2)
    predict.run(config, workdir)
    assert len(shards(config)) == 3
    assert kept.items() <= shards(config).items()


def test_views_are_recorded_and_each_has_its_own_row(teacher):
    config, workdir, label_map = teacher
    config.predict.views = 4
    predict.run(config, workdir)
    soft = SoftLabels(store_of(config), label_map=label_map, made_by="predict")
    assert len(soft) == 4 * IMAGES
    resize = config.input.resize
    assert soft.views == views.header(config, image_size=32, least_side=resize)
    ids = np.repeat(soft.image_id[:20], 4)
    number = np.tile(np.arange(4, dtype=np.uint8), 20)
    drawn = soft.view_records(ids, number)
    np.testing.assert_array_equal(drawn["view"], number)
    assert len(np.unique(drawn["seed"])) == len(drawn)
    found = probabilities(soft.look_up(ids, number)).reshape(20, 4, CLASSES)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)
    assert (found.std(axis=1).max(axis=1) > 1e-4).all()


def test_several_devices_share_the_batches(teacher):
    config, workdir, label_map = teacher
    config.predict.views = 3
    predict.run(config, workdir)
    alone = SoftLabels(store_of(config), label_map=label_map, made_by="predict")
    ids = np.repeat(alone.image_id, 3)
    number = np.tile(np.arange(3, dtype=np.uint8), IMAGES)
    drawn, expected = alone.view_records(ids, number), alone.look_up(ids, number)
    shutil.rmtree(store_of(config))
    flags = "--xla_force_host_platform_device_count=3"
    child = Path(__file__).with_name("predict_on_devices.py")
    done = subprocess.run(
        [sys.executable, child, Path(config.data_dir).parent, "3"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"devices": 3, "batch": 18}
    soft = SoftLabels(store_of(config), label_map=label_map, made_by="predict")
    np.testing.assert_array_equal(soft.view_records(ids, number), drawn)
    found = soft.look_up(ids, number)
    # Another grid point where a float32 was rounded the other way.
    np.testing.assert_allclose(
        probabilities(found), probabilities(expected), rtol=0.07, atol=1e-6
    )


def test_a_second_run_has_nothing_to_do(teacher):
    config, workdir, _ = teacher
    predict.run(config, workdir)
    manifest = store_of(config) / "manifest.json"
    before = manifest.read_bytes()
    predict.run(config, workdir)
    assert manifest.read_bytes() == before
    # Augmentation counts for views alone.
    config.augment.rotation = 1.0
    predict.run(config, workdir)
    assert manifest.read_bytes() == before


def test_dry_run_says_rows_and_bytes_and_writes_nothing(teacher, caplog):
    config, workdir, _ = teacher
    config.dry_run = True
    config.predict.views = 2
    with caplog.at_level("INFO", logger="absl"):
        predict.run(config, workdir)
    assert f"would predict {IMAGES} images" in caplog.text
    assert f"{2 * IMAGES} rows of" in caplog.text
    assert not store_of(config).exists()
