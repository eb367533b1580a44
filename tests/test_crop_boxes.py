"""Kept smart-crop boxes: computed once, completed, and mended."""

import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax import paths
from aplantida_jax.data import crop_boxes, pipeline
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import open_images


@pytest.fixture
def kept(dataset: Dataset):
    config = dataset.teacher()
    cache = open_images(config)
    path = paths.split_file(config, "train")
    ids = pipeline.read_examples(config, path, cache, smart_crop=False).image_id
    return config, cache, ids, crop_boxes.path_of(config)


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


def test_an_image_that_is_not_cached_has_none_and_gets_one_once_it_is(kept):
    config, cache, ids, _ = kept
    stranger = 0xABC
    wanted = np.array([stranger, *ids[:2]], np.uint64)
    before = crop_boxes.kept(config, wanted, cache)
    assert np.isnan(before[0]).all()
    cache.put(f"{stranger:016x}", cache.get(f"{int(ids[1]):016x}"))
    after = crop_boxes.kept(config, wanted, cache)
    np.testing.assert_array_equal(after, [before[2], before[1], before[2]])


def test_the_box_of_the_bytes_is_the_one_that_is_kept(kept):
    config, cache, ids, _ = kept
    expected = crop_boxes.kept(config, ids[:10], cache)
    found = [
        crop_boxes.of_image(cache.get(f"{int(number):016x}"), max_pixels=10**8)
        for number in ids[:10]
    ]
    np.testing.assert_array_equal(np.array(found), expected)
    assert found[0].dtype == expected.dtype == np.float32


def test_of_a_damaged_file_nothing_is_believed(kept, tmp_path):
    """Every bit flipped, every length: no box comes of it, and no error."""
    config, cache, ids, path = kept
    crop_boxes.kept(config, ids[:2], cache)
    whole = path.read_bytes()
    nothing = Cache(tmp_path / "nothing", 1.0)
    damaged = [whole[:length] for length in range(len(whole))]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        assert np.isnan(crop_boxes.kept(config, ids[:2], nothing)).all()
    path.write_bytes(whole)
    assert not np.isnan(crop_boxes.kept(config, ids[:2], nothing)).any()
    nothing.close()


def test_boxes_of_another_version_are_computed_anew(kept, tmp_path, monkeypatch):
    config, cache, ids, path = kept
    expected = crop_boxes.kept(config, ids[:2], cache)
    monkeypatch.setattr(crop_boxes, "_VERSION", 2)
    nothing = Cache(tmp_path / "nothing", 1.0)
    assert np.isnan(crop_boxes.kept(config, ids[:2], nothing)).all()
    nothing.close()
    np.testing.assert_array_equal(crop_boxes.kept(config, ids[:2], cache), expected)
    assert crop_boxes.kept(config, ids[:1], cache).shape == (1, 3)
