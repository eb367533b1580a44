import cv2
import numpy as np
import pytest

from aplantida_jax.data.phash import MIRROR, phash


def picture(seed: int, size: tuple[int, int] = (300, 400)) -> np.ndarray:
    """Soft blobs: a natural picture has most of its contrast in low frequencies."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def distance(left: np.ndarray, right: np.ndarray) -> int:
    return (int(phash(left), 16) ^ int(phash(right), 16)).bit_count()


def reencoded(image: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


@pytest.mark.parametrize("seed", range(8))
def test_copies_are_near(seed):
    image = picture(seed)
    assert len(phash(image)) == 16
    assert distance(image, image.copy()) == 0
    assert distance(image, reencoded(image, 30)) <= 4
    half = cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)
    assert distance(image, half) <= 2
    lighter = np.clip(image.astype(np.int16) + 15, 0, 255).astype(np.uint8)
    assert distance(image, lighter) <= 6


def test_other_pictures_are_far():
    hashes = [int(phash(picture(seed)), 16) for seed in range(60)]
    distances = [
        (a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[i + 1 :]
    ]
    assert min(distances) > 10
    assert 28 < np.mean(distances) < 36


@pytest.mark.parametrize("seed", range(8))
def test_a_mirrored_picture_has_the_hash_with_some_bits_turned(seed):
    image = picture(seed)
    mirrored = reencoded(np.ascontiguousarray(image[:, ::-1]), 60)
    assert distance(image, mirrored) > 10
    turned = int(phash(image), 16) ^ MIRROR
    assert (turned ^ int(phash(mirrored), 16)).bit_count() <= 2


@pytest.mark.parametrize("seed", range(8))
def test_slight_crops_are_near(seed):
    image = picture(seed)
    assert distance(image, image[3:-3, 4:-4]) <= 6
    corner = image[:294, :392]
    assert distance(image, corner) <= 10


def test_a_picture_upside_down_is_another():
    image = picture(1)
    assert distance(image, np.ascontiguousarray(image[::-1])) > 10


def test_against_the_cosine_transform_written_out():
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 256, (32, 32)).astype(np.uint8)
    place = np.arange(32) + 0.5
    edge = np.sin(np.pi * place / 32) ** 0.25
    taper = np.outer(edge, edge)
    tapered = (grey - (grey * taper).sum() / taper.sum()) * taper
    cosines = np.cos(np.pi / 32 * np.outer(np.arange(32), place))  # [frequency, place]
    spectrum = cosines @ tapered @ cosines.T
    order = sorted(np.ndindex(32, 32), key=lambda at: (sum(at), at))[1:65]
    bits = "".join(str(int(spectrum[at] > 0)) for at in order)
    assert phash(np.dstack([grey] * 3)) == f"{int(bits, 2):016x}"
    odd = "".join(str(column % 2) for _, column in order)
    assert int(odd, 2) == MIRROR


def test_an_even_surface_has_no_hash():
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 3, (200, 300, 3)).clip(0, 255).astype(np.uint8)
    assert phash(np.full((50, 60, 3), 200, np.uint8)) == ""
    assert phash(noise) == ""
    gradient = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8)
    assert phash(np.dstack([gradient] * 3)) == ""
    assert phash(picture(0)) != ""


def test_a_known_picture():
    """Pins the hash: journals hold hashes of years."""
    y, x = np.mgrid[:64, :64]
    rings = ((x - 20) ** 2 + 2 * (y - 40) ** 2 + x * y) // 16 % 256
    assert phash(np.dstack([rings.astype(np.uint8)] * 3)) == "5f82a5504fe808ff"
