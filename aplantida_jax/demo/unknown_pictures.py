"""Pictures that show no plant that one could name: what will the student say of them?

People point a camera at walls, pets and papers, and press the button in the dark. Each
kind is a folder of JPEG files; a picture depends on seed, kind and number alone. Like
the plants, they are uint8 RGB [h, w, 3].
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from absl import logging
from numpy.random import Generator

from aplantida_jax import files
from aplantida_jax.data.decode import encode_jpeg
from aplantida_jax.demo import scenery
from aplantida_jax.demo.draw import draw
from aplantida_jax.demo.species import SPECIES

# Species are numbered from 0, so that no plant draws from these streams.
_STREAM = 3_000_000
# Backgrounds in which nothing grows.
_BARE = ("soil", "stones", "wood", "wall", "sky", "paper")
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_PLAIN)
_WORDS = ("aviso", "parcela", "riego", "factura", "2024", "lote") + (
    *("semilla", "total", "fecha", "firma", "metro"),
)


def write(directory: Path, *, seed: int, count: int, image_size: int) -> None:
    """Writes the pictures that are not there yet, `count` of each kind.

    Args:
        directory: gets a folder a kind.
        seed: of the collection.
        count: pictures of each kind.
        image_size: typical short side in pixels.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for number, (kind, paint) in enumerate(KINDS.items()):
        files.sweep_temporary(directory / kind)
        for index in range(count):
            path = directory / kind / f"{index}.jpg"
            if path.exists():
                continue
            rng = np.random.default_rng([seed, _STREAM, number, index])
            picture = np.ascontiguousarray(paint(image_size, rng))
            files.write_bytes(path, encode_jpeg(picture, int(rng.integers(60, 93))))
    logging.info("%s: %d kinds of pictures without a plant", directory, len(KINDS))


def _ground(size: int, rng: Generator) -> np.ndarray:
    kind = _BARE[rng.integers(len(_BARE))]
    return scenery.background(kind, size, size, rng, rng)


def _colour(rng: Generator, low: int = 20, high: int = 235) -> tuple[int, ...]:
    return tuple(rng.integers(low, high, 3).tolist())


def _scenery(size: int, rng: Generator) -> np.ndarray:
    return _ground(size, rng)


def _animal(size: int, rng: Generator) -> np.ndarray:
    """A body with legs, a head with ears and an eye."""
    image = _ground(size, rng)
    fur = np.array([90, 66, 48]) + rng.uniform(0, 1) * np.array([130, 120, 110])
    body, dark = tuple(fur.tolist()), tuple((0.6 * fur).tolist())
    x, y = (rng.uniform(0.42, 0.55, 2) * size).astype(int).tolist()
    length, height = int(0.26 * size), int(rng.uniform(0.12, 0.17) * size)
    for leg in (-0.7, -0.45, 0.45, 0.7):
        foot = (x + int(leg * length), y + int(2.2 * height))
        cv2.line(image, (x + int(leg * length), y), foot, dark, max(3, size // 22))
    cv2.ellipse(image, (x, y), (length, height), 0, 0, 360, body, -1, cv2.LINE_AA)
    side = 1 if rng.random() < 0.5 else -1
    head = (x + side * int(1.05 * length), y - int(0.7 * height))
    radius = int(0.75 * height)
    for ear in (-0.6, 0.6):
        tip = (head[0] + int(ear * radius), head[1] - int(1.5 * radius))
        base = [(head[0] + int((ear + d) * radius), head[1]) for d in (-0.4, 0.4)]
        cv2.fillPoly(image, [np.array([tip, *base], np.int32)], dark, cv2.LINE_AA)
    cv2.circle(image, head, radius, body, -1, cv2.LINE_AA)
    eye = (head[0] + side * radius // 3, head[1] - radius // 5)
    cv2.circle(image, eye, max(2, radius // 6), (15, 15, 15), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 0.004 * size + 0.3)


def _tool(size: int, rng: Generator) -> np.ndarray:
    """A handle and a blade of steel."""
    image = _ground(size, rng)
    turn = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    middle = rng.uniform(0.4, 0.6, 2) * size
    ends = [middle - 0.42 * size * along, middle + 0.1 * size * along]
    wood = tuple((rng.uniform(0.6, 1) * np.array([176, 124, 72])).tolist())
    start, end = (tuple(p.astype(int).tolist()) for p in ends)
    cv2.line(image, start, end, wood, size // 18, cv2.LINE_AA)
    width = rng.uniform(0.06, 0.16) * size
    outline = [
        ends[1] + width * across,
        ends[1] + 0.28 * size * along + 0.7 * width * across,
        ends[1] + 0.36 * size * along,
        ends[1] + 0.28 * size * along - 0.7 * width * across,
        ends[1] - width * across,
    ]
    steel = (int(rng.integers(120, 200)),) * 3
    cv2.fillPoly(image, [np.array(outline, np.int32)], steel, cv2.LINE_AA)
    return image


def _text(size: int, rng: Generator) -> np.ndarray:
    """A printed page."""
    image = np.full((size, size, 3), int(rng.integers(225, 252)), np.uint8)
    step = int(rng.integers(size // 14, size // 8))
    font, ink = _FONTS[rng.integers(len(_FONTS))], (int(rng.integers(10, 90)),) * 3
    for y in range(step, size, step):
        words = " ".join(_WORDS[i] for i in rng.integers(0, len(_WORDS), 7))
        scale = step / 34 * (1.6 if font == cv2.FONT_HERSHEY_PLAIN else 1.0)
        cv2.putText(image, words, (size // 16, y), font, scale, ink, 1, cv2.LINE_AA)
    tilt = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 5), 1.0)
    return cv2.warpAffine(image, tilt, (size, size), borderMode=cv2.BORDER_REPLICATE)


def _tiles(size: int, rng: Generator) -> np.ndarray:
    """A floor or a wall of tiles in two colours."""
    side = int(rng.integers(size // 10, size // 4))
    rows, columns = np.indices((size, size)) // side
    pair = np.array([_colour(rng, 60), _colour(rng, 60)])
    image = pair[(rows + columns) % 2].astype(np.uint8)
    grout = _colour(rng, 150)
    for at in range(0, size, side):
        cv2.line(image, (at, 0), (at, size), grout, 2)
        cv2.line(image, (0, at), (size, at), grout, 2)
    shade = 0.8 + 0.4 * scenery.clouds(rng, size, size, 0.6 * size)
    return np.clip(image * shade[..., None], 0, 255).astype(np.uint8)


def _noise(size: int, rng: Generator) -> np.ndarray:
    cell = int(rng.integers(1, 12))
    coarse = rng.integers(0, 256, (size // cell + 1, size // cell + 1, 3), np.uint8)
    large = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_NEAREST)
    return large[:size, :size]


def _blur(size: int, rng: Generator) -> np.ndarray:
    """A plant so far out of focus that nobody could name it."""
    species = int(rng.integers(len(SPECIES)))
    image = draw(
        SPECIES[species].traits,
        seed=int(rng.integers(2**31)),
        species=species,
        observation=_STREAM,
        photo=1,
        image_size=size,
    )
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.1, 0.2) * size)


def _dark(size: int, rng: Generator) -> np.ndarray:
    """A finger on the lens: black, and the sensor's noise."""
    noise = rng.normal(rng.uniform(2, 14), 3, (size, size, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def _overexposed(size: int, rng: Generator) -> np.ndarray:
    """Straight into the sun."""
    image = _ground(size, rng).astype(np.float32)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    centre = rng.uniform(-0.5, 0.5, 2)
    near = np.exp(-((line[:, None] - centre[0]) ** 2 + (line - centre[1]) ** 2))
    return np.clip(image + 70 + 260 * near[..., None], 0, 255).astype(np.uint8)


KINDS: dict[str, Callable[[int, Generator], np.ndarray]] = {
    "scenery": _scenery,
    "animal": _animal,
    "tool": _tool,
    "text": _text,
    "tiles": _tiles,
    "noise": _noise,
    "blurred": _blur,
    "dark": _dark,
    "overexposed": _overexposed,
}
