"""One photo of one invented plant: individual, camera, scene, light and lens.

The same arguments give the same pixels. Photos of one observation show one individual
in one place, from another side, distance and in other light.
"""

import dataclasses

import cv2
import numpy as np

from aplantida_jax.demo import scenery
from aplantida_jax.demo.flowers import draw_flowers
from aplantida_jax.demo.habits import Skeleton, grow
from aplantida_jax.demo.leaves import draw_leaves
from aplantida_jax.demo.look import Look, individual
from aplantida_jax.demo.sketch import Layer, Sketch, paint
from aplantida_jax.demo.traits import Traits

# Part of every picture's file name: raise it when the drawing changes.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class _Plant:
    """An individual, ready to be photographed."""

    look: Look
    skeleton: Skeleton
    sketch: Sketch


def draw(
    traits: Traits,
    *,
    seed: int,
    species: int,
    observation: int,
    photo: int,
    image_size: int,
) -> np.ndarray:
    """Draws one photo.

    Args:
        traits: of the species.
        seed: of the collection.
        species: number of the species.
        observation: number of the individual within the species.
        photo: number of the photo within the observation, from 1.
        image_size: typical short side in pixels.

    Returns:
        uint8 RGB [h, w, 3]; the short side is within 0.86 to 1.15 of `image_size`.
    """
    if photo < 1:
        # Photo 0 is the random stream of what the observation's photos share.
        raise ValueError(f"photo is {photo}, they count from 1")
    place = np.random.default_rng([seed, species, observation, 0])
    rng = np.random.default_rng([seed, species, observation, photo])
    plant = _grow(traits, place)
    kind = scenery.KINDS[place.integers(len(scenery.KINDS))]
    height, width = _frame(rng, image_size)
    ground = scenery.background(kind, height, width, place, rng)
    layer = np.zeros((height, width, 4), np.uint8)
    paint(layer, plant.sketch, _camera(plant, height, width, rng))
    image = _compose(ground, layer, _shadow(kind, rng), rng)
    if rng.random() < 0.4 and kind != "paper":
        image = _occlude(image, rng)
    return _expose(image, rng)


def _grow(traits: Traits, rng: np.random.Generator) -> _Plant:
    look = individual(traits, rng)
    skeleton = grow(look, rng)
    sketch = Sketch()
    if traits.habit == "rosette":  # scapes rise in front of the leaves
        draw_leaves(sketch, skeleton.leaves, look, rng)
    for stem in skeleton.stems:
        sketch.add(Layer(stem[None], look.stem, skeleton.stem_width))
    if traits.habit != "rosette":
        draw_leaves(sketch, skeleton.leaves, look, rng)
    draw_flowers(sketch, skeleton.flowers, look, rng)
    return _Plant(look, skeleton, sketch)


def _frame(rng: np.random.Generator, image_size: int) -> tuple[int, int]:
    """Height and width of the picture."""
    short = round(image_size * rng.uniform(0.86, 1.15))
    long = round(short * rng.choice([1.0, 1.25, 4 / 3]))
    return (short, long) if rng.random() < 0.5 else (long, short)


def _camera(
    plant: _Plant, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """Plant coordinates -> pixels, [2, 3]: the whole plant, a flower or a leaf."""
    short = min(height, width)
    flowers, leaves = plant.skeleton.flowers, plant.skeleton.leaves
    chance = rng.random()
    if chance < 0.2 and len(flowers) and plant.look.season != "leaf":
        focus = flowers[rng.integers(len(flowers))]
        target, scale = focus[:2], short * rng.uniform(0.4, 0.7) / max(focus[3], 0.2)
    elif chance < 0.27:
        focus = leaves[rng.integers(len(leaves))]
        target, scale = focus[:2], short * rng.uniform(0.5, 0.8) / max(focus[3], 0.2)
    else:
        low, high = _bounds(plant.sketch)
        target = (low + high) / 2
        scale = float(np.min((width, height) / (high - low)))
        scale *= rng.uniform(0.55, 0.75) if chance > 0.93 else rng.uniform(0.85, 1.25)
    turn = rng.normal(0, 0.16)
    across = (
        scale * rng.uniform(0.9, 1.1) * rng.choice([-1, 1])
    )  # mirrored half the time
    # Pixels count downwards: the second column turns y over.
    linear = np.array(
        [
            [across * np.cos(turn), scale * np.sin(turn)],
            [across * np.sin(turn), -scale * np.cos(turn)],
        ]
    )
    centre = rng.uniform(0.34, 0.66, 2) * (width, height)
    return np.concatenate([linear, (centre - linear @ target)[:, None]], axis=1)


def _bounds(sketch: Sketch) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates of a sketch; each [2]."""
    boxes = [
        (layer.points.min(axis=(0, 1)), layer.points.max(axis=(0, 1)))
        for stack in sketch.stacks
        for layer in stack[:1]
    ]
    low, high = zip(*boxes, strict=True)
    return np.min(low, axis=0), np.max(high, axis=0)


def _shadow(kind: str, rng: np.random.Generator) -> float:
    """How dark the plant's shadow is; there is nothing for it to fall on in the sky."""
    return 0.0 if kind == "sky" else rng.uniform(0.25, 0.6)


def _compose(
    ground: np.ndarray, layer: np.ndarray, shadow: float, rng: np.random.Generator
) -> np.ndarray:
    """The plant's layer (uint8 [h, w, 4], premultiplied) over the ground; float32."""
    height, width = ground.shape[:2]
    alpha = layer[..., 3].astype(np.float32) * np.float32(1 / 255)
    shift = np.array([[1, 0, 0.03 * height], [0, 1, 0.03 * height]])
    cast = cv2.warpAffine(alpha, shift, (width, height))
    cast = cv2.GaussianBlur(cast, (0, 0), 0.02 * height)
    light = (1 - alpha) * (1 - np.float32(shadow) * cast)
    # Patches of light and dark, so that leaves don't look cut out of paper.
    texture = scenery.clouds(rng, height, width, 0.022 * height)
    texture += scenery.clouds(rng, height, width, 0.15 * height)
    texture = 0.72 + 0.28 * texture
    return layer[..., :3] * texture[..., None] + ground * light[..., None]


def _occlude(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blades of grass before the plant, out of focus."""
    veil = np.zeros((*image.shape[:2], 4), np.uint8)
    green = rng.uniform((70, 100, 40), (130, 160, 80))
    scenery.blades(veil, rng, green, int(rng.integers(2, 9)))
    sigma = rng.uniform(0.004, 0.014) * image.shape[0]
    blurred = cv2.GaussianBlur(veil, (0, 0), sigma).astype(np.float32)
    return image * (1 - blurred[..., 3:] / 255) + blurred[..., :3]


def _expose(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, lens and sensor: float32 [h, w, 3] -> uint8."""
    height, width = image.shape[:2]
    # Brightness, colour temperature, a gradient, a vignette: all vary slowly, so they
    # are made small and enlarged.
    line = np.linspace(-1, 1, 16, dtype=np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    direction = rng.uniform(0, 2 * np.pi)
    slope = np.cos(direction) * x + np.sin(direction) * y
    light = rng.uniform(0.78, 1.2) * (1 + rng.uniform(0, 0.28) * slope)
    light = light * (1 - rng.uniform(0, 0.22) * (x**2 + y**2))
    warmth = rng.normal(0, 0.05)
    tint = np.array([1 + warmth, 1 + rng.normal(0, 0.02), 1 - warmth])
    gain = (light[..., None] * tint).astype(np.float32)
    image = image * cv2.resize(gain, (width, height))
    blur = rng.uniform(0.0, 0.006) * height
    if blur > 0.4:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    # Uniform bytes are ten times faster to draw than normal numbers.
    noise = np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width, 1)
    image += (noise.astype(np.float32) - 127.5) * np.float32(rng.uniform(0.02, 0.09))
    return np.clip(image, 0, 255).astype(np.uint8)
