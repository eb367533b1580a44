from pathlib import Path

import pytest

from aplantida_jax import paths
from configs import common


@pytest.fixture
def config():
    return common.base("teacher_x", "train", "demo")


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (paths.photos, (), "data/demo/export/photos.jsonl"),
        (paths.classes, (), "data/demo/export/classes.json"),
        (paths.audit_dir, (), "data/demo/audit"),
        (paths.download_index, (), "data/demo/download/index.jsonl"),
        (paths.cache_dir, (), "data/demo/cache"),
        (paths.splits_dir, (), "data/demo/splits/all"),
        (paths.splits_dir, (" ",), "data/demo/splits/all"),
        (paths.split_file, ("val",), "data/demo/splits/all/dataset_val.jsonl"),
        (
            paths.split_file,
            ("train", "EU_SW"),
            "data/demo/splits/eu_sw/dataset_eu_sw_train.jsonl",
        ),
        (paths.split_stats, (), "data/demo/splits/all/dataset_stats.json"),
        (
            paths.split_stats,
            ("EU_NORTH,EU_EAST",),
            "data/demo/splits/eu_east_eu_north/dataset_eu_east_eu_north_stats.json",
        ),
        (paths.run_dir, ("baseline",), "workdirs/demo/baseline"),
        (paths.soft_labels, ("t", "train"), "data/demo/soft_labels/t/train"),
        (paths.saved_model_dir, (), "dist/demo/saved_model/student/1.0"),
        (paths.bundle_dir, (), "dist/demo/models/student/1.0"),
        (paths.validation_dir, (), "dist/demo/validation/student/1.0"),
        (paths.pwa_dir, (), "dist/demo/pwa"),
        (paths.report_dir, (), "workdirs/demo/report"),
    ],
)
def test_everything_has_its_place(config, function, arguments, expected):
    assert function(config, *arguments) == Path(expected)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (paths.best, (), "w/best.json"),
        (paths.calibration, (), "w/calibrate/calibration.json"),
        (paths.evaluation_dir, ("test",), "w/evaluate/test"),
        (paths.evaluation_dir, ("val", "EU_SW"), "w/evaluate/eu_sw_val"),
    ],
)
def test_a_run_keeps_its_results_together(function, arguments, expected):
    assert function(Path("w"), *arguments) == Path(expected)


def test_the_order_of_regions_makes_no_other_split(config):
    one = paths.split_file(config, "train", "EU_NORTH,EU_EAST")
    assert paths.split_file(config, "train", " EU_EAST , EU_NORTH,") == one


def test_the_cache_can_lie_elsewhere(config):
    config.download.cache_dir = "/mnt/big/cache"
    assert paths.cache_dir(config) == Path("/mnt/big/cache")
