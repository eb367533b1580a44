"""How plants grow: where the stems, leaves and flowers of an individual are."""

import dataclasses

import numpy as np

from aplantida_jax.demo.look import Look
from aplantida_jax.demo.sketch import curve, on_stem

_UP = np.pi / 2
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """The plan of one plant.

    Attributes:
        stems: each [m, 2], thick ones first.
        stem_width: of the stems, in plant heights.
        leaves: frames, [k, 4], the hindmost first.
        flowers: frames, [f, 4]; the size is the flower's diameter, the angle the
            direction of its stalk.
    """

    stems: list[np.ndarray]
    stem_width: float
    leaves: np.ndarray
    flowers: np.ndarray


def grow(look: Look, rng: np.random.Generator) -> Skeleton:
    """Grows an individual, about 1 high, from the origin."""
    return _HABITS[look.traits.habit](look, rng)


def _upright(look: Look, rng: np.random.Generator) -> Skeleton:
    stems, leaves, flowers = [], [], []
    for _ in range(_count(rng, 1.6 * look.vigour, 1, 3)):
        lean = _UP + rng.normal(0, 0.16)
        foot = np.array([rng.normal(0, 0.05), 0.0, lean, rng.uniform(0.7, 1.0)])
        stem = curve(foot, rng.normal(0, 0.1))
        stems.append(stem)
        nodes = _count(rng, 6 * look.vigour, 4, 9)
        leaves.append(_leaves_along(stem, look, rng, nodes, start=0.06, stop=0.72))
        flowers.append(_flowers_on_top(stem, look, rng))
    return Skeleton(stems, 0.02, np.concatenate(leaves), np.concatenate(flowers))


def _flowers_on_top(
    stem: np.ndarray, look: Look, rng: np.random.Generator
) -> np.ndarray:
    """One flower at the tip; bells and spikes also lower down; [f, 4]."""
    if look.traits.flower == "bells":
        sites = on_stem(stem, np.linspace(1.0, 0.6, _count(rng, 4 * look.vigour, 2, 6)))
        side = np.where(np.arange(len(sites)) % 2, 1.0, -1.0)
        sites[1:, 2] += side[1:] * rng.uniform(0.6, 1.1, len(sites) - 1)
    else:
        sites = on_stem(stem, np.array([1.0]))
    sites[:, 3] = look.traits.flower_size * look.flower_size
    sites[:, 3] *= rng.uniform(0.85, 1.1, len(sites))
    return sites


def _branching(look: Look, rng: np.random.Generator) -> Skeleton:
    trunk = curve(np.array([0.0, 0.0, _UP + rng.normal(0, 0.1), 0.85]), 0.05)
    stems = [trunk]
    branches = _count(rng, 4 * look.vigour, 2, 6)
    roots = on_stem(trunk, np.linspace(0.25, 0.8, branches))
    roots[:, 2] += np.where(np.arange(branches) % 2, 1, -1) * rng.uniform(
        0.4, 0.9, branches
    )
    roots[:, 3] = rng.uniform(0.4, 0.65, branches)
    stems += [curve(root, rng.normal(0, 0.12)) for root in roots]
    leaves = [_leaves_along(trunk, look, rng, 3, start=0.1, stop=0.85)]
    leaves += [
        _leaves_along(stem, look, rng, 2, start=0.25, stop=0.8) for stem in stems[1:]
    ]
    flowers = np.concatenate([_flowers_on_top(stem, look, rng) for stem in stems])
    return Skeleton(stems, 0.024, np.concatenate(leaves), flowers)


def _rosette(look: Look, rng: np.random.Generator) -> Skeleton:
    count = _count(rng, 11 * look.vigour, 6, 16)
    if look.traits.division != "simple":
        count = max(5, count * 2 // 3)
    angle = np.arange(count) * _GOLDEN_ANGLE + rng.uniform(0, 6.3)
    # Seen from the side the circle of leaves is flat; the far ones come first.
    tilt = rng.uniform(0.35, 1.0)
    x, y = np.cos(angle), np.sin(angle) * tilt
    length = look.traits.leaf_size * rng.uniform(0.75, 1.1, count) * np.hypot(x, y)
    rise = 0.35 * (1 - tilt)  # leaves that stand up rather than lie
    zero = np.zeros(count)
    leaves = np.stack([zero, zero, np.arctan2(y + rise, x), length], axis=-1)
    leaves = leaves[np.argsort(-leaves[:, 2] % (2 * np.pi) > np.pi, kind="stable")]
    scapes = _count(rng, 3 * look.vigour, 1, 5)
    feet = np.zeros((scapes, 4))
    feet[:, 2] = _UP + rng.normal(0, 0.42, scapes)
    feet[:, 3] = rng.uniform(0.55, 0.95, scapes)
    stems = [curve(foot, rng.normal(0, 0.08)) for foot in feet]
    flowers = np.concatenate([_flowers_on_top(stem, look, rng) for stem in stems])
    return Skeleton(stems, 0.015, leaves, flowers)


def _grass(look: Look, rng: np.random.Generator) -> Skeleton:
    count = _count(rng, 20 * look.vigour, 10, 30)
    spread = rng.normal(0, 0.42, count)
    leaves = np.stack(
        [
            rng.normal(0, 0.05, count),
            np.zeros(count),
            _UP + spread,
            look.traits.leaf_size * rng.uniform(0.6, 1.15, count),
        ],
        axis=-1,
    )
    culms = _count(rng, 4.5 * look.vigour, 3, 7)
    feet = np.zeros((culms, 4))
    feet[:, 2] = _UP + rng.normal(0, 0.2, culms)
    feet[:, 3] = rng.uniform(0.75, 1.0, culms)
    stems = [curve(foot, rng.normal(0, 0.1)) for foot in feet]
    flowers = np.concatenate([_flowers_on_top(stem, look, rng) for stem in stems])
    return Skeleton(stems, 0.009, leaves, flowers)


def _climbing(look: Look, rng: np.random.Generator) -> Skeleton:
    stems, leaves, flowers = [], [], []
    for _ in range(_count(rng, 1.5, 1, 2)):
        foot = np.array([rng.normal(-0.2, 0.15), 0.0, rng.uniform(0.7, 1.4), 1.25])
        stem = curve(foot, rng.normal(0, 0.2), points=24)
        # The shoot winds from side to side around an unseen support.
        wave = np.sin(np.linspace(0, rng.uniform(8, 13), 24))
        stem = stem + np.stack([wave, -0.5 * wave], axis=-1) * 0.035
        stems.append(stem)
        nodes = _count(rng, 9 * look.vigour, 6, 12)
        leaves.append(_leaves_along(stem, look, rng, nodes, start=0.03, stop=0.97))
        sites = on_stem(stem, rng.uniform(0.12, 0.97, _count(rng, 4, 2, 6)))
        sites[:, 2] = rng.uniform(0, 2 * np.pi, len(sites))
        sites[:, 0] += 0.08 * np.cos(sites[:, 2])
        sites[:, 1] += 0.08 * np.sin(sites[:, 2])
        sites[:, 3] = look.traits.flower_size * look.flower_size
        flowers.append(sites)
    return Skeleton(stems, 0.014, np.concatenate(leaves), np.concatenate(flowers))


def _leaves_along(
    stem: np.ndarray,
    look: Look,
    rng: np.random.Generator,
    nodes: int,
    *,
    start: float,
    stop: float,
) -> np.ndarray:
    """Leaves at the nodes of a stem, smaller towards its tip; [k, 4]."""
    pair = 2 if look.traits.opposite else 1
    at = np.repeat(np.linspace(start, stop, nodes), pair)
    frames = on_stem(stem, at)
    side = np.where(np.arange(len(at)) % 2, 1.0, -1.0)
    frames[:, 2] += side * rng.uniform(0.6, 1.15, len(at))
    frames[:, 3] = look.traits.leaf_size * (1.1 - 0.5 * at)
    frames[:, 3] *= rng.uniform(0.8, 1.15, len(at))
    return frames


def _count(rng: np.random.Generator, mean: float, least: int, most: int) -> int:
    return int(np.clip(round(rng.normal(mean, 0.2 * mean)), least, most))


_HABITS = {
    "upright": _upright,
    "branching": _branching,
    "rosette": _rosette,
    "grass": _grass,
    "climbing": _climbing,
}
