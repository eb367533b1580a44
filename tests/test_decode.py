import contextlib
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from aplantida_jax.data import decode
from aplantida_jax.data.image_header import BrokenImage, header

LIMIT = 10_000_000


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """80 x 120: red top left, blue top right, green below; no symmetry."""
    pixels = np.zeros((120, 80, 3), np.uint8)
    pixels[:60, :40] = (255, 0, 0)
    pixels[:60, 40:] = (0, 0, 255)
    pixels[60:] = (0, 255, 0)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def assert_is_the_picture(image: np.ndarray, scale: int = 1) -> None:
    assert image.dtype == np.uint8
    assert image.shape == (120 // scale, 80 // scale, 3)
    for (y, x), colour in {
        (10, 10): (255, 0, 0),
        (10, 70): (0, 0, 255),
        (110, 40): (0, 255, 0),
    }.items():
        assert np.abs(image[y // scale, x // scale] - np.array(colour)).max() <= 3


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("BMP", {})]
    + [("JPEG", {"progressive": True}), ("JPEG", {"subsampling": 0}), ("WEBP", {})],
)
def test_formats(picture, kind, options):
    data = encoded(picture, kind, **options)
    assert_is_the_picture(decode.decode(data, max_pixels=LIMIT))
    found = header(data)
    assert (found.format, found.width, found.height) == (kind.lower(), 80, 120)


def test_modes_have_a_stated_result(picture):
    palette = picture.quantize(8)
    assert_is_the_picture(decode.decode(encoded(palette, "PNG"), max_pixels=LIMIT))
    cmyk = encoded(picture.convert("CMYK"), "JPEG", quality=95)
    assert_is_the_picture(decode.decode(cmyk, max_pixels=LIMIT))
    grey = decode.decode(encoded(picture.convert("L"), "JPEG"), max_pixels=LIMIT)
    assert grey.shape == (120, 80, 3)
    assert (grey[..., 0] == grey[..., 1]).all()
    deep = cv2.imencode(".png", np.asarray(picture)[..., ::-1].astype(np.uint16) * 257)
    assert_is_the_picture(decode.decode(deep[1].tobytes(), max_pixels=LIMIT))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(picture, kind):
    clear = picture.copy()
    alpha = np.zeros((120, 80), np.uint8)
    alpha[0, 0] = 255
    clear.putalpha(Image.fromarray(alpha))
    image = decode.decode(encoded(clear, kind, lossless=True), max_pixels=LIMIT)
    assert (image[0, 0] == (255, 0, 0)).all()
    assert (image[1:] == 255).all()
    assert (image[:, 1:] == 255).all()
    solid = picture.copy()
    solid.putalpha(255)
    data = encoded(solid, kind, lossless=True)
    assert_is_the_picture(decode.decode(data, max_pixels=LIMIT))


def test_animations_give_their_first_picture(picture):
    frames = [picture.rotate(180)]
    data = encoded(picture, "GIF", save_all=True, append_images=frames)
    assert_is_the_picture(decode.decode(data, max_pixels=LIMIT))
    data = encoded(picture, "MPO", save_all=True, append_images=frames)
    assert_is_the_picture(decode.decode(data, max_pixels=LIMIT))


# How to store the upright picture so that the EXIF value brings it back.
_STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [0, 40])
def test_orientation_gives_the_same_picture(picture, orientation, side):
    transpose = _STORED_AS[orientation]
    stored = picture if transpose is None else picture.transpose(transpose)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0)
    found = header(data)
    assert (found.width, found.height, found.orientation) == (80, 120, orientation)
    image = decode.decode(data, max_pixels=LIMIT, min_target_side=side)
    assert_is_the_picture(image, scale=2 if side else 1)


def test_an_impossible_orientation_is_told(picture):
    exif = Image.Exif()
    exif[0x0112] = 9
    data = encoded(picture, "JPEG", exif=exif)
    assert header(data).orientation == 0
    assert_is_the_picture(decode.decode(data, max_pixels=LIMIT))


@pytest.mark.parametrize(
    ("side", "short"), [(0, 800), (401, 800), (400, 400), (150, 200), (100, 100)]
)
def test_scaled_decode_keeps_the_short_side(side, short):
    data = encoded(Image.new("RGB", (1000, 800), (9, 99, 200)), "JPEG")
    image = decode.decode(data, max_pixels=LIMIT, min_target_side=side)
    assert min(image.shape[:2]) == short


def test_a_thumbnail_does_not_hide_a_truncation(picture):
    thumbnail = encoded(picture.resize((20, 30)), "JPEG")
    segment = b"Exif\0\0" + thumbnail
    whole = encoded(picture, "JPEG")
    app1 = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    data = whole[:2] + app1 + whole[2:]
    assert_is_the_picture(decode.decode(data, max_pixels=LIMIT))
    with pytest.raises(BrokenImage, match="truncated"):
        decode.decode(data[:-40], max_pixels=LIMIT)


def test_broken_images_have_a_reason(picture):
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    cases = {
        b"": "empty",
        b"<!DOCTYPE html><title>429</title>": "html",
        b"\xef\xbb\xbf\n <html>": "html",
        b"<?xml version='1.0'?><svg xmlns='...'/>": "unsupported",
        b"plain words": "unsupported",
        b"II*\0" + bytes(64): "unsupported",
        jpeg[:1]: "unsupported",
        jpeg[:30]: "truncated",
        jpeg[: len(jpeg) // 2]: "truncated",
        jpeg[:-2]: "truncated",
        png[: len(png) // 2]: "truncated",
        encoded(picture, "WEBP")[:-20]: "truncated",
        b"\xff\xd8garbage": "undecodable",
        png[:60] + bytes(8) + png[68:]: "undecodable",
    }
    for data, reason in cases.items():
        with pytest.raises(BrokenImage) as raised:
            decode.decode(data, max_pixels=LIMIT)
        assert raised.value.reason == reason, data[:40]
        assert reason in decode.REASONS


def test_random_damage_never_raises_anything_else(picture):
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        data = np.frombuffer(encoded(picture, kind), np.uint8)
        for _ in range(60):
            damaged = data[: rng.integers(1, len(data) + 1)].copy()
            places = rng.integers(0, min(len(damaged), 64), 3)
            damaged[places] = rng.integers(0, 256, 3)
            with contextlib.suppress(BrokenImage):
                image = decode.decode(damaged.tobytes(), max_pixels=LIMIT)
                assert image.dtype == np.uint8
                assert image.shape[2] == 3


def test_a_bomb_is_refused_by_its_header(picture):
    png = bytearray(encoded(picture, "PNG"))
    png[16:24] = (50_000).to_bytes(4, "big") * 2
    with pytest.raises(BrokenImage, match="bomb"):
        decode.decode(bytes(png), max_pixels=100_000_000)
    assert header(bytes(png)).pixels == 2_500_000_000


def test_shrink_leaves_a_pixel(picture):
    for short_side in (0, -1):
        with pytest.raises(ValueError, match="short_side"):
            decode.shrink(np.asarray(picture), short_side)


def test_shrink_and_encode(picture):
    image = np.asarray(picture)
    small = decode.shrink(image, 40)
    assert small.shape == (60, 40, 3)
    assert decode.shrink(small, 40) is small
    assert decode.shrink(np.zeros((5000, 100, 3), np.uint8), 1).shape == (50, 1, 3)
    data = decode.encode_jpeg(image, 95)
    assert_is_the_picture(decode.decode(data, max_pixels=LIMIT))
