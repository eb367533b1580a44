"""Sums and scales per channel of float [b, h, w, c], and BatchNorm made of them.

XLA on a CPU sums [b, h, w, c] over its first three axes on one thread, without vector
instructions, and calculates what is summed again for every sum. In two steps, first
over w and with the [b, h, c] between them stored, the same sum takes a third to a tenth
of the time. BatchNorm's statistics are such sums, and so are the gradients of whatever
is broadcast to all positions: most of a training step, otherwise. On accelerators the
plain form is right, and is what runs there.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


def channel_sum(x: jax.Array) -> jax.Array:
    """[b, h, w, c] -> float32 [c], the sum over all positions of all images."""
    x = x.astype(jnp.float32)
    if jax.default_backend() != "cpu":
        return jnp.sum(x, axis=(0, 1, 2))
    # Without the barrier XLA merges the two sums into the slow one.
    return jnp.sum(lax.optimization_barrier(jnp.sum(x, axis=2)), axis=(0, 1))


def spread(values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[c] -> [b, h, w, c]; a broadcast whose gradient is a `channel_sum`."""
    if jax.default_backend() != "cpu":
        return jnp.broadcast_to(values, shape)
    rows = jnp.broadcast_to(values, (*shape[:2], 1, shape[3]))
    return jnp.broadcast_to(lax.optimization_barrier(rows), shape)


class BatchNorm(nn.Module):
    """Ioffe and Szegedy 2015, in float32 whatever the dtype of its input and output.

    Parameters `scale`, `bias` [c]; running statistics `mean`, `var` [c] in
    "batch_stats", var the biased one, as in flax.linen.BatchNorm.

    Attributes:
        epsilon: added to the variance.
        momentum: what the running statistics keep of themselves in a step.
        initial_scale: of every channel.
        frozen: regex over parameter paths, "" matches none. A norm all of whose
            parameters it matches uses its running statistics in training too, and
            keeps them, as Keras' does with trainable=False.
    """

    epsilon: float
    momentum: float
    initial_scale: float = 1.0
    frozen: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        initial = nn.initializers.constant(self.initial_scale)
        scale = self.param("scale", initial, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if not train:
            factor = scale * lax.rsqrt(var.value + self.epsilon)  # [c]
            y = x.astype(jnp.float32) * factor + (bias - mean.value * factor)
            return y.astype(x.dtype)
        used_mean, used_var = mean.value, var.value
        if not self._is_frozen():
            used_mean, used_var = _moments(x)
            if not self.is_initializing():
                mean.value += (1 - self.momentum) * (used_mean - mean.value)
                var.value += (1 - self.momentum) * (used_var - var.value)
        factor = scale * lax.rsqrt(used_var + self.epsilon)  # [c]
        offset = bias - used_mean * factor  # [c]
        y = x.astype(jnp.float32) * spread(factor, x.shape) + spread(offset, x.shape)
        return y.astype(x.dtype)

    def _is_frozen(self) -> bool:
        if not self.frozen:
            return False
        names = ("/".join((*self.path, leaf)) for leaf in ("scale", "bias"))
        return all(re.search(self.frozen, name) for name in names)


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of each channel, float32 [c]."""
    count = x.size // x.shape[-1]
    x = x.astype(jnp.float32)
    mean = channel_sum(x) / count
    # Rounding can take the difference below zero where a channel is constant.
    return mean, jnp.maximum(channel_sum(x * x) / count - mean * mean, 0.0)
