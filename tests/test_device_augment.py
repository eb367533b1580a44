import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.train import device_augment
from configs import common

KEY = jax.random.key(3)
COUNT, SIDE = 500, 16
STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


@pytest.fixture
def augment():
    config = common.base("x", "train").augment
    config.update({**STILL, "erasing": 0.0})
    return config


def images(low=0.0, high=1.0):
    shape = (COUNT, SIDE, SIDE, 3)
    return jax.random.uniform(jax.random.key(0), shape, minval=low, maxval=high)


def apply(batch, augment, key=KEY):
    return np.asarray(device_augment.augment(key, batch, augment=augment))


def test_bytes_become_the_unit_interval():
    batch = jnp.array([[[[0, 51, 255]]]], jnp.uint8)
    unit = device_augment.to_unit(batch)
    assert unit.dtype == jnp.float32
    np.testing.assert_allclose(unit, [[[[0, 0.2, 1]]]], rtol=1e-6)


def test_normalisation_by_hand():
    batch = jnp.array([[[[0.485, 0.5, 1.0]]]])
    normal = device_augment.normalise(
        batch, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    expected = [[[[0, 0.044 / 0.224, 0.594 / 0.225]]]]
    np.testing.assert_allclose(normal, expected, rtol=1e-5)


def test_no_strength_is_no_change(augment):
    np.testing.assert_allclose(apply(images(), augment), images(), atol=1e-6)


def test_brightness_scales_each_image_by_its_own_factor(augment):
    augment.brightness = 0.3
    batch = images(low=0.1, high=0.7)  # nothing is clipped
    factor = apply(batch, augment) / batch
    np.testing.assert_allclose(factor.std(axis=(1, 2, 3)), 0, atol=1e-4)
    drawn = factor[:, 0, 0, 0]
    assert drawn.min() == pytest.approx(0.7, abs=0.02)
    assert drawn.max() == pytest.approx(1.3, abs=0.02)
    assert drawn.mean() == pytest.approx(1, abs=0.03)


def test_contrast_keeps_the_mean_luma_and_scales_around_it(augment):
    augment.contrast = 0.3
    batch = images(low=0.4, high=0.6)
    changed = apply(batch, augment)
    luma = np.array([0.299, 0.587, 0.114])
    mean = (np.asarray(batch) @ luma).mean(axis=(1, 2))
    np.testing.assert_allclose((changed @ luma).mean(axis=(1, 2)), mean, atol=1e-5)
    ratio = changed.std(axis=(1, 2, 3)) / batch.std(axis=(1, 2, 3))
    assert ((ratio > 0.69) & (ratio < 1.31)).all()
    assert len(np.unique(ratio.round(4))) > 300


def test_saturation_keeps_every_luma_and_scales_the_chroma(augment):
    augment.saturation = 0.3
    batch = images(low=0.4, high=0.6)
    changed = apply(batch, augment)
    luma = np.array([0.299, 0.587, 0.114])
    before, after = np.asarray(batch) @ luma, changed @ luma
    np.testing.assert_allclose(after, before, atol=1e-5)
    chroma = (changed - after[..., None]) / (np.asarray(batch) - before[..., None])
    factor = np.median(chroma, axis=(1, 2, 3))
    assert ((factor > 0.69) & (factor < 1.31)).all()
    np.testing.assert_allclose(
        changed - after[..., None],
        factor[:, None, None, None] * (np.asarray(batch) - before[..., None]),
        atol=1e-5,
    )


@pytest.mark.parametrize("strength", [0.15, 0.5])
def test_grey_stays_grey_under_saturation_and_hue(augment, strength):
    augment.update({"saturation": 0.9, "hue": strength})
    grey = jnp.broadcast_to(images(high=0.9)[..., :1], (COUNT, SIDE, SIDE, 3))
    np.testing.assert_allclose(apply(grey, augment), grey, atol=1e-5)


def turned(batch, turns):
    """The first image with its hue turned by exactly `turns`, and the direction."""
    drawn = float(jax.random.uniform(KEY, (1,), minval=-1.0, maxval=1.0)[0])
    turn = device_augment._rotate_hue(KEY, batch[:1], turns / abs(drawn))
    return np.asarray(turn[0]), np.sign(drawn)


def test_a_full_turn_of_the_hue_is_the_picture():
    batch = images()[:1]
    image, _ = turned(batch, 1.0)
    np.testing.assert_allclose(image, batch[0], atol=1e-5)
    half, _ = turned(batch, 0.5)
    assert np.abs(half - batch[0]).max() > 0.2


def test_a_third_of_a_turn_exchanges_the_channels():
    batch = images()[:1]
    image, sign = turned(batch, 1 / 3)
    expected = np.roll(batch[0], int(sign), axis=-1)  # red to green, or to blue
    np.testing.assert_allclose(image, expected, atol=1e-5)


@pytest.mark.parametrize("turns", [0.05, 0.15, 0.4])
def test_the_hue_turns_by_what_the_colour_wheel_says(turns):
    # Around the grey axis a hue angle is that of the hexagon up to 1.12 degrees of
    # each: at pure colours the two agree exactly, between them nearly.
    batch = jnp.array([[[[0.7, 0.3, 0.3]]]])
    image, sign = turned(batch, turns)
    before = colorsys.rgb_to_hsv(0.7, 0.3, 0.3)[0]
    after = colorsys.rgb_to_hsv(*image[0, 0].tolist())[0]
    difference = (after - before - sign * turns + 0.5) % 1 - 0.5
    assert abs(difference) < 0.005
    assert image.sum() == pytest.approx(1.3, abs=1e-5)


def test_erasing_replaces_a_box_by_the_mean_colour(augment):
    augment.erasing = 1.0
    batch = images()
    changed = apply(batch, augment)
    erased = (changed != np.asarray(batch)).any(axis=-1)  # [b, h, w]
    mean = np.asarray(batch).mean(axis=(1, 2), keepdims=True)
    expected = np.where(erased[..., None], mean, batch)
    np.testing.assert_allclose(changed, expected, atol=1e-6)
    rows, columns = erased.any(axis=2), erased.any(axis=1)
    np.testing.assert_array_equal(erased, rows[:, :, None] & columns[:, None, :])
    # At most a third of the picture, and a pixel more on each side.
    area = erased.mean(axis=(1, 2))
    assert area.max() <= 0.33 + 4 / SIDE
    assert 0.08 < area.mean() < 0.175  # uniform 2 to 33 %, some beyond the border
    height, width = rows.sum(axis=1), columns.sum(axis=1)
    assert (height > width).any()
    assert (width > height).any()


def test_the_erased_box_has_the_configured_area_and_aspect(augment):
    augment.update({"erasing": 1.0, "erasing_area": (0.25, 0.25)})
    augment.erasing_aspect = 1.0
    batch = images()
    erased = (apply(batch, augment) != np.asarray(batch)).any(axis=-1)
    height, width = erased.any(axis=2).sum(axis=1), erased.any(axis=1).sum(axis=1)
    # A quarter of the picture is a square of half its side, less beyond the border.
    assert height.max() == width.max() == SIDE // 2
    assert (height == SIDE // 2).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("probability", [0.25, 0.75])
def test_erasing_happens_as_often_as_asked(augment, probability):
    augment.erasing = probability
    batch = images()
    changed = (apply(batch, augment) != np.asarray(batch)).any(axis=(1, 2, 3))
    assert changed.mean() == pytest.approx(probability, abs=0.07)


def test_whatever_the_strength_the_result_is_an_image(augment):
    strong = {"brightness": 2.0, "contrast": 2.0, "saturation": 2.0, "hue": 0.5}
    augment.update({**strong, "erasing": 0.5})
    changed = apply(images(), augment)
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert changed.std() > 0.1


def test_the_same_key_changes_the_same_and_another_does_not():
    augment = common.base("x", "train").augment
    one, same = apply(images(), augment), apply(images(), augment)
    other = apply(images(), augment, jax.random.key(4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("size", [1, 7, 40])
def test_an_image_with_its_own_seed_is_the_same_in_any_batch(size):
    augment = common.base("x", "train").augment
    augment.erasing = 0.5
    batch, seeds = images()[:40], jnp.arange(100, 140, dtype=jnp.uint32)
    replay = jax.jit(lambda s, x: device_augment.replay(s, x, augment=augment))
    whole = np.asarray(replay(seeds, batch))
    parts = [
        np.asarray(replay(seeds[at : at + size], batch[at : at + size]))
        for at in range(0, 40, size)
    ]
    # XLA makes another program of a batch of one: there float32 rounds differently.
    np.testing.assert_allclose(
        np.concatenate(parts), whole, atol=0 if size > 1 else 1e-6
    )
    assert (whole != np.asarray(batch)).any(axis=(1, 2, 3)).all()


def test_seeds_draw_as_the_key_of_a_batch_does():
    augment = common.base("x", "train").augment
    augment.update({"erasing": 0.5, "erasing_area": (0.1, 0.1)})
    grey = jnp.full((2000, SIDE, SIDE, 3), 0.5).at[..., 0].set(0.6)
    one = np.asarray(apply(grey, augment))
    other = np.asarray(
        device_augment.replay(jnp.arange(2000, dtype=jnp.uint32), grey, augment=augment)
    )
    # Means and deviations over images agree: 5 standard errors of 2,000 draws.
    for part in (lambda x: x.mean(axis=(1, 2)), lambda x: x.std(axis=(1, 2, 3))):
        ours, theirs = part(one), part(other)
        error = 5 * ours.std(axis=0) * np.sqrt(2 / 2000)
        assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < error).all()
        assert (np.abs(ours.std(axis=0) - theirs.std(axis=0)) < error).all()
