"""Recorded views: drawn by their key alone, kept in 16 bytes, replayed at any size."""

import cv2
import numpy as np
import pytest

from aplantida_jax.data import transforms, views
from aplantida_jax.data.smart_crop import CENTRE, Box
from configs import common

SIZE = {"width": 300, "height": 200}


@pytest.fixture
def augment():
    return common.base("x", "train").augment


def draw(augment, box=CENTRE, **changes):
    key = {"seed": 42, "image_id": 7, "view": 0, **SIZE, **changes}
    return views.draw(augment, box, **key)


def test_a_record_has_sixteen_bytes():
    assert views.RECORD.itemsize == 16


def test_a_view_depends_on_its_key_alone(augment):
    keys = [
        {"seed": seed, "image_id": image_id, "view": view}
        for seed in (0, 1, 2**32 - 1)
        for image_id in (0, 1, 2**32, 2**32 + 1, 2**64 - 1)
        for view in (0, 1, 254)
    ]
    forwards = [draw(augment, **key).tobytes() for key in keys]
    backwards = [draw(augment, **key).tobytes() for key in reversed(keys)]
    assert forwards == backwards[::-1]
    # A number that moves from one place of the key to another makes another view.
    without_their_number = {one[1:] for one in forwards}
    assert len(without_their_number) == len(keys)


def test_what_is_rendered_is_what_was_kept(augment):
    augment.blur = 1.0
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    for number in range(20):
        record = draw(augment, Box(0.55, 0.45, 0.8), view=number)
        kept = np.frombuffer(record.tobytes(), views.RECORD)[0]
        one, other = (
            transforms.render(noise, views.to_view(r), image_size=64)
            for r in (record, kept)
        )
        np.testing.assert_array_equal(one, other)


def test_a_view_is_drawn_as_in_training_but_for_the_rounding(augment):
    augment.blur = 0.5
    drawn = [draw(augment, image_id=i) for i in range(2000)]
    found = [views.to_view(record) for record in drawn]
    rng = np.random.default_rng(0)
    expected = [
        transforms.draw_view(rng, CENTRE, augment, width=300, height=200)
        for _ in range(2000)
    ]
    for name in ("x", "y", "side", "angle", "flip_x", "flip_y", "blur"):
        one, other = (
            np.array([getattr(view, name) for view in some], float)
            for some in (found, expected)
        )
        # Of 2,000 draws each: 4 standard errors of a mean or of a standard deviation.
        error = 4 * other.std() * np.sqrt(2 / 2000)
        assert one.mean() == pytest.approx(other.mean(), abs=error)
        assert one.std() == pytest.approx(other.std(), abs=error)
    # float16 has 11 bits: a crop leaves its box by a quarter of a pixel at the most.
    slack = (1 - np.array([view.side for view in found])) / 2 + 1e-3
    assert (np.abs(np.array([view.y for view in found]) - 0.5) <= slack).all()


def test_another_size_has_the_same_geometry_and_scaled_blur(augment):
    augment.update({"blur": 1.0, "blur_sigma": (1.0, 1.2), "scale": (0.9, 1.0)})
    augment.blur_side = 64
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    image = cv2.resize(image, (320, 240), interpolation=cv2.INTER_CUBIC)
    view = views.to_view(draw(augment, image_id=3))
    assert view.blur * 64 == pytest.approx(1.1, abs=0.11)
    coarse, fine = (
        transforms.render(image, view, image_size=size).astype(float)
        for size in (64, 128)
    )
    shrunk = fine.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.sqrt(np.mean((coarse - shrunk) ** 2)) < 3  # grey levels
    aside = np.sqrt(np.mean((coarse[:, 1:] - shrunk[:, :-1]) ** 2))
    assert aside > 9


def header(config, image_size=64, least_side=72):
    return views.header(config, image_size=image_size, least_side=least_side)


def test_equal_headers_are_equal_views_and_other_settings_show():
    config = common.base("x", "train")
    config.predict.views = 3
    before = header(config)
    assert before["count"] == 3
    mixing = {name for name in config.augment if "mix" in name}
    assert set(before["augment"]) == set(config.augment) - mixing
    config.augment.mixup_alpha = 0.1
    config.train.batch_size = 7
    assert header(config) == before
    config.augment.erasing = 0.1
    assert views.differing(before, header(config)) == ["augment"]
    config.predict.views = 4
    assert views.differing(before, header(config)) == ["augment", "count"]


def test_networks_of_other_sizes_look_at_the_same_views():
    """With the default blur; they are kept for the one that asks for most detail."""
    config = common.base("x", "train")
    config.predict.views = 3
    large, small = header(config, 384, 448), header(config, 224, 256)
    assert config.augment.blur > 0
    assert views.differing(large, small) == []
    assert views.shared([small, large]) == views.shared([large, small]) == large
    assert views.shared([None, None]) is None
    for one, size, least in ((large, 384, 448), (small, 224, 256)):
        assert views.least_side(one, image_size=size) == least
    assert views.least_side(large, image_size=224) == 261  # 224 * 448 / 384
