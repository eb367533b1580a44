"""3x3 convolutions [b, h, w, in] -> [b, h / stride, w / stride, c], full and depthwise.

XLA's grouped convolution is right on accelerators and many times too slow on a CPU.
There `shifted_depthwise` gives the same result as nine multiply-adds over shifted
views, with a gradient of its own: what JAX derives from the views scatters the input's
at stride 2, and sums the kernel's in the slow way that channelwise.py tells of.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from aplantida_jax.models.channelwise import channel_sum

Pads = tuple[tuple[int, int], tuple[int, int]]  # rows above, below; columns left, right


def spatial_padding(shape: tuple[int, ...], stride: int, padding: str) -> Pads:
    """Rows and columns of zeros for a 3x3 window over [b, h, w, c].

    "torch" adds one on each side. "tf" (SAME) adds what the windows need, the odd one
    below and right: none and one at stride 2 over an even size.
    """
    if padding == "torch" or stride == 1:
        return ((1, 1), (1, 1))
    totals = [max((-(-n // stride) - 1) * stride + 3 - n, 0) for n in shape[1:3]]
    return (
        (totals[0] // 2, totals[0] - totals[0] // 2),
        (totals[1] // 2, totals[1] - totals[1] // 2),
    )


def convolution(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: str, groups: int = 1
) -> jax.Array:
    """3x3 convolution; `groups` is 1, or c for a depthwise one.

    Args:
        x: [b, h, w, in].
        kernel: [3, 3, in / groups, c].
        stride: 1 or 2.
        padding: "tf" or "torch", see `spatial_padding`.
        groups: `feature_group_count`.
    """
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=spatial_padding(x.shape, stride, padding),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def shifted_depthwise(
    x: jax.Array, kernel: jax.Array, stride: int, padding: str
) -> jax.Array:
    """`convolution` of x [b, h, w, c], kernel [3, 3, 1, c], with groups = c."""
    return _correlate(_pad(x, stride, padding), kernel, stride)


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = _correlate(_pad(x, stride, padding), kernel, stride)
    return _stored(y, kernel), (x, kernel)


def _backward(
    stride: int,
    padding: str,
    residuals: tuple[jax.Array, jax.Array],
    cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    cotangent = _stored(cotangent, kernel)
    padded = _pad(x, stride, padding)
    sums = [
        channel_sum(_view(padded, i, j, stride, cotangent.shape) * cotangent)
        for i in range(3)
        for j in range(3)
    ]
    kernel_gradient = jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)
    # The transpose: spread the cotangent out, and correlate with the turned kernel.
    dilated = _dilate(cotangent, x.shape, stride, padding)
    return _stored(_correlate(dilated, kernel[::-1, ::-1], 1), kernel), kernel_gradient


shifted_depthwise.defvjp(_forward, _backward)


def _stored(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x, written to memory before anything reads it.

    XLA on a CPU fuses what it takes for cheap into all its readers, so that the nine
    products of an output are calculated again for each of BatchNorm's sums, and all of
    BatchNorm's gradient for each tap of this one; and it drops
    `lax.optimization_barrier` before it fuses. The state of a loop it can't fuse. This
    loop has no steps, which is not known before it runs; it costs nothing, and the
    training step is 1.5 times as fast.
    """
    steps = jnp.isnan(jnp.nan_to_num(kernel[0, 0, 0, 0])).astype(jnp.int32)  # 0
    return lax.while_loop(
        lambda state: state[0] < steps,
        lambda state: (state[0] + 1, -state[1]),
        (jnp.zeros((), jnp.int32), x),
    )[1]


def _pad(x: jax.Array, stride: int, padding: str) -> jax.Array:
    return jnp.pad(x, ((0, 0), *spatial_padding(x.shape, stride, padding), (0, 0)))


def _dilate(
    cotangent: jax.Array, shape: tuple[int, ...], stride: int, padding: str
) -> jax.Array:
    """Zeros between and around, so that a 3x3 window at stride 1 gives `shape`."""
    config = [(0, 0, 0)]
    pads = spatial_padding(shape, stride, padding)
    for outputs, inputs, (low, _) in zip(
        cotangent.shape[1:3], shape[1:3], pads, strict=True
    ):
        before = 2 - low
        after = inputs + 2 - before - ((outputs - 1) * stride + 1)
        config.append((before, after, stride - 1))
    return lax.pad(cotangent, jnp.zeros((), cotangent.dtype), [*config, (0, 0, 0)])


def _correlate(padded: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Nine multiply-adds; padded is [b, h, w, c] with its rows and columns of zeros."""
    b, h, w, c = padded.shape
    shape = (b, (h - 3) // stride + 1, (w - 3) // stride + 1, c)
    total = jnp.zeros((), padded.dtype)
    for i in range(3):
        for j in range(3):
            total = total + _view(padded, i, j, stride, shape) * kernel[i, j, 0]
    return total


def _view(
    padded: jax.Array, i: int, j: int, stride: int, shape: tuple[int, ...]
) -> jax.Array:
    """What tap (i, j) of the kernel meets at each position of an output of `shape`."""
    # Not by indexing: with a step, that is a gather, which is slow and never fused.
    return lax.slice(
        padded,
        (0, i, j, 0),
        (
            shape[0],
            i + stride * (shape[1] - 1) + 1,
            j + stride * (shape[2] - 1) + 1,
            shape[3],
        ),
        (1, stride, stride, 1),
    )
