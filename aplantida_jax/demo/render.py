"""One picture of the demo as the bytes of its file, faults included."""

import cv2
import numpy as np

from aplantida_jax.demo.collection import Picture
from aplantida_jax.demo.draw import draw
from aplantida_jax.demo.held_out_species import ALL

_THUMBNAIL = 60  # pixels, long side


def render(name: str, picture: Picture, seed: int, image_size: int) -> bytes:
    """The bytes of an image file.

    Args:
        name: of the file.
        picture: what it shows and what is wrong with it; not "missing".
        seed: of the collection.
        image_size: typical short side in pixels.
    """
    if picture.fault == "empty":
        return b""
    if picture.fault == "html":
        page = f"<!DOCTYPE html><title>429</title><p>Too many requests: {name}</p>"
        return page.encode()
    image = draw(
        ALL[picture.species].traits,
        seed=seed,
        species=picture.species,
        observation=picture.observation,
        photo=picture.photo,
        image_size=image_size,
    )
    # A stream of its own: what is drawn must not depend on how it is stored.
    about = [seed, picture.species, picture.observation, picture.photo]
    rng = np.random.default_rng([*about, 1 + picture.remake])
    if picture.remake:
        image = _retouch(image, rng)
    if picture.fault == "thumbnail":
        factor = min(_THUMBNAIL / max(image.shape), 1.0)
        image = cv2.resize(image, None, fx=factor, fy=factor)
    data = _encode(image, int(rng.integers(55, 93)))
    return data[: len(data) * 2 // 5] if picture.fault == "truncated" else data


def _retouch(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What becomes of a picture that is passed on; uint8 [h, w, 3], nearly the same."""
    height, width = image.shape[:2]
    match int(rng.integers(4)):
        case 0:  # only encoded anew
            return image
        case 1:
            factor = 1 + rng.choice([-1, 1]) * rng.uniform(0.01, 0.03)
            return cv2.resize(image, None, fx=factor, fy=factor)
        case 2:
            cut = rng.uniform(0.005, 0.015)
            top, left = round(cut * height), round(cut * width)
            return image[top : height - top, left : width - left]
        case _:
            return cv2.convertScaleAbs(image, alpha=rng.uniform(1.03, 1.08))


def _encode(image: np.ndarray, quality: int) -> bytes:
    """uint8 RGB [h, w, 3] -> JPEG."""
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of {image.shape}")
    return data.tobytes()
