"""Flowers and fruits: one painter per kind, all with the same signature.

A painter adds to `sketch` what stands at `site`, a frame [4] whose size is the flower's
diameter in plant heights and whose angle is the direction of the stalk.
"""

import numpy as np
from numpy.random import Generator

from aplantida_jax.demo.look import Look
from aplantida_jax.demo.sketch import Layer, Sketch, place, shades

_T = np.linspace(0, 1, 10)
# Petal -> half width over length at _T.
_PETALS = {
    "narrow": 0.15 * np.sin(np.pi * _T**1.4) ** 0.6,
    "broad": 0.36 * np.sin(np.pi * _T**1.6) ** 0.7,
    "notched": 0.44 * np.sin(np.pi * _T**1.9) ** 0.6,
    "pointed": 0.24 * np.sin(np.pi * _T**0.9),
}
_DARK = np.array([60.0, 48.0, 24.0])


def draw_flowers(sketch: Sketch, sites: np.ndarray, look: Look, rng: Generator) -> None:
    """Adds all flowers or fruits of an individual; `sites` is [f, 4]."""
    if look.season == "leaf":
        return
    painter = _FRUITS if look.season == "fruit" else _FLOWERS
    kind = look.traits.fruit if look.season == "fruit" else look.traits.flower
    for site in sites:
        painter[kind](sketch, site, look, rng)


def _petal(kind: str) -> np.ndarray:
    """Outline of one petal, of unit length along x; [20, 2]."""
    upper = np.stack([_T, _PETALS[kind]], axis=-1)
    if kind == "notched":
        upper[-1] = 0.86, 0.0
    return np.concatenate([upper, upper[::-1] * (1, -1)])


def _ring(
    site: np.ndarray, outline: np.ndarray, angles: np.ndarray, scale: float, tilt: float
) -> np.ndarray:
    """Petals around a centre, seen at a tilt (1 is face-on); [p, n, 2]."""
    zero = np.zeros_like(angles)
    radius = np.full_like(angles, scale * site[3] / 2)
    petals = place(outline, np.stack([zero, zero, angles, radius], axis=-1))
    return _tilted(petals, site, tilt)


def _tilted(points: np.ndarray, site: np.ndarray, tilt: float) -> np.ndarray:
    """Squashes points around a site along its stalk and moves them there."""
    axis = np.array([np.cos(site[2]), np.sin(site[2])])
    along = points @ axis
    return points - (1 - tilt) * along[..., None] * axis + site[:2]


def _turn(count: int, rng: Generator) -> np.ndarray:
    """Angles of `count` petals, nearly even; [count]."""
    even = np.arange(count) * 2 * np.pi / count + rng.uniform(0, 6.3)
    return even + rng.normal(0, 0.05, count)


def _disc(
    sketch: Sketch, site: np.ndarray, look: Look, width: float, rng: Generator
) -> None:
    """The centre of a flower: a dot with grains."""
    grains = site[:2] + rng.normal(0, 0.15 * width, (7, 1, 2))
    sketch.add(Layer(site[None, None, :2], look.centre * 0.82, width))
    sketch.add(Layer(grains, shades(rng, look.centre, 7, 0.3), width * 0.22))


def _rays(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    tilt = rng.uniform(0.5, 1.0)
    # Rays close the ring, whatever their number.
    outline = _petal(look.traits.petal) * (1, min(1.7, 13 / look.petals) ** 0.5)
    petals = _ring(site, outline, _turn(look.petals, rng), 1.0, tilt)
    sketch.add(Layer(petals, shades(rng, look.petal, look.petals, 0.1)))
    _disc(sketch, site, look, 0.34 * site[3], rng)


def _petals(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    tilt = rng.uniform(0.55, 1.0)
    angles = _turn(look.petals, rng)
    petals = _ring(site, _petal(look.traits.petal), angles, 1.0, tilt)
    fold = np.array([[0.2, 0.0], [0.8, 0.0]])
    colours = shades(rng, look.petal, look.petals, 0.08)
    sketch.add(
        Layer(petals, colours),
        Layer(_ring(site, fold, angles, 1.0, tilt), colours * 0.84, 0.012 * site[3]),
    )
    if look.traits.spots:
        spots = np.stack([rng.uniform(0.3, 0.7, 3), rng.normal(0, 0.08, 3)], axis=-1)
        spots = _ring(site, spots, angles, 1.0, tilt).reshape(-1, 1, 2)
        sketch.add(Layer(spots, look.centre, 0.035 * site[3]))
    stamens = np.array([[0.0, 0.0], [0.34, 0.0]])
    lines = _ring(site, stamens, _turn(7, rng), 1.0, tilt)
    sketch.add(Layer(lines, look.centre, 0.02 * site[3]))
    _disc(sketch, site, look, 0.2 * site[3], rng)


def _bells(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    size = site[3]
    stalk = site[:2] + 0.4 * size * np.array([np.cos(site[2]), np.sin(site[2])])
    sketch.add(Layer(np.stack([site[:2], stalk])[None], look.stem, 0.01))
    t = np.linspace(0, 1, 9)
    width = 0.08 + 0.3 * np.sin(np.pi * 0.6 * t) ** 0.6 + 0.16 * t**6
    mouth = np.array([[1.14, 0.5], [0.96, 0.24], [1.2, 0.0], [0.96, -0.24]])
    side = np.stack([t, width], axis=-1)
    bell = np.concatenate([side, mouth, [[1.14, -0.5]], side[::-1] * (1, -1)])
    frame = np.array([[*stalk, -np.pi / 2 + rng.normal(0, 0.3), size * 0.95]])
    ribs = np.array([[0.1, 0.0], [0.6, 0.1], [0.95, 0.12]])
    colour = shades(rng, look.petal, 1, 0.1)
    sketch.add(
        Layer(place(bell, frame), colour),
        Layer(
            place(np.concatenate([side, side[::-1] * (1, 0.2)]), frame), colour * 0.86
        ),
        Layer(place(ribs, frame), colour * 0.72, 0.012 * size * 3),
    )


def _umbel(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    rays = 13
    fan = np.linspace(-1.0, 1.0, rays) + rng.normal(0, 0.04, rays)
    angle = site[2] + fan
    length = site[3] * (0.62 - 0.1 * np.abs(fan)) * rng.uniform(0.85, 1.1, rays)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    ends = site[:2] + direction * length[:, None] * (1.0, 0.9)
    lines = np.stack([np.broadcast_to(site[:2], ends.shape), ends], axis=1)
    sketch.add(Layer(lines, look.stem, 0.007))
    florets = ends[:, None] + rng.normal(0, 0.055 * site[3], (rays, 9, 2))
    florets = florets.reshape(-1, 1, 2)
    colours = shades(rng, look.petal, len(florets), 0.13)
    sketch.add(
        Layer(florets + (0.006, -0.012), look.leaf * 0.9, 0.07 * site[3]),
        Layer(florets, colours, 0.075 * site[3]),
    )


def _spike(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    """Florets in a column below and above the site, its size the column's width."""
    rows, size = 15, site[3]
    at = np.repeat(np.linspace(-0.32, 0.08, rows), 3)
    taper = 1.05 - 0.62 * (at + 0.32) / 0.4
    across = np.tile([-0.28, 0.28, 0.0], rows) * taper * size
    axis = np.array([np.cos(site[2]), np.sin(site[2])])
    normal = np.array([-axis[1], axis[0]])
    centres = site[:2] + at[:, None] * axis + across[:, None] * normal
    angle = site[2] - np.tile([-1.0, 1.0, 0.0], rows) + rng.normal(0, 0.2, len(at))
    frames = np.concatenate(
        [centres, angle[:, None], (0.42 * taper * size)[:, None]], axis=1
    )
    colours = shades(rng, look.petal, len(at), 0.16)
    throat = centres[:, None] + 0.12 * size * axis
    sketch.add(
        Layer(place(_petal("broad"), frames), colours),
        Layer(throat, colours * 0.7, 0.1 * size),
    )


def _panicle(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    count = 22
    at = rng.uniform(-0.3, 0.06, count)
    axis = np.array([np.cos(site[2]), np.sin(site[2])])
    roots = site[:2] + at[:, None] * axis
    angle = site[2] + rng.choice([-1, 1], count) * rng.uniform(0.2, 0.9, count)
    length = site[3] * (0.45 - 0.6 * (at + 0.1)) * rng.uniform(0.4, 0.8, count)
    ends = roots + np.stack([np.cos(angle), np.sin(angle)], axis=-1) * length[:, None]
    sketch.add(Layer(np.stack([roots, ends], axis=1), look.stem, 0.004))
    droop = angle * 0.6 + rng.normal(-0.2, 0.2, count)
    size = np.full(count, 0.2 * site[3])
    frames = np.stack([ends[:, 0], ends[:, 1], droop, size], axis=-1)
    spikelets = place(_petal("pointed"), frames)
    sketch.add(Layer(spikelets, shades(rng, look.petal, count, 0.2)))


def _globe(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    for scale, blend in ((1.0, 0.0), (0.72, 0.3), (0.44, 0.65)):
        colour = (1 - blend) * look.petal + blend * look.centre
        petals = _ring(site, _petal("narrow"), _turn(look.petals, rng), scale, 0.92)
        sketch.add(Layer(petals, shades(rng, colour, look.petals, 0.16)))


def _trumpet(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    tilt = rng.uniform(0.55, 1.0)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 0.92 + 0.08 * np.cos(look.petals * angle)
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    turn = np.array([rng.uniform(0, 6.3)])
    star = np.stack([_T, 0.14 * (1 - _T)], axis=-1)
    star = np.concatenate([star, star[::-1] * (1, -1)])
    pale = 0.5 * look.petal + 0.5 * look.centre
    points = turn + np.arange(look.petals) * 2 * np.pi / look.petals
    sketch.add(
        Layer(_ring(site, disc, turn, 1.0, tilt), shades(rng, look.petal, 1, 0.1))
    )
    sketch.add(Layer(_ring(site, star, points, 0.86, tilt), pale))
    sketch.add(Layer(_ring(site, disc, turn, 0.34, tilt), look.centre))
    sketch.add(
        Layer(_ring(site, disc, turn, 0.14, tilt), look.centre * 0.5 + _DARK / 2)
    )


def _thistle(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    size, count = site[3], 34
    angle = site[2] + np.linspace(-0.85, 0.85, count) + rng.normal(0, 0.06, count)
    length = size * rng.uniform(0.5, 0.68, count)
    column = np.ones(count)
    frames = np.stack([column * site[0], column * site[1], angle, length], axis=-1)
    tuft = place(_petal("narrow") * (1, 0.5), frames[rng.permutation(count)])
    sketch.add(Layer(tuft, shades(rng, look.petal, count, 0.2)))
    axis = np.array([np.cos(site[2]), np.sin(site[2])])
    base = site[:2] - 0.02 * size * axis
    sketch.add(Layer(base[None, None], look.centre * 0.8, 0.52 * size))
    spines = np.stack([column[:16] * base[0], column[:16] * base[1]], axis=-1)
    directions = np.linspace(0, 2 * np.pi, 16)[:, None]
    spines = np.concatenate([spines, directions, np.full((16, 1), 0.38 * size)], axis=1)
    bracts = place(_petal("pointed") * (1, 0.5), spines)
    lower = np.cos(directions[:, 0] - site[2]) < 0.5
    sketch.add(Layer(bracts[lower], shades(rng, look.centre, int(lower.sum()), 0.25)))


def _nothing(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    """Nothing shows: the plant has no flowers to speak of."""


def _berries(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    count = 6
    centres = site[:2] + rng.normal(0, 0.045, (count, 1, 2))
    colours = shades(rng, look.fruit, count, 0.15)
    glint = np.clip(colours + 110, 0, 255)
    sketch.add(
        Layer(centres, colours, 0.07),
        Layer(centres + (-0.012, 0.014), glint, 0.014),
    )


def _pods(sketch: Sketch, site: np.ndarray, look: Look, rng: Generator) -> None:
    count = 7
    angle = site[2] + np.linspace(-1.1, 1.1, count) + rng.normal(0, 0.1, count)
    column = np.ones(count)
    frames = np.stack(
        [column * site[0], column * site[1], angle, column * 0.2], axis=-1
    )
    pods = place(_petal("pointed") * (1, 0.7), frames)
    sketch.add(Layer(pods, shades(rng, look.fruit, count, 0.15)))


_FLOWERS = {
    "rays": _rays,
    "petals": _petals,
    "bells": _bells,
    "umbel": _umbel,
    "spike": _spike,
    "panicle": _panicle,
    "globe": _globe,
    "trumpet": _trumpet,
    "thistle": _thistle,
    "none": _nothing,
}
_FRUITS = {"berries": _berries, "pods": _pods, "none": _nothing}
