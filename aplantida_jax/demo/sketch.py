"""Shapes of a plant in its own coordinates, and painting them through a camera.

A plant stands at the origin, is about 1 high, and y points up. Shapes are made many at
a time: a batch of k shapes is an array [k, n, 2]. A *frame* says where such a shape
goes; k frames are an array [k, 4] with the columns x, y, angle (radians, 0 is to the
right) and size (the length of what is placed).
"""

import dataclasses

import cv2
import numpy as np

# fillPoly and its like take fixed-point coordinates with this many fractional bits.
_SHIFT = 4


@dataclasses.dataclass(frozen=True)
class Layer:
    """k shapes of one kind: polygons, open lines, or dots where n is 1.

    Attributes:
        points: [k, n, 2], plant coordinates.
        colours: [k, 3], RGB 0-255; or [3], for all.
        width: 0 fills the polygon; else width of the line or diameter of the dot.
    """

    points: np.ndarray
    colours: np.ndarray
    width: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sketch:
    """Shapes from back to front.

    Attributes:
        stacks: groups of layers with the same k; shape i of every layer is painted
            before shape i + 1 of any, so that a leaf hides the veins of the one behind.
    """

    stacks: list[tuple[Layer, ...]] = dataclasses.field(default_factory=list)

    def add(self, *layers: Layer) -> None:
        self.stacks.append(layers)


def place(
    outline: np.ndarray,
    frames: np.ndarray,
    *,
    stretch: np.ndarray | float = 1.0,
    bend: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Puts one outline into k frames.

    Args:
        outline: [n, 2], of unit length along x.
        frames: [k, 4].
        stretch: factor of the outline's width, scalar or [k].
        bend: sideways shift of the tip in lengths, scalar or [k]; grows with x².

    Returns:
        [k, n, 2], plant coordinates.
    """
    along = outline[None, :, 0]  # [1, n]
    across = outline[None, :, 1] * np.reshape(stretch, (-1, 1))
    across = across + np.reshape(bend, (-1, 1)) * along**2  # [k or 1, n]
    size = frames[:, 3:4]
    cos, sin = np.cos(frames[:, 2:3]) * size, np.sin(frames[:, 2:3]) * size
    return np.stack(
        [
            frames[:, 0:1] + along * cos - across * sin,
            frames[:, 1:2] + along * sin + across * cos,
        ],
        axis=-1,
    )


def on_stem(stem: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Frames of size 1 on a stem, with its direction.

    Args:
        stem: [m, 2], from the foot to the tip.
        at: [k], 0 at the foot, 1 at the tip.

    Returns:
        [k, 4].
    """
    index = at * (len(stem) - 1)
    steps = np.diff(stem, axis=0)
    direction = np.arctan2(steps[:, 1], steps[:, 0])
    knots = np.arange(len(stem))
    segment = np.minimum(index.astype(int), len(steps) - 1)
    return np.stack(
        [
            np.interp(index, knots, stem[:, 0]),
            np.interp(index, knots, stem[:, 1]),
            direction[segment],
            np.ones_like(index),
        ],
        axis=-1,
    )


def curve(frame: np.ndarray, bend: float, points: int = 10) -> np.ndarray:
    """A stem that leaves `frame` ([4]) and bends by `bend` lengths; [points, 2]."""
    line = np.stack([np.linspace(0, 1, points), np.zeros(points)], axis=-1)
    return place(line, frame[None], bend=bend)[0]


def shades(
    rng: np.random.Generator, colour: np.ndarray, count: int, spread: float
) -> np.ndarray:
    """[count, 3]: a colour, each time a little lighter or darker."""
    factor = rng.uniform(1 - spread, 1 + spread, (count, 1))
    return np.clip(colour * factor, 0, 255)


def paint(canvas: np.ndarray, sketch: Sketch, camera: np.ndarray) -> None:
    """Paints a sketch over a canvas.

    Args:
        canvas: uint8 [h, w, 4], RGB premultiplied by the alpha in channel 3: painting
            anti-aliased with alpha 255 on (0, 0, 0, 0) gives just that.
        sketch: the shapes.
        camera: [2, 3], plant coordinates -> pixels.
    """
    pixels_per_unit = float(np.sqrt(abs(np.linalg.det(camera[:, :2]))))
    for stack in sketch.stacks:
        drawn = [_to_pixels(layer, camera, pixels_per_unit) for layer in stack]
        for i in range(len(stack[0].points)):
            for points, colours, width in drawn:
                _paint_shape(canvas, points[i], (*colours[i], 255), width)


def _to_pixels(
    layer: Layer, camera: np.ndarray, pixels_per_unit: float
) -> tuple[np.ndarray, list[list[float]], float]:
    points = (layer.points @ camera[:, :2].T + camera[:, 2]) * (1 << _SHIFT)
    colours = np.broadcast_to(layer.colours, (len(points), 3)).tolist()
    return np.round(points).astype(np.int32), colours, layer.width * pixels_per_unit


def _paint_shape(
    canvas: np.ndarray, points: np.ndarray, colour: tuple[float, ...], width: float
) -> None:
    if len(points) == 1:
        radius = max(round(width / 2 * (1 << _SHIFT)), 8)
        centre = (int(points[0, 0]), int(points[0, 1]))
        cv2.circle(canvas, centre, radius, colour, -1, cv2.LINE_AA, _SHIFT)
    elif width:
        thickness = max(round(width), 1)
        cv2.polylines(canvas, [points], False, colour, thickness, cv2.LINE_AA, _SHIFT)
    else:
        cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA, _SHIFT)
