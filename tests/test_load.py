"""Reading one example: at which scale it is decoded, and what becomes of a bad one."""

import cv2
import numpy as np
import pytest

from aplantida_jax.data import crop_boxes, pipeline
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import Stopped, Unavailable
from aplantida_jax.errors import UserError

IMAGE_ID = "00000000000000ab"


def load_of(images, box=(0.5, 0.5, 1.0), skipped=None):
    examples = pipeline.Examples(
        np.array([int(IMAGE_ID, 16)], np.uint64),
        np.array([3], np.int32),
        np.array([box], np.float32),
    )
    skipped = skipped or pipeline.Skipped()
    return pipeline.Load(examples, images, 10**8, 448, skipped)


@pytest.fixture
def cache(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (15, 20, 3)).astype(np.uint8)
    large = cv2.resize(picture, (2000, 1500), interpolation=cv2.INTER_CUBIC)
    cache = Cache(tmp_path / "cache", 1.0)
    cache.put(IMAGE_ID, cv2.imencode(".jpg", large)[1].tobytes())
    return cache


@pytest.mark.parametrize(
    ("side", "shape"),
    [(1.0, (750, 1000)), (0.6, (750, 1000)), (0.59, (1500, 2000))],
)
def test_a_photo_is_decoded_at_the_scale_that_its_box_needs(cache, side, shape):
    element = load_of(cache, (0.5, 0.5, side)).map(0)
    assert element["image"].shape == (*shape, 3)
    assert element["label"] == 3
    assert element["image_id"] == int(IMAGE_ID, 16)


def test_a_box_that_is_not_kept_is_that_of_the_bytes_and_noted(cache):
    load = load_of(cache, (np.nan, np.nan, np.nan))
    expected = crop_boxes.of_image(cache.get(IMAGE_ID), max_pixels=10**8)
    for _ in range(2):
        element = load.map(0)
        np.testing.assert_array_equal(element["box"], expected)
    np.testing.assert_array_equal(load.examples.box, [expected])
    scaled = load_of(cache, tuple(expected)).map(0)["image"]
    np.testing.assert_array_equal(element["image"], scaled)


def test_a_source_that_was_told_to_stop_says_nothing_of_the_image():
    class Leaving(Held):
        def get(self, image_id):
            raise Stopped

    skipped = pipeline.Skipped()
    for _ in range(2000):
        with pytest.raises(Stopped):
            load_of(Leaving(), skipped=skipped).map(0)
    assert skipped.count == skipped.in_a_row == 0


class Held:
    """An image source whose host is in a pause."""

    remedy = "wait"

    def get(self, image_id):
        raise Unavailable("host_paused")


def test_what_cannot_be_had_is_counted_with_its_reason(cache):
    skipped = pipeline.Skipped()
    assert load_of(Held(), skipped=skipped).map(0)["image"] is None
    cache.put(IMAGE_ID, b"<html>")
    assert load_of(cache, skipped=skipped).map(0)["image"] is None
    assert skipped.count == skipped.in_a_row == 2
    assert skipped.reasons == {"host_paused": 1, "html": 1}


def test_a_thousand_in_a_row_end_the_run_with_the_last_reason():
    load = load_of(Held())
    for _ in range(999):
        load.map(0)
    with pytest.raises(UserError, match="1000 images in a row.*host_paused; wait"):
        load.map(0)
