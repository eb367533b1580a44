"""Softmax attention [b, n, heads, d], by XLA or by cuDNN's fused kernels.

`jax.nn.dot_product_attention` left to itself is XLA's everywhere, which stores the
scores [b, heads, n, n] for the backward pass: at 577 tokens most of a ViT's memory.
cuDNN's kernels (FlashAttention, Dao et al. 2022) never do. They want 16-bit numbers, a
head width that fits, an NVIDIA GPU of the Ampere generation or later, and, in training,
an even number of tokens: a ViT's is odd, so one that is masked is added.

What has run: XLA's form, on a CPU, with and without the masked token. What has not: any
of it on a GPU. The rules above are read from the checks in JAX's source
(fused_attention_stablehlo.py); that of the even number it applies with a bias only, and
here it is a precaution. That cuDNN's form is faster and smaller is what others found,
not a figure of ours: scripts/benchmark_train_step.py measures it on the device at hand,
and --config.model.attention=xla does without.
"""

import dataclasses
import re
from typing import Literal

import jax
import jax.numpy as jnp

from aplantida_jax.errors import UserError

Implementation = Literal["xla", "cudnn"]
CHOICES = ("auto", "xla", "cudnn")

_LEAST_CAPABILITY = 8.0  # Ampere
_LARGEST_HEAD = 128  # of what all such GPUs do forward and backward


@dataclasses.dataclass(frozen=True)
class Device:
    """What decides about kernels.

    Attributes:
        platform: JAX's default backend, "cpu", "gpu" or "tpu".
        capability: CUDA's compute capability, 0 where the device has none.
    """

    platform: str
    capability: float

    @classmethod
    def current(cls) -> "Device":
        """The device that computations run on by default."""
        # An AMD GPU has a name here, such as gfx90a.
        found = str(getattr(jax.devices()[0], "compute_capability", ""))
        number = float(found) if re.fullmatch(r"\d+\.\d+", found) else 0.0
        return cls(jax.default_backend(), number)


def choose(
    requested: str, device: Device, *, dtype: str, head_width: int
) -> Implementation:
    """The implementation to use: cuDNN's for "auto" where it can run.

    Args:
        requested: one of `CHOICES`.
        device: that computes.
        dtype: of query, key and value.
        head_width: d.

    Raises:
        UserError: "cudnn" is asked for where it cannot run; says why.
    """
    if requested == "xla":
        return "xla"
    obstacle = _obstacle(device, dtype=dtype, head_width=head_width)
    if requested == "cudnn" and obstacle:
        raise UserError(
            f"--config.model.attention=cudnn is not possible: {obstacle}; 'auto' takes "
            "the best that is",
            exit_code=2,
        )
    return "xla" if obstacle else "cudnn"


def _obstacle(device: Device, *, dtype: str, head_width: int) -> str:
    """Why cuDNN's attention cannot run, or ""."""
    if device.platform != "gpu" or not device.capability:
        return f"it needs an NVIDIA GPU, and this runs on {device.platform}"
    if device.capability < _LEAST_CAPABILITY:
        return (
            f"it needs compute capability {_LEAST_CAPABILITY}, and the GPU has "
            f"{device.capability}"
        )
    if dtype not in ("bfloat16", "float16"):
        return f"it needs --config.model.dtype=bfloat16, not {dtype}"
    if head_width > _LARGEST_HEAD or head_width % 8:
        return (
            f"heads must be a multiple of 8 wide, up to {_LARGEST_HEAD}, and these "
            f"have {head_width}"
        )
    return ""


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    implementation: Implementation,
) -> jax.Array:
    """softmax(query key^T / sqrt(d)) value; all [b, n, heads, d].

    Vaswani et al. 2017. The softmax is float32 whatever the dtype.
    """
    if implementation == "cudnn" and query.shape[1] % 2:
        return attend_padded(query, key, value, implementation=implementation)
    return jax.nn.dot_product_attention(
        query, key, value, implementation=implementation
    )


def attend_padded(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    implementation: Implementation,
) -> jax.Array:
    """`attend` with one token more, which is masked out."""
    b, n = query.shape[:2]
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (query, key, value)
    )
    lengths = jnp.full((b,), n, jnp.int32)
    mixed = jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
    return mixed[:, :n]
