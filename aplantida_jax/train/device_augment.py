"""What happens to a batch on the device: colour, erasing, normalisation.

In: uint8 [b, h, w, 3]. Out: float32 [b, h, w, 3], normalised. Every image draws its own
parameters; all are applied inside the jitted step, where they cost next to nothing.
They come from the step's key, or from the image's own seed where its view is recorded.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

# Luma of Rec. 601, as torchvision and OpenCV use for saturation and contrast.
_LUMA = (0.299, 0.587, 0.114)


def to_unit(images: ArrayLike) -> jax.Array:
    """uint8 0..255 -> float32 0..1."""
    return jnp.asarray(images, jnp.float32) / 255.0


def normalise(images: jax.Array, *, mean: tuple, std: tuple) -> jax.Array:
    """RGB in 0..1 -> zero mean, unit deviation, with the dataset's constants."""
    return (images - jnp.asarray(mean)) / jnp.asarray(std)


def augment(rng: jax.Array, images: jax.Array, *, augment: Any) -> jax.Array:
    """Colour jitter and random erasing of images in 0..1.

    Args:
        rng: key.
        images: float32 [b, h, w, 3] in 0..1.
        augment: `config.augment`.

    Returns:
        float32 [b, h, w, 3] in 0..1.
    """
    return _changed(rng, images, augment)


def replay(seeds: jax.Array, images: jax.Array, *, augment: Any) -> jax.Array:
    """The same, with each image's own seed: whoever else is in the batch.

    Args:
        seeds: uint32 [b], one for each image; see `data.views`.
        images: float32 [b, h, w, 3] in 0..1.
        augment: `config.augment`.

    Returns:
        float32 [b, h, w, 3] in 0..1, each drawn as `augment` draws.
    """

    def one(seed: jax.Array, image: jax.Array) -> jax.Array:
        return _changed(jax.random.key(seed), image[None], augment)[0]

    return jax.vmap(one)(seeds, images)


def _changed(rng: jax.Array, images: jax.Array, augment: Any) -> jax.Array:
    rng_colour, rng_erase = jax.random.split(rng)
    images = _colour_jitter(rng_colour, images, augment)
    if augment.erasing > 0:
        images = _erase(rng_erase, images, augment)
    return images


def _colour_jitter(rng: jax.Array, images: jax.Array, augment: Any) -> jax.Array:
    keys = jax.random.split(rng, 4)
    luma = jnp.asarray(_LUMA)

    def factor(key: jax.Array, strength: float) -> jax.Array:
        low, high = max(0.0, 1 - strength), 1 + strength
        shape = (images.shape[0], 1, 1, 1)
        return jax.random.uniform(key, shape, minval=low, maxval=high)

    images = images * factor(keys[0], augment.brightness)
    mean_grey = (images @ luma).mean(axis=(1, 2))[:, None, None, None]
    images = mean_grey + (images - mean_grey) * factor(keys[1], augment.contrast)
    grey = (images @ luma)[..., None]
    images = grey + (images - grey) * factor(keys[2], augment.saturation)
    if augment.hue > 0:
        images = _rotate_hue(keys[3], images, augment.hue)
    return jnp.clip(images, 0.0, 1.0)


def _rotate_hue(rng: jax.Array, images: jax.Array, strength: float) -> jax.Array:
    """Turns colours around the grey axis by up to `strength` turns, either way.

    A rotation in the plane of equal R + G + B (Rodrigues' formula around (1, 1, 1)):
    linear, so it is one 3 x 3 product where a trip through HSV would branch.
    """
    turns = jax.random.uniform(
        rng, (images.shape[0],), minval=-strength, maxval=strength
    )
    cos, sin = jnp.cos(2 * jnp.pi * turns), jnp.sin(2 * jnp.pi * turns)
    identity = jnp.eye(3)
    average = jnp.full((3, 3), 1 / 3)
    cross = jnp.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / jnp.sqrt(3.0)
    matrix = (
        cos[:, None, None] * (identity - average) + average + sin[:, None, None] * cross
    )
    return jnp.einsum("bhwc,bdc->bhwd", images, matrix)


def _erase(rng: jax.Array, images: jax.Array, augment: Any) -> jax.Array:
    """Random erasing, Zhong et al. 2020: a box becomes the image's mean colour."""
    count, height, width = images.shape[:3]
    keys = jax.random.split(rng, 5)
    least, most = augment.erasing_area
    area = jax.random.uniform(keys[0], (count,), minval=least, maxval=most)
    flattest = jnp.log(augment.erasing_aspect)
    log_ratio = jax.random.uniform(keys[1], (count,), minval=flattest, maxval=-flattest)
    half_h = jnp.sqrt(area * jnp.exp(log_ratio)) * height / 2
    half_w = jnp.sqrt(area * jnp.exp(-log_ratio)) * width / 2
    centre_y = jax.random.uniform(keys[2], (count,)) * height
    centre_x = jax.random.uniform(keys[3], (count,)) * width
    in_y = jnp.abs(jnp.arange(height) + 0.5 - centre_y[:, None]) < half_h[:, None]
    in_x = jnp.abs(jnp.arange(width) + 0.5 - centre_x[:, None]) < half_w[:, None]
    chosen = jax.random.uniform(keys[4], (count, 1, 1)) < augment.erasing
    inside = (in_y[:, :, None] & in_x[:, None, :] & chosen)[..., None]
    return jnp.where(inside, images.mean(axis=(1, 2), keepdims=True), images)
