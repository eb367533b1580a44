import base64

import numpy as np
import pytest

from aplantida_jax.data import decode
from aplantida_jax.data.cache import Cache
from aplantida_jax.reporting import thumbnails
from configs import report


@pytest.fixture
def config(tmp_path):
    config = report.get_config("demo")
    config.data_dir = str(tmp_path)
    return config


def _fill(config, tmp_path):
    cache = Cache(tmp_path / "cache", 1.0)
    left = np.zeros((300, 600, 3), np.uint8)
    left[:, 150:450, 1] = 200  # the central square is green
    cache.put("00000000000000aa", decode.encode_jpeg(left, 95))
    cache.put("00000000000000bb", b"not an image")
    cache.close()


def test_the_central_square_as_a_small_jpeg(config, tmp_path):
    _fill(config, tmp_path)
    shown = thumbnails.Thumbnails(config)
    uri = shown.uri("00000000000000aa")
    head, data = uri.split(",")
    assert head == "data:image/jpeg;base64"
    image = decode.decode(base64.b64decode(data), max_pixels=10**6)
    assert image.shape == (168, 168, 3)
    assert image[..., 1].min() > 150
    assert shown.uri("00000000000000bb") is None
    assert shown.uri("00000000000000cc") is None
    shown.close()


def test_no_cache_is_no_thumbnail_and_makes_none(config, tmp_path):
    shown = thumbnails.Thumbnails(config)
    assert shown.uri("00000000000000aa") is None
    shown.close()
    assert not (tmp_path / "cache").exists()


def test_typical_photos_are_right_and_the_most_confident(tmp_path):
    np.savez(
        tmp_path / "predictions.npz",
        image_id=np.array([1, 2, 3, 4, 5], np.uint64),
        label=np.array([0, 0, 0, 1, 0]),
        top_class=np.array([[0, 1], [0, 1], [1, 0], [1, 0], [0, 1]]),
        top_probability=np.array(
            [[0.6, 0.4], [0.9, 0.1], [0.99, 0.0], [0.8, 0.2], [0.7, 0.3]]
        ),
        group=np.array([8, 9, 9, 4, 9], np.uint64),
    )
    found = thumbnails.typical(tmp_path, 0, limit=3)
    assert found == [f"{2:016x}", f"{1:016x}"]
    assert thumbnails.typical(tmp_path, 0, limit=1) == [f"{2:016x}"]
    # Photo 3 is of the group of 2 and 5, under another name.
    beside = thumbnails.typical(tmp_path, 0, limit=3, beside=[f"{3:016x}"])
    assert beside == [f"{1:016x}"]
    assert thumbnails.typical(tmp_path / "nowhere", 0, limit=3) == []
