"""From a picture to the square that a network sees: uint8 in, uint8 out.

Training draws one affine map (crop, scale, flips, rotation) and warps once; colour,
erasing, mixup and normalisation follow on the device (`train/device_augment.py`).
Evaluation takes the centre square and resamples it by area, in integers that the app's
`preprocess.js` repeats exactly.
"""

import dataclasses
import math
from typing import Any

import cv2
import grain
import numpy as np

from aplantida_jax.data.smart_crop import Box

# A neighbour's weight below which a filter is not worth its time: a step below 1.25.
_LEAST_ASIDE = 0.0234


def centre_box(
    width: int, height: int, *, image_size: int, resize: int
) -> tuple[int, int, int]:
    """The square (x, y, side), in pixels, that "resize, centre crop" would keep.

    Resizing the short side to `resize` and cropping `image_size` is the same picture as
    cropping `short * image_size / resize` first, and needs one resampling.
    """
    side = max(1, math.floor(min(width, height) * image_size / resize + 0.5))
    side = min(side, width, height)
    return (width - side) // 2, (height - side) // 2, side


def resample(image: np.ndarray, size: int) -> np.ndarray:
    """A square uint8 [s, s, 3] -> [size, size, 3]: by area down, bilinear up."""
    down = image.shape[0] >= size
    how = cv2.INTER_AREA if down else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=how)


def evaluation_view(
    image: np.ndarray, *, image_size: int, resize: int, box: Box | None = None
) -> np.ndarray:
    """What the network sees of an image at evaluation.

    Args:
        image: uint8 [h, w, 3].
        image_size: side of the result.
        resize: short side that the image would be resized to before the crop.
        box: smart-crop box to take instead of the centre.

    Returns:
        uint8 [image_size, image_size, 3].
    """
    height, width = image.shape[:2]
    x, y, side = centre_box(width, height, image_size=image_size, resize=resize)
    if box is not None:
        side = max(1, round(box.side * min(width, height)))
        x = min(max(0, round(box.x * width - side / 2)), width - side)
        y = min(max(0, round(box.y * height - side / 2)), height - side)
    return resample(image[y : y + side, x : x + side], image_size)


@dataclasses.dataclass(frozen=True)
class View:
    """The random choices of one training view; kept, they replay it exactly.

    Attributes:
        x, y: centre of the crop, as a fraction of width and height.
        side: of the crop, as a fraction of the short side.
        angle: rotation, degrees.
        flip_x, flip_y: mirrored left to right, top to bottom.
        blur: standard deviation, as a fraction of the output's side; 0 is none.
    """

    x: float
    y: float
    side: float
    angle: float
    flip_x: bool
    flip_y: bool
    blur: float


def draw_view(
    rng: np.random.Generator, box: Box, augment: Any, *, width: int, height: int
) -> View:
    """Draws a training view inside `box`.

    Args:
        rng: the element's own generator.
        box: smart crop, or the whole short side.
        augment: `config.augment`.
        width, height: of the image, in pixels.
    """
    scale = math.sqrt(rng.uniform(augment.scale[0] ** 2, augment.scale[1] ** 2))
    side = box.side * scale
    short = min(width, height)
    slack_x = (box.side - side) * short / width / 2  # the crop stays inside the box
    slack_y = (box.side - side) * short / height / 2
    least, most = (sigma / augment.blur_side for sigma in augment.blur_sigma)
    return View(
        x=box.x + rng.uniform(-1, 1) * slack_x,
        y=box.y + rng.uniform(-1, 1) * slack_y,
        side=side,
        angle=rng.uniform(-1, 1) * augment.rotation,
        flip_x=bool(rng.random() < augment.horizontal_flip),
        flip_y=bool(rng.random() < augment.vertical_flip),
        blur=rng.uniform(least, most) if rng.random() < augment.blur else 0.0,
    )


def render(image: np.ndarray, view: View, *, image_size: int) -> np.ndarray:
    """Warps an image uint8 [h, w, 3] to the view, uint8 [image_size, image_size, 3].

    The warp looks at four source pixels for each of its own; where it would skip some,
    or weigh them unequally, the image is made coarser first: training sees the detail
    that evaluation sees.
    """
    height, width = image.shape[:2]
    step = view.side * min(width, height) / image_size  # source pixels per output one
    radians = math.radians(view.angle)
    turn = np.array(
        [
            [math.cos(radians), -math.sin(radians)],
            [math.sin(radians), math.cos(radians)],
        ]
    ) * [-1 if view.flip_x else 1, -1 if view.flip_y else 1]
    centre = np.array([view.x * width, view.y * height])
    reach = step * image_size / 2 * np.abs(turn[0]).sum()  # of the turned square
    block = max(1, math.ceil(step / 1.5) - 1)
    image, origin = _around(image, centre, reach, block)
    image = _coarser(image, step, block)
    linear = turn * (step / block)
    # Pixel centres are at half-integers: the output's centre maps to the view's.
    centre_in = (centre - origin) / block - 0.5
    shift = centre_in - linear @ np.full(2, (image_size - 1) / 2)
    # The same pixels as with three channels, in half the time: four fill a register.
    warped = cv2.warpAffine(
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA),
        np.column_stack([linear, shift]),
        (image_size, image_size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    warped = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
    if view.blur:
        return cv2.GaussianBlur(warped, (0, 0), view.blur * image_size)
    return warped


def _around(
    image: np.ndarray, centre: np.ndarray, reach: float, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """The part within `reach` of `centre` (x, y), whole blocks of it, and its origin.

    With a margin for what looks at neighbours, so that only the image's own border is
    ever mirrored.
    """
    parts = []
    for middle, length in zip(centre.tolist(), image.shape[1::-1], strict=True):
        first = max(0, math.floor((middle - reach) / block) - 2)
        end = min(length // block, math.ceil((middle + reach) / block) + 2)
        parts.append(slice(first * block, end * block))
    across, down = parts
    return image[down, across], np.array([across.start, down.start])


def _coarser(image: np.ndarray, step: float, block: int) -> np.ndarray:
    """Averages whole blocks, then neighbours, for a bilinear warp at `step`.

    Along an axis, resampling by area spreads a pixel with variance (step^2 + 1) / 12,
    over all positions of the pixel grids. Blocks give (block^2 - 1) / 12, the warp's
    bilinear weights block^2 / 6, a filter (a, 1 - 2a, a) on blocks 2 a block^2: a is
    what makes their sum equal. Real photos come within some 2 grey levels of what
    sees at steps to 3, and within 4 at more, in a fifth of the time that resampling by
    area to the exact step takes.
    """
    if block > 1:
        size = image.shape[1] // block, image.shape[0] // block
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    aside = ((step / block) ** 2 + 2 / block**2 - 3) / 24
    if aside < _LEAST_ASIDE:
        return image
    kernel = np.array([aside, 1 - 2 * aside, aside])
    return cv2.sepFilter2D(image, -1, kernel, kernel)


@dataclasses.dataclass(frozen=True)
class TrainView(grain.transforms.RandomMap):
    """{image, box, label, image_id} -> {image, label, image_id}, a random view.

    Attributes:
        augment: `config.augment`.
        image_size: side in pixels to render at.
    """

    augment: Any
    image_size: int

    def random_map(
        self, element: dict[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        image = element["image"]
        height, width = image.shape[:2]
        view = draw_view(
            rng, Box(*element["box"]), self.augment, width=width, height=height
        )
        rendered = render(image, view, image_size=self.image_size)
        kept = {name: element[name] for name in ("image_id", "label")}
        return {"image": rendered, **kept}
