"""Leaves: outlines, margins, compound leaves, and how they are shaded."""

import numpy as np

from aplantida_jax.demo.look import Look
from aplantida_jax.demo.sketch import Layer, Sketch, place, shades

_POINTS = 36  # along one side of a leaf
# Margin -> teeth along one side, depth over half width, sharpness.
_MARGINS = {
    "entire": (0, 0.0, False),
    "serrate": (11, 0.24, True),
    "crenate": (7, 0.16, False),
    "spiny": (6, 0.55, True),
}
# Division -> per leaflet: position on the leaf, angle, size over the leaf's.
_LEAFLETS = {
    "pinnate": np.array(
        [
            (at, side * (1.05 - 0.35 * at), 0.4 - 0.12 * at)
            for at in (0.28, 0.46, 0.64, 0.8)
            for side in (-1, 1)
        ]
        + [(0.86, 0.0, 0.3)]
    ),  # fmt: skip
    "trifoliate": np.array([(0.55, 1.25, 0.46), (0.55, -1.25, 0.46), (0.55, 0.0, 0.5)]),
    "digitate": np.array([(0.45, a, 0.55) for a in (1.9, -1.9, 0.95, -0.95, 0.0)]),
}


def outline(leaf: str, margin: str, width: float) -> np.ndarray:
    """The outline of a leaf blade of unit length along x.

    Args:
        leaf: see `traits.Traits`.
        margin: likewise.
        width: half width over length.

    Returns:
        [2 * _POINTS, 2]: the upper side from base to tip, then back below.
    """
    t = np.linspace(0, 1, _POINTS)
    teeth, depth, sharp = _MARGINS[margin]
    phase = teeth * t
    tooth = phase % 1.0 if sharp else np.abs(np.sin(np.pi * phase))
    edge = 1 + depth * (tooth - 0.5) if teeth else np.ones_like(t)
    if leaf == "palmate":
        x, y = _palmate(t, edge)
    else:
        x = t - 3.4 * t * (1 - t) ** 5 if leaf == "cordate" else t
        y = width * _half_width(leaf, t) * edge
    upper = np.stack([x, y], axis=-1)
    return np.concatenate([upper, upper[::-1] * (1, -1)])


def _half_width(leaf: str, t: np.ndarray) -> np.ndarray:
    """Half width along the leaf, 1 at the widest place; [n]."""
    match leaf:
        case "linear":
            return np.minimum(1, 9 * t) ** 0.5 * (1 - t**3)
        case "lanceolate":
            return np.sin(np.pi * t**0.8)
        case "ovate":
            return np.sin(np.pi * t**0.6)
        case "cordate":
            return np.sin(np.pi * t**0.45)
        case "elliptic":
            return np.sin(np.pi * t) ** 0.8
        case "spatulate":
            return 0.12 + 0.88 * np.sin(np.pi * t**2.2) ** 0.8 - 0.12 * t
        case "lobed":
            lobes = 0.42 + 0.58 * np.abs(np.sin(np.pi * 4 * t**0.9)) ** 0.7
            return np.sin(np.pi * t**0.9) ** 0.6 * lobes
    raise ValueError(f"unknown leaf {leaf!r}")


def _palmate(t: np.ndarray, edge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Five lobes around a centre; the notch at the base is where the stalk joins."""
    angle = np.pi * (1 - t)
    radius = 0.6 * (1 - 0.55 * np.abs(np.sin(2.5 * angle)) ** 0.9) * edge
    return 0.4 + radius * np.cos(angle), radius * np.sin(angle)


def leaflets(frames: np.ndarray, division: str) -> np.ndarray:
    """Frames of the leaflets of k compound leaves; [k * leaflets, 4]."""
    if division == "simple":
        return frames
    at, angle, size = _LEAFLETS[division].T  # each [m]
    x, y, direction, length = frames[:, :, None].transpose(1, 0, 2)  # each [k, 1]
    parts = [
        x + at * length * np.cos(direction),
        y + at * length * np.sin(direction),
        direction + angle,
        size * length,
    ]
    return np.stack(parts, axis=-1).reshape(-1, 4)


def draw_leaves(
    sketch: Sketch, frames: np.ndarray, look: Look, rng: np.random.Generator
) -> None:
    """Adds k leaves, the first behind; `frames` is [k, 4]."""
    if not len(frames):
        return
    traits = look.traits
    if traits.division != "simple":
        stalk = np.array([[0.0, 0.0], [0.88, 0.0]])
        sketch.add(Layer(place(stalk, frames), look.stem * 1.05, 0.011))
    frames = leaflets(frames, traits.division)
    k = len(frames)
    blade = outline(traits.leaf, traits.margin, traits.leaf_width * look.leaf_width)
    axis = np.stack([np.linspace(0, 1, _POINTS), np.zeros(_POINTS)], axis=-1)
    # A leaf turned away from the camera looks narrower.
    stretch = rng.uniform(0.62, 1.08, k)
    bend = rng.normal(0, look.leaf_bend, k)
    bodies = shades(rng, look.leaf, k, 0.2)
    # One half of the blade catches more light: it reads as a fold along the midrib.
    lit = np.concatenate([blade[:_POINTS], axis[::-1]])
    side = np.where(rng.random((k, 1)) < 0.7, 1.16, 0.84)
    sketch.add(
        Layer(place(blade, frames, stretch=stretch, bend=bend), bodies),
        Layer(
            place(lit, frames, stretch=stretch, bend=bend),
            np.clip(bodies * side + 4, 0, 255),
        ),
        Layer(
            place(_veins(blade), frames, stretch=stretch, bend=bend),
            0.55 * bodies + 0.45 * look.vein,
            0.012 * traits.leaf_size,
        ),
    )


def _veins(blade: np.ndarray) -> np.ndarray:
    """Midrib and side veins as one line that runs out and back; [m, 2]."""
    upper = blade[:_POINTS]
    points = [np.zeros(2)]
    for i in range(8, _POINTS - 6, 7):
        root = np.array([upper[i, 0] - 0.1, 0.0])
        tip = upper[i] * (1, 0.8)
        points += [root, tip, root, tip * (1, -1), root]
    return np.stack([*points, np.array([0.94, 0.0])])
