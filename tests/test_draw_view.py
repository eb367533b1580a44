"""What a training view is drawn to be: inside its box, at the stated rates."""

import math

import cv2
import numpy as np
import pytest

from aplantida_jax.data import transforms
from aplantida_jax.data.smart_crop import CENTRE, Box, saliency_box
from aplantida_jax.data.transforms import View
from configs import common


@pytest.fixture
def augment():
    return common.base("x", "train").augment


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (64, 64)])
@pytest.mark.parametrize("box", [CENTRE, Box(0.6, 0.55, 0.6)])
def test_a_drawn_crop_lies_in_the_box(augment, box, width, height):
    rng = np.random.default_rng(0)
    short = min(width, height)
    for _ in range(300):
        drawn = transforms.draw_view(rng, box, augment, width=width, height=height)
        slack = (box.side - drawn.side) * short / 2 + 1e-9
        assert 0.6 * box.side <= drawn.side <= box.side
        assert abs(drawn.x - box.x) * width <= slack
        assert abs(drawn.y - box.y) * height <= slack


def test_the_draws_have_the_stated_rates(augment):
    rng = np.random.default_rng(1)
    count = 5000
    drawn = [
        transforms.draw_view(rng, CENTRE, augment, width=10, height=10)
        for _ in range(count)
    ]

    def share(condition):
        return sum(map(condition, drawn)) / count

    four_sigma = 4 * 0.5 / math.sqrt(count)
    assert share(lambda v: v.flip_x) == pytest.approx(0.5, abs=four_sigma)
    assert share(lambda v: v.flip_y) == pytest.approx(0.2, abs=four_sigma)
    assert share(lambda v: v.blur > 0) == pytest.approx(0.1, abs=four_sigma)
    assert all(v.blur == 0 or 0.3 <= v.blur * 384 <= 1.2 for v in drawn)
    assert all(abs(v.angle) <= 20 for v in drawn)
    assert share(lambda v: v.angle > 10) == pytest.approx(0.25, abs=four_sigma)
    # Uniform in area: half of the crops lie below the middle of 0.36 and 1.
    below = share(lambda v: v.side**2 < 0.68)
    assert below == pytest.approx(0.5, abs=four_sigma)


def test_the_deviation_of_the_blur_is_the_configured_one(augment):
    augment.update({"blur": 1.0, "blur_sigma": (2.0, 2.5), "blur_side": 50})
    rng = np.random.default_rng(1)
    drawn = [
        transforms.draw_view(rng, CENTRE, augment, width=10, height=10).blur * 50
        for _ in range(100)
    ]
    assert 2.0 <= min(drawn) < 2.05
    assert 2.45 < max(drawn) <= 2.5


def test_no_strength_is_the_box_itself(augment):
    still = {"scale": (1.0, 1.0), "rotation": 0.0, "blur": 0.0}
    augment.update({**still, "horizontal_flip": 0.0, "vertical_flip": 0.0})
    box = Box(0.4, 0.6, 0.7)
    drawn = transforms.draw_view(
        np.random.default_rng(2), box, augment, width=90, height=70
    )
    assert drawn == View(
        x=0.4, y=0.6, side=0.7, angle=0.0, flip_x=False, flip_y=False, blur=0.0
    )


def test_what_stands_out_stays_in_the_training_view(augment):
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(200):
        width, height = (int(n) for n in rng.integers(100, 300, 2))
        x, y = rng.uniform(0.15, 0.85, 2)
        image = np.full((height, width, 3), 60, np.uint8)
        radius = round(0.08 * min(width, height))
        centre = (round(x * width), round(y * height))
        cv2.circle(image, centre, radius, (255, 255, 0), -1)
        box = saliency_box(image)
        drawn = transforms.draw_view(rng, box, augment, width=width, height=height)
        seen = transforms.render(image, drawn, image_size=64)
        whole = math.pi * radius**2 * (64 / (drawn.side * min(width, height))) ** 2
        shares.append((seen[..., 0] > 157).sum() / whole)
    assert min(shares) > 0.1
    assert np.mean(np.array(shares) > 0.9) > 0.95


def test_the_same_generator_draws_the_same_view(augment):
    noise = np.random.default_rng(0).integers(0, 256, (80, 120, 3)).astype(np.uint8)
    element = {
        "image": noise,
        "box": np.array([0.5, 0.5, 0.8], np.float32),
        "label": np.int32(3),
        "image_id": np.uint64(7),
    }
    train_view = transforms.TrainView(augment, 32)
    one, same, other = (
        train_view.random_map(element, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    assert one["image"].shape == (32, 32, 3)
    assert one["image"].dtype == np.uint8
    assert (one["label"], one["image_id"]) == (3, 7)
    assert set(one) == {"image", "label", "image_id"}
    np.testing.assert_array_equal(one["image"], same["image"])
    assert (one["image"] != other["image"]).any()


def test_what_is_rendered_larger_is_blurred_as_much(augment):
    """For a smaller network than the largest: seen from as far, the same picture."""
    augment.update({"blur": 1.0, "blur_sigma": (1.0, 1.0), "blur_side": 32})
    augment.rotation = 0.0
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    image = cv2.resize(noise[:64, :64], (256, 256), interpolation=cv2.INTER_CUBIC)
    element = {"image": image, "box": np.array([0.5, 0.5, 1.0], np.float32)}
    element |= {"label": np.int32(0), "image_id": np.uint64(0)}

    def spread(size, blur_side):
        augment.blur_side = blur_side
        view = transforms.TrainView(augment, size)
        seen = view.random_map(element, np.random.default_rng(1))["image"]
        return cv2.resize(seen, (32, 32), interpolation=cv2.INTER_AREA).std()

    assert spread(64, 32) == pytest.approx(spread(32, 32), rel=0.05)
    assert spread(64, 64) > 1.1 * spread(64, 32)
