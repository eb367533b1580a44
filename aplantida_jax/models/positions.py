"""Position embeddings for images of another size.

A ViT's position embeddings are a grid of vectors; on images of another size the grid
has other sides, and is resized like a picture (Dosovitskiy et al. 2021, section 3.2).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from aplantida_jax.errors import UserError


def resample_positions(positions: np.ndarray, tokens: int) -> np.ndarray:
    """Position embeddings [1, 1 + n, d] for another square grid, [1, tokens, d].

    The class token's stays; the grid's are resized bicubically, with antialiasing when
    it shrinks.
    """
    old, new = math.isqrt(positions.shape[1] - 1), math.isqrt(tokens - 1)
    if (old * old, new * new) != (positions.shape[1] - 1, tokens - 1):
        raise UserError(
            f"position embeddings of {positions.shape[1]} tokens can't be resampled to "
            f"{tokens}: one of the grids is not square"
        )
    width = positions.shape[2]
    grid = jnp.asarray(positions[0, 1:], jnp.float32).reshape(old, old, width)
    grid = jax.image.resize(grid, (new, new, width), method="cubic", antialias=True)
    rest = np.asarray(grid).reshape(1, tokens - 1, width)
    return np.concatenate([positions[:, :1], rest], axis=1)
