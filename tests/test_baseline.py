"""Stage `baseline`: the nearest class mean of frozen features."""

import json

import numpy as np
import pytest
from conftest import CLASSES, PER_CLASS, Dataset, small

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import baseline, linear_probe
from aplantida_jax.evaluate.baseline import NearestMean
from configs import baseline as baseline_config


@pytest.fixture
def config(dataset: Dataset):
    config = small(baseline_config.get_config("demo"), dataset.root)
    config.eval.bootstrap = 50
    config.model.name = "vit_mini_patch8_64"  # quickest to compile
    config.model.image_size = 32
    return config


def test_hand_computed_nearest_mean():
    # Centre (1, 1): class 0 points to (-1, 0), class 1 to (1, 0).
    features = np.array([[0.0, 1.0], [2.0, 1.0]], np.float32)
    found = NearestMean.fit(features, np.array([0, 1]), classes=3)
    np.testing.assert_allclose(found.centre, [1, 1])
    cosine = found.cosine(np.array([[3.0, 1.0], [1.0, 2.0]], np.float32))
    np.testing.assert_allclose(cosine, [[-1, 1, -1], [0, 0, -1]], atol=1e-6)


def test_separated_classes_are_told_apart():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 16)) * 5
    label = np.repeat(np.arange(5), 20)
    features = (centres[label] + rng.normal(size=(100, 16)) * 0.3).astype(np.float32)
    found = NearestMean.fit(features, label, classes=5)
    assert (found.cosine(features).argmax(axis=1) == label).all()


def test_a_feature_at_the_centre_is_no_crash():
    features = np.array([[0.0, 0.0], [2.0, 2.0]], np.float32)
    found = NearestMean.fit(features, np.array([0, 1]), classes=2)
    np.testing.assert_array_equal(found.cosine(np.ones((1, 2), np.float32)), [[0, 0]])


def test_the_stage_looks_like_an_evaluation(config):
    workdir = paths.run_dir(config, config.name)
    baseline.run(config, workdir)
    path = workdir / "evaluate" / "test" / "metrics.json"
    found = json.loads(path.read_text())
    assert found["run"] == "baseline"
    assert found["weights"] == "random"
    assert found["images"] == CLASSES * PER_CLASS["test"]
    assert found["top1_accuracy"] > found["chance_top1_accuracy"]
    assert found["loss"] < np.log(CLASSES)
    before = path.stat().st_mtime_ns
    baseline.run(config, workdir)
    assert path.stat().st_mtime_ns == before


def test_a_linear_probe_of_a_runs_own_features(config, trained: Dataset):
    """The run has seen these plants: a probe of its features knows them too."""
    run = paths.run_dir(trained.teacher(), "teacher_global")
    config.baseline.classifier = "linear"
    config.model.pretrained = str(run)
    workdir = paths.run_dir(config, config.name)
    baseline.run(config, workdir)
    found = json.loads((workdir / "evaluate" / "test" / "metrics.json").read_text())
    assert found["weights"] == "teacher_global"
    assert found["model"]["classifier"] == "linear"
    assert found["model"]["l2"] in linear_probe.PENALTIES
    assert found["model"]["converged"]
    assert 0 < found["model"]["gradient_norm"] < 0.01
    assert found["top1_accuracy"] > 0.4  # of six classes
    assert [a["name"] for a in found["provenance"]] == [
        "teacher_global",
        "dataset_train.jsonl",
    ]


def test_features_are_computed_once_and_never_trusted_when_rotten(config):
    """Another classifier, or a start after a stop, reads what lies there."""
    workdir = paths.run_dir(config, config.name)

    def written() -> dict[str, int]:
        baseline.run(config, workdir)
        found = workdir.glob("features/*/features.npz")
        return {path.parent.name: path.stat().st_mtime_ns for path in found}

    first = written()
    assert len(first) == 3  # train, val, test
    metrics = workdir / "evaluate" / "test" / "metrics.json"
    before = json.loads(metrics.read_text())
    (workdir / "evaluate" / "test" / "manifest.json").unlink()
    (rotten,) = (name for name in first if name.endswith("_val"))
    path = workdir / "features" / rotten / "features.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    second = written()
    assert second.pop(rotten) > first.pop(rotten)
    assert second == first
    assert json.loads(metrics.read_text()) == before
    config.baseline.classifier = "linear"
    after = written()
    assert after.pop(rotten) > 0
    assert after == first
    config.seed += 1  # another random network
    assert all(time > first[name] for name, time in written().items() if name in first)


def test_the_feature_function_is_compiled_once(config, tmp_path):
    label_map = labels.read(paths.classes(config))
    frozen = baseline._Frozen(config, None, label_map)
    for split in ("train", "val", "test"):
        source = manifest.Input(paths.split_file(config, split), "split")
        frozen.features(tmp_path, source, [])
    assert frozen._pooled._cache_size() == 1


def test_dry_run_writes_nothing(config):
    config.dry_run = True
    workdir = paths.run_dir(config, config.name)
    baseline.run(config, workdir)
    assert not workdir.exists()


def test_missing_weights_are_named(config):
    config.model.pretrained = "nowhere.safetensors"
    with pytest.raises(UserError, match="nowhere.safetensors is missing"):
        baseline.run(config, paths.run_dir(config, config.name))
