import cv2
import numpy as np
import pytest

from aplantida_jax.data.smart_crop import CENTRE, saliency_box


def picture(width, height, x, y, radius=0.06):
    """A yellow disc at (x, y), in fractions, on grass-coloured noise; [h, w, 3]."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), (60, 110, 50)) + rng.integers(
        -6, 7, (height, width, 3)
    )
    image = np.ascontiguousarray(image.astype(np.uint8))
    centre = (round(x * width), round(y * height))
    cv2.circle(image, centre, round(radius * min(width, height)), (250, 220, 30), -1)
    return image


def edges(box, width, height):
    """Left, top, right and bottom in pixels."""
    half = box.side * min(width, height) / 2
    x, y = box.x * width, box.y * height
    return x - half, y - half, x + half, y + half


SIZES = [(320, 320), (480, 320), (200, 400), (300, 200), (64, 64), (40, 30)]
PLACES = [(0.5, 0.5), (0.2, 0.3), (0.85, 0.8), (0.1, 0.9)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(("x", "y"), PLACES)
def test_the_box_holds_what_stands_out_and_lies_inside(width, height, x, y):
    box = saliency_box(picture(width, height, x, y))
    left, top, right, bottom = edges(box, width, height)
    assert 0.6 <= box.side <= 1
    assert left >= -1e-6
    assert top >= -1e-6
    assert right <= width + 1e-6
    assert bottom <= height + 1e-6
    assert left <= x * width <= right
    assert top <= y * height <= bottom


@pytest.mark.parametrize(
    "image",
    [
        np.full((50, 80, 3), 127, np.uint8),
        np.zeros((50, 80, 3), np.uint8),
        np.full((50, 80, 3), 127, np.uint8)
        + (np.indices((50, 80)).sum(0) % 2)[..., None].astype(np.uint8),
        np.full((1, 1, 3), 9, np.uint8),
    ],
    ids=["grey", "black", "rounding noise", "one pixel"],
)
def test_where_nothing_stands_out_it_is_the_centre(image):
    assert saliency_box(image) == CENTRE


def test_the_box_follows_a_mirrored_picture():
    image = picture(480, 320, 0.25, 0.3)
    box = saliency_box(image)
    mirrored = saliency_box(np.ascontiguousarray(image[:, ::-1]))
    turned = saliency_box(np.ascontiguousarray(image[::-1, ::-1]))
    np.testing.assert_allclose(
        [mirrored.x, mirrored.y, mirrored.side], [1 - box.x, box.y, box.side], atol=0.05
    )
    np.testing.assert_allclose(
        [turned.x, turned.y, turned.side], [1 - box.x, 1 - box.y, box.side], atol=0.05
    )


def test_the_box_is_the_same_for_a_smaller_copy_of_the_picture():
    image = picture(960, 640, 0.3, 0.6)
    small = cv2.resize(image, (240, 160), interpolation=cv2.INTER_AREA)
    one, other = saliency_box(image), saliency_box(small)
    np.testing.assert_allclose(
        [one.x, one.y, one.side], [other.x, other.y, other.side], atol=0.02
    )


def test_what_is_spread_out_gets_a_wider_box():
    rng = np.random.default_rng(1)
    flowers = picture(320, 320, 0.15, 0.15)
    for x, y in rng.uniform(0.1, 0.9, (25, 2)):
        centre = (round(x * 320), round(y * 320))
        cv2.circle(flowers, centre, 15, (250, 220, 30), -1)
    assert saliency_box(flowers).side > saliency_box(picture(320, 320, 0.5, 0.5)).side
