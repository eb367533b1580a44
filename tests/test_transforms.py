import math

import cv2
import numpy as np
import pytest

from aplantida_jax.data import transforms
from aplantida_jax.data.smart_crop import Box
from aplantida_jax.data.transforms import View

PLAIN = View(x=0.5, y=0.5, side=1.0, angle=0.0, flip_x=False, flip_y=False, blur=0.0)


def view(**changes):
    return View(**{**vars(PLAIN), **changes})


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(height, width):
    """A picture without detail, so that ways of resampling agree."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(3 * x + 2 * y), np.cos(4 * x - y), np.sin(5 * y) * np.cos(2 * x)]
    return np.round(127.5 + 110 * np.stack(waves, axis=-1)).astype(np.uint8)


SIZES = [(640, 480), (480, 640), (333, 333), (1000, 97), (50, 31), (7, 5), (1, 1)]


@pytest.mark.parametrize(("image_size", "resize"), [(384, 448), (224, 256), (64, 72)])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_centre_box_is_that_of_resize_and_centre_crop(
    width, height, image_size, resize
):
    x, y, side = transforms.centre_box(
        width, height, image_size=image_size, resize=resize
    )
    scale = resize / min(width, height)  # of the resize
    assert abs(side - image_size / scale) <= 0.5 or side == 1
    assert 0 <= x <= width - side
    assert 0 <= y <= height - side
    assert abs((x + side / 2) - width / 2) <= 0.5
    assert abs((y + side / 2) - height / 2) <= 0.5


def test_golden_centre_boxes():
    # What preprocess.js computes for the same sizes.
    box = transforms.centre_box
    assert box(4000, 3000, image_size=224, resize=256) == (687, 187, 2625)
    assert box(100, 101, image_size=64, resize=72) == (5, 6, 89)
    assert box(10, 20, image_size=100, resize=72) == (0, 5, 10)  # never beyond


@pytest.mark.parametrize(("height", "width"), [(600, 800), (800, 600), (512, 512)])
def test_the_evaluation_view_is_resize_and_centre_crop(height, width):
    image = smooth(height, width)
    seen = transforms.evaluation_view(image, image_size=224, resize=256)
    short = min(height, width)
    size = (round(width * 256 / short), round(height * 256 / short))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    x, y = (size[0] - 224) // 2, (size[1] - 224) // 2
    expected = resized[y : y + 224, x : x + 224].astype(int)
    assert np.abs(seen - expected).max() <= 3


def test_the_evaluation_view_of_the_right_size_is_a_plain_crop():
    image = noise(100, 130)
    seen = transforms.evaluation_view(image, image_size=80, resize=100)
    np.testing.assert_array_equal(seen, image[10:90, 25:105])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(0.5, 0.5, 0.5), np.s_[25:75, 40:90]),
        (Box(0.0, 0.0, 0.5), np.s_[:50, :50]),  # moved inside
        (Box(1.0, 1.0, 0.5), np.s_[50:, 80:]),
    ],
)
def test_the_evaluation_view_of_a_box_is_that_box(box, expected):
    image = noise(100, 130)
    seen = transforms.evaluation_view(image, image_size=50, resize=72, box=box)
    np.testing.assert_array_equal(seen, image[expected])


def test_down_is_the_mean_of_an_area_and_up_keeps_to_the_range():
    image = noise(64, 64)
    blocks = image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(transforms.resample(image, 32) - blocks).max() <= 0.5
    np.testing.assert_array_equal(transforms.resample(image, 64), image)
    flat = np.full((5, 5, 3), 77, np.uint8)
    np.testing.assert_array_equal(
        transforms.resample(flat, 31), np.full((31, 31, 3), 77)
    )


def test_the_plain_view_is_the_picture():
    image = noise(48, 48)
    np.testing.assert_array_equal(transforms.render(image, PLAIN, image_size=48), image)


def test_a_view_at_whole_pixels_is_a_crop():
    image = noise(100, 140)
    seen = transforms.render(
        image, view(x=(30 + 25) / 140, y=(20 + 25) / 100, side=0.5), image_size=50
    )
    np.testing.assert_array_equal(seen, image[20:70, 30:80])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"flip_x": True}, lambda image: image[:, ::-1]),
        ({"flip_y": True}, lambda image: image[::-1]),
        ({"flip_x": True, "flip_y": True}, lambda image: image[::-1, ::-1]),
        ({"angle": 90.0}, np.rot90),
        ({"angle": -90.0}, lambda image: np.rot90(image, -1)),
        ({"angle": 180.0}, lambda image: np.rot90(image, 2)),
        # Mirrored after the rotation.
        ({"angle": 90.0, "flip_x": True}, lambda image: np.rot90(image)[:, ::-1]),
        ({"angle": 90.0, "flip_y": True}, lambda image: np.rot90(image)[::-1]),
    ],
)
def test_flips_and_quarter_turns_are_exact(changes, expected):
    image = noise(48, 48)
    seen = transforms.render(image, view(**changes), image_size=48).astype(int)
    # A sine of 90 degrees in floating point may round a pixel by one level.
    assert np.abs(seen - expected(image)).max() <= 1


@pytest.mark.parametrize("angle", [0.0, 20.0])
@pytest.mark.parametrize("step", [1.3, 1.6, 1.95, 2.3, 2.7, 3.6])
def test_training_sees_as_much_fine_detail_as_evaluation(step, angle):
    image = noise(500, 500)
    size = int(330 / step)
    about = view(side=size * step / 500, angle=angle)
    seen = transforms.render(image, about, image_size=size)
    expected = transforms.resample(
        image[: round(size * step), : round(size * step)], size
    )
    # Noise is what aliases: without a filter it is 1.5 times as strong at step 1.95.
    assert seen.std() / expected.std() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("step", [1.25, 1.4, 1.75, 2.2, 2.6, 3.3])
def test_training_sees_a_pattern_of_every_coarseness_as_evaluation_does(step):
    size = 120
    side = round(size * step)
    y, x = np.mgrid[:400, :400]
    for period in (2.2, 3.1, 4.7, 8.0):  # source pixels
        wave = 127.5 + 100 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / period)
        image = np.repeat(np.round(wave).astype(np.uint8)[..., None], 3, axis=2)
        about = view(x=(40 + side / 2) / 400, y=(30 + side / 2) / 400, side=side / 400)
        seen = transforms.render(image, about, image_size=size).astype(float)
        expected = transforms.resample(image[30 : 30 + side, 40 : 40 + side], size)
        assert abs(seen.std() - expected.std()) < 12  # of 71 grey levels


@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize(("height", "width"), [(300, 200), (97, 140), (31, 400)])
def test_a_view_of_a_part_is_what_the_whole_picture_shows_there(height, width, flip_y):
    image = noise(height, width)
    rng = np.random.default_rng(height)
    for _ in range(20):
        side = rng.uniform(0.3, 1)
        slack = (1 - side) / 2 * min(height, width)
        x = 0.5 + rng.uniform(-1, 1) * (0.5 - side * min(height, width) / 2 / width)
        y = 0.5 + rng.uniform(-1, 1) * slack / height
        angle = rng.uniform(-45, 45)
        about = view(x=x, y=y, side=side, angle=angle, flip_y=flip_y)
        seen = transforms.render(image, about, image_size=400)  # step below 1
        out = (np.arange(400) - 199.5) * side * min(height, width) / 400
        right, down = np.meshgrid(out, -out if flip_y else out)
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        expected = cv2.remap(
            image,
            (x * width - 0.5 + cos * right - sin * down).astype(np.float32),
            (y * height - 0.5 + sin * right + cos * down).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        # The steps of 1/32 pixel in which OpenCV samples, either way.
        assert np.abs(seen.astype(int) - expected).max() <= 255 / 16


@pytest.mark.parametrize(("height", "width"), [(96, 96), (97, 140), (119, 98)])
def test_at_a_third_a_pixel_is_the_mean_of_nine(height, width):
    image = noise(height, width)
    # 3 x 3 pixels around the middle block of the picture, which 3 divides or not.
    x, y = (width // 3 // 2 + 0.5) * 3 / width, (height // 3 // 2 + 0.5) * 3 / height
    side = 3 * 5 / min(height, width)
    seen = transforms.render(image, view(x=x, y=y, side=side), image_size=5)
    top, left = height // 3 // 2 - 2, width // 3 // 2 - 2
    part = image[3 * top : 3 * top + 15, 3 * left : 3 * left + 15]
    blocks = part.reshape(5, 3, 5, 3, 3).mean(axis=(1, 3))
    assert np.abs(seen - blocks).max() <= 1


@pytest.mark.parametrize("side", [0.5, 0.77, 1.0])
@pytest.mark.parametrize("size", [60, 75, 130])
def test_a_view_is_close_to_one_with_many_samples_a_pixel(side, size):
    image = cv2.GaussianBlur(noise(300, 300), (0, 0), 3)
    about = {"side": side, "angle": 14.0, "x": 0.47, "y": 0.55}
    fine = transforms.render(image, view(**about), image_size=8 * size)
    expected = fine.reshape(size, 8, size, 8, 3).mean(axis=(1, 3))
    seen = transforms.render(image, view(**about), image_size=size)
    error = np.sqrt(np.mean((seen - expected) ** 2))
    assert error < 4  # grey levels; 36 dB
    moved = np.sqrt(np.mean((seen[:, 1:] - expected[:, :-1]) ** 2))
    assert moved > 2 * error  # a pixel aside would be seen


def test_the_corners_of_a_rotated_view_show_the_picture_mirrored():
    image = cv2.GaussianBlur(noise(80, 80), (0, 0), 4)
    seen = transforms.render(image, view(angle=20.0), image_size=80).astype(int)
    margin = 40
    wide = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    # The same view of the picture that is mirrored beforehand needs no border.
    inside = transforms.render(wide, view(angle=20.0, side=0.5), image_size=80)
    assert np.abs(seen - inside).max() <= 1
    assert seen.min() > 0  # black corners would tell the network of the rotation


@pytest.mark.parametrize("angle", [20.0, -33.0, 45.0])
def test_a_rotation_and_its_inverse_are_the_picture(angle):
    image = smooth(200, 200)
    there = transforms.render(image, view(angle=angle), image_size=200)
    back = transforms.render(there, view(angle=-angle), image_size=200).astype(int)
    inner = np.s_[60:140, 60:140]  # never beyond the border, at any angle
    assert np.abs(back[inner] - image[inner]).max() <= 2
    assert np.abs(there[inner].astype(int) - image[inner]).max() > 20


def test_beyond_the_border_the_picture_is_mirrored():
    image = noise(40, 40)
    seen = transforms.render(image, view(x=0.25), image_size=40)
    np.testing.assert_array_equal(seen[:, 10:], image[:, :30])
    np.testing.assert_array_equal(seen[:, :10], image[:, 1:11][:, ::-1])


def test_blur_spreads_a_point_and_keeps_its_mass():
    image = np.zeros((65, 65, 3), np.uint8)
    image[32, 32] = 255
    seen = transforms.render(image, view(blur=1 / 65), image_size=65).astype(float)
    assert seen[32, 32, 0] == pytest.approx(255 / (2 * math.pi), abs=2)
    assert seen[..., 0].sum() == pytest.approx(255, abs=20)
    np.testing.assert_array_equal(seen, seen[::-1, ::-1])
