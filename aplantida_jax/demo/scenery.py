"""What is behind and before the plant: soil, meadow, stones, sky, paper, a hand.

Every background is a uint8 RGB image [h, w, 3]. `place` draws what all photos of one
individual share (the colours), `rng` what differs from photo to photo (the texture).
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

KINDS = ("soil", "meadow", "stones", "sky", "paper", "hand", "wood", "wall")


def background(
    kind: str,
    height: int,
    width: int,
    place: Generator,
    rng: Generator,
) -> np.ndarray:
    """Draws a background of one of `KINDS`; uint8 [height, width, 3]."""
    return _BACKGROUNDS[kind]((height, width), place, rng)


def clouds(rng: Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise, 0-1, with features of about `cell` pixels; float32 [h, w]."""
    rows, columns = int(height / cell) + 2, int(width / cell) + 2
    coarse = rng.random((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def blades(image: np.ndarray, rng: Generator, colour: np.ndarray, count: int) -> None:
    """Draws blades of grass over the lower part of an image (3 or 4 channels)."""
    height, width = image.shape[:2]
    foot = np.stack(
        [rng.uniform(-0.1, 1.1, count) * width, rng.uniform(0.6, 1.2, count) * height],
        axis=-1,
    )
    reach = np.stack(
        [rng.normal(0, 0.12, count), -rng.uniform(0.2, 0.7, count)], axis=-1
    )
    t = np.linspace(0, 1, 6)[:, None]
    sway = rng.normal(0, 0.1, (count, 1, 1)) * t**2 * (1, 0)
    lines = foot[:, None] + height * (t * reach[:, None] + sway)
    shade = np.clip(colour * rng.uniform(0.6, 1.3, (count, 1)), 0, 255)
    thickness = rng.integers(1, 2 + height // 90, count)
    for i, line in enumerate(np.round(lines * 16).astype(np.int32)):
        rgba = (*shade[i].tolist(), 255)
        cv2.polylines(image, [line], False, rgba, int(thickness[i]), cv2.LINE_AA, 4)


def _between(place: Generator, dark: ArrayLike, light: ArrayLike) -> np.ndarray:
    """A colour on the line from `dark` to `light`; float32 [3]."""
    low, high = np.array(dark, np.float32), np.array(light, np.float32)
    return low + (high - low) * np.float32(place.random())


def _ground(
    size: tuple[int, int],
    rng: Generator,
    colour: np.ndarray,
    cells: tuple[float, ...],
    contrast: float,
) -> np.ndarray:
    """A colour with noise of several sizes (`cells`, parts of the height)."""
    height, width = size
    layers = [clouds(rng, height, width, max(height * cell, 1)) for cell in cells]
    factor = 1 + contrast * (np.mean(layers, axis=0) - 0.5)
    return np.clip(factor[..., None] * colour, 0, 255).astype(np.uint8)


def _soil(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    colour = _between(place, (73, 55, 38), (152, 115, 80))
    return _ground(size, rng, colour, (0.3, 0.06, 0.014), 1.3)


def _meadow(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    green = _between(place, (58, 92, 34), (126, 142, 66))
    image = _ground(size, rng, green * np.float32(0.7), (0.4, 0.1), 0.9)
    blades(image, rng, green, 50)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.012, 0.03) * size[0])


def _stones(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    image = _soil(size, place, rng)
    grey = place.uniform(110, 175)
    count = 34
    centres = rng.random((count, 2)) * (size[1], size[0])
    axes = rng.uniform(0.04, 0.12, (count, 2)) * size[0]
    tones = grey * rng.uniform(0.7, 1.25, count)
    turn = rng.uniform(0, 180, count)
    for i in range(count):
        for shift, tone in ((0.15, 0.55), (0.0, 1.0), (-0.12, 1.12)):
            scale = 1.0 if shift >= 0 else 0.7
            centre = centres[i] + shift * axes[i]
            box = (
                tuple(centre.tolist()),
                tuple((2 * scale * axes[i]).tolist()),
                turn[i],
            )
            level = min(tones[i] * tone, 255)
            cv2.ellipse(
                image, box, (level, level * 0.97, level * 0.92), -1, cv2.LINE_AA
            )
    return cv2.GaussianBlur(image, (0, 0), 0.006 * size[0] + 0.3)


def _sky(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    height, width = size
    top = _between(place, (96, 146, 214), (188, 204, 226))
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    image = (1 - t) * top + t * np.array([226, 230, 232], np.float32)
    image = image + 26 * clouds(rng, height, width, 0.3 * height)[..., None]
    image = np.clip(np.broadcast_to(image, (height, width, 3)), 0, 255).astype(np.uint8)
    ridge = height * (rng.uniform(0.55, 0.95) + 0.12 * (rng.random(7) - 0.5))
    x = np.linspace(0, width, 7)
    hill = np.stack([[*x, width, 0], [*ridge, height, height]], axis=-1)
    green = _between(place, (50, 76, 44), (120, 136, 84)).tolist()
    cv2.fillPoly(image, [hill.astype(np.int32)], green, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 0.02 * height)


def _paper(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    cream = _between(place, (216, 206, 180), (242, 240, 234))
    image = _ground(size, rng, cream, (0.5, 0.01), 0.08)
    height, width = size
    corner = np.array(
        [width * rng.uniform(0.62, 0.7), height * rng.uniform(0.82, 0.88)]
    )
    corner = corner.astype(int)
    cv2.rectangle(
        image, tuple(corner.tolist()), (width - 6, height - 5), (250,) * 3, -1
    )
    for line in range(3):
        y = int(corner[1] + (line + 1) * 0.035 * height)
        start, end = (int(corner[0]) + 4, y), (width - 14 - 8 * line, y)
        cv2.line(image, start, end, (120, 112, 110), 1, cv2.LINE_AA)
    return image


def _hand(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    height, width = size
    image = (
        _soil(size, place, rng) if place.random() < 0.4 else _meadow(size, place, rng)
    )
    skin = _between(place, (112, 74, 54), (236, 190, 160))
    hold = np.array([width * rng.uniform(0.3, 0.7), height * rng.uniform(0.7, 0.95)])
    side = 1 if rng.random() < 0.5 else -1
    for finger in range(4):
        reach = 0.1 * width * np.cos(0.9 * (finger - 1.3))
        tip = hold + (side * reach, (finger * 0.1 - 0.12) * height)
        knuckle = tip - (side * width, (0.09 * finger - 0.35) * height)
        points = np.array([tip, knuckle], np.int32)
        # A darker, thicker finger below leaves an edge that parts it from the next.
        for tone, thickness in ((0.62, 0.115), (rng.uniform(0.9, 1.05), 0.095)):
            shade = (skin * tone).clip(0, 255).tolist()
            thick = int(thickness * height)
            cv2.line(image, points[0], points[1], shade, thick, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 0.008 * height)


def _wood(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    height, width = size
    colour = _between(place, (96, 74, 56), (182, 158, 128))
    coarse = rng.random((height // 3 + 2, 5), dtype=np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip((0.8 + 0.3 * grain)[..., None] * colour, 0, 255).astype(np.uint8)


def _wall(size: tuple[int, int], place: Generator, rng: Generator) -> np.ndarray:
    colour = _between(place, (112, 110, 108), (216, 204, 184))
    return _ground(size, rng, colour, (0.6, 0.05, 0.01), 0.4)


_BACKGROUNDS = {
    "soil": _soil,
    "meadow": _meadow,
    "stones": _stones,
    "sky": _sky,
    "paper": _paper,
    "hand": _hand,
    "wood": _wood,
    "wall": _wall,
}
