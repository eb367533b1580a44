"""Kept smart-crop boxes: computed once, completed, and mended."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax import paths
from aplantida_jax.data import crop_boxes, pipeline
from aplantida_jax.data.image_source import open_images


@pytest.fixture
def kept(dataset: Dataset):
    config = dataset.teacher()
    cache = open_images(config)
    path = paths.split_file(config, "train")
    ids = pipeline.read_examples(config, path, cache, smart_crop=False).image_id
    return config, cache, ids, Path(config.data_dir) / "smart_crop" / "boxes.npz"


def test_boxes_are_kept_and_a_second_look_reads_them(kept):
    config, cache, ids, path = kept
    first = crop_boxes.kept(config, ids[:10], cache)
    written = path.read_bytes()
    np.testing.assert_array_equal(crop_boxes.kept(config, ids[:10], cache), first)
    assert path.read_bytes() == written


def test_new_images_join_and_the_order_asked_for_is_kept(kept):
    config, cache, ids, _ = kept
    first = crop_boxes.kept(config, ids[:10], cache)
    everything = crop_boxes.kept(config, ids[::-1], cache)
    np.testing.assert_array_equal(everything[::-1][:10], first)


def test_boxes_lie_inside_the_image(kept):
    config, cache, ids, _ = kept
    x, y, side = crop_boxes.kept(config, ids, cache).T
    half_x, half_y = side * 96 / 120 / 2, side / 2
    assert (x - half_x >= -1e-6).all()
    assert (x + half_x <= 1 + 1e-6).all()
    assert (y - half_y >= -1e-6).all()
    assert (y + half_y <= 1 + 1e-6).all()


def test_an_image_that_is_not_cached_gets_the_centre_and_is_not_kept(kept):
    config, cache, ids, path = kept
    stranger = np.array([12345], np.uint64)
    box = crop_boxes.kept(config, np.concatenate([ids[:2], stranger]), cache)[2]
    np.testing.assert_array_equal(box, [0.5, 0.5, 1.0])
    with np.load(path) as stored:
        assert 12345 not in stored["image_id"]


def test_a_damaged_file_is_computed_anew(kept):
    config, cache, ids, path = kept
    expected = crop_boxes.kept(config, ids[:5], cache)
    path.write_bytes(path.read_bytes()[:40])
    np.testing.assert_array_equal(crop_boxes.kept(config, ids[:5], cache), expected)
