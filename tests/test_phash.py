import cv2
import numpy as np
import pytest

from aplantida_jax.data.phash import phash


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
    assert distance(image, image[1:-1, 2:-2]) <= 6
    lighter = np.clip(image.astype(np.int16) + 15, 0, 255).astype(np.uint8)
    assert distance(image, lighter) <= 6


def test_other_pictures_are_far():
    hashes = [int(phash(picture(seed)), 16) for seed in range(60)]
    distances = [
        (a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[i + 1 :]
    ]
    assert min(distances) > 10
    assert 28 < np.mean(distances) < 36


def test_turned_and_mirrored_pictures_are_others():
    image = picture(1)
    assert distance(image, np.ascontiguousarray(image[:, ::-1])) > 10
    assert distance(image, np.ascontiguousarray(image[::-1])) > 10


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
    assert phash(np.dstack([rings.astype(np.uint8)] * 3)) == "5f8ea5504fb8087d"
