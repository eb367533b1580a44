"""MobileNetV2: images [b, h, w, 3], normalised float32 -> logits float32 [b, classes].

Sandler et al. 2018 (arXiv:1801.04381), with the width rules of Keras applications:
channels are rounded to multiples of 8, the last convolution grows only above width 1.0.
Any h, w of at least 32 will do.

Parameters. The names are API (checkpoints, freeze masks, `pretrained`; the exporter
folds every `bn` into the `conv` beside it), with i = 0 .. 16:

    stem/{conv, bn}                                    3x3, stride 2
    blocks_i/{expand, depthwise, project}/{conv, bn}   blocks_0 has no expand
    last/{conv, bn}                                    1x1
    head...                                            see head.py

    conv/kernel [3, 3, 3, c] in stem, [3, 3, 1, c] in depthwise, else [1, 1, in, c]
    bn/{scale, bias} [c] in "params", bn/{mean, var} [c] in "batch_stats"

All but `project` end in ReLU6. `block_specs` lists the blocks for whoever rebuilds the
graph. Depthwise convolutions have a form for each platform, see depthwise.py.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from aplantida_jax.models.channelwise import BatchNorm
from aplantida_jax.models.depthwise import convolution, shifted_depthwise
from aplantida_jax.models.head import ClassifierHead

# Table 2 of the paper, runs of alike blocks: expansion, channels at width 1.0, number,
# stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_KERNEL_INIT = nn.initializers.he_normal()


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block."""

    in_channels: int
    expansion: int  # 1 has no expand convolution
    channels: int  # that come out
    stride: int
    residual: bool

    @property
    def hidden(self) -> int:
        """Channels of the depthwise convolution."""
        return self.in_channels * self.expansion


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that does not lose more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def stem_channels(width: float) -> int:
    return make_divisible(32 * width)


def last_channels(width: float) -> int:
    """Channels of the pooled features."""
    return make_divisible(1280 * max(1.0, width))


def block_specs(width: float) -> tuple[BlockSpec, ...]:
    """The 17 blocks at a width multiplier, in order."""
    specs = []
    in_channels = stem_channels(width)
    for expansion, base, count, first_stride in _STAGES:
        channels = make_divisible(base * width)
        for index in range(count):
            stride = first_stride if index == 0 else 1
            residual = stride == 1 and in_channels == channels
            specs.append(BlockSpec(in_channels, expansion, channels, stride, residual))
            in_channels = channels
    return tuple(specs)


def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """1x1 convolution [b, h, w, in] -> [b, h, w, c], kernel [in, c]."""
    # As a product of two matrices: of anything else XLA on a CPU transposes the copies
    # of both operands for the kernel's gradient, which takes longer than the product.
    y = x.reshape(-1, x.shape[-1]) @ kernel  # [b * h * w, c]
    return y.reshape(*x.shape[:-1], -1)


def relu6(x: jax.Array) -> jax.Array:
    # The gradient of `clamp` takes one comparison with each bound, min(max()) more.
    return lax.clamp(jnp.array(0, x.dtype), x, jnp.array(6, x.dtype))


class Conv(nn.Module):
    """A convolution without bias; only `kernel` is a parameter.

    Attributes:
        kind: "full" is 3x3, "depthwise" 3x3 per channel, "pointwise" 1x1.
        depthwise: how "depthwise" is computed, see MobileNetV2.
    """

    features: int
    kind: Literal["full", "depthwise", "pointwise"]
    stride: int
    padding: str
    depthwise: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        side = 1 if self.kind == "pointwise" else 3
        inputs = 1 if self.kind == "depthwise" else x.shape[-1]
        kernel = self.param(
            "kernel", _KERNEL_INIT, (side, side, inputs, self.features)
        ).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.kind == "pointwise":
            return pointwise(x, kernel[0, 0])
        if self.kind == "depthwise" and self._shifted():
            return shifted_depthwise(x, kernel, self.stride, self.padding)
        groups = self.features if self.kind == "depthwise" else 1
        return convolution(
            x, kernel, stride=self.stride, padding=self.padding, groups=groups
        )

    def _shifted(self) -> bool:
        if self.depthwise == "auto":
            return jax.default_backend() == "cpu"
        return self.depthwise == "shifted"


@dataclasses.dataclass(frozen=True)
class UnitOptions:
    """What all units of a network share; see MobileNetV2."""

    padding: str
    bn_eps: float
    bn_momentum: float
    frozen_norms: str
    depthwise: str
    dtype: str


class Unit(nn.Module):
    """Convolution, BatchNorm and, where `activate`, ReLU6.

    `initial_scale` is what BatchNorm's scale starts at.
    """

    features: int
    kind: Literal["full", "depthwise", "pointwise"]
    options: UnitOptions
    stride: int = 1
    activate: bool = True
    initial_scale: float = 1.0

    def setup(self) -> None:
        options = self.options
        self.conv = Conv(
            self.features,
            self.kind,
            self.stride,
            options.padding,
            options.depthwise,
            options.dtype,
        )
        self.bn = BatchNorm(
            epsilon=options.bn_eps,
            momentum=options.bn_momentum,
            initial_scale=self.initial_scale,
            frozen=options.frozen_norms,
        )

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = self.bn(self.conv(x), train=train)
        return relu6(x) if self.activate else x


class Block(nn.Module):
    """Expand, filter each channel, project; added to its input where shapes allow."""

    spec: BlockSpec
    options: UnitOptions

    def setup(self) -> None:
        spec = self.spec
        if spec.expansion > 1:
            self.expand = Unit(spec.hidden, "pointwise", self.options)
        self.depthwise = Unit(spec.hidden, "depthwise", self.options, spec.stride)
        # A residual block starts as the identity (Goyal et al. 2017): from scratch, 540
        # steps on the demo's plants then reach 45 % where they reached 24 %.
        self.project = Unit(
            spec.channels,
            "pointwise",
            self.options,
            activate=False,
            initial_scale=0.0 if spec.residual else 1.0,
        )

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = self.expand(x, train) if self.spec.expansion > 1 else x
        y = self.project(self.depthwise(y, train), train)
        return x + y if self.spec.residual else y


class MobileNetV2(ClassifierHead):
    """The model; `features` and `__call__` are its two uses.

    Attributes:
        width: multiplier of the channels.
        padding: at stride 2, "tf" pads (0, 1) as TensorFlow and Keras do, "torch"
            (1, 1); it must follow where the weights come from.
        bn_eps: Keras 1e-3, timm and torchvision 1e-5; it too follows the weights.
        bn_momentum: of the running statistics; 0.9 settles within the few hundred steps
            of a short run.
        frozen_norms: regex over parameter paths, "" for none: the norms that it matches
            keep and use their running statistics in training, see channelwise.py. For
            batches too small for statistics, and for weights that have none.
        depthwise: "shifted", "convolution", or "auto": by the default backend.
        dtype: of the computation, "float32" or "bfloat16"; parameters are float32.
        remat: recompute the blocks in the backward pass instead of storing them.
    """

    width: float = 1.0
    padding: str = "tf"
    bn_eps: float = 1e-3
    bn_momentum: float = 0.9
    frozen_norms: str = ""
    depthwise: str = "auto"
    dtype: str = "float32"
    remat: bool = False

    def setup(self) -> None:
        options = UnitOptions(
            padding=self.padding,
            bn_eps=self.bn_eps,
            bn_momentum=self.bn_momentum,
            frozen_norms=self.frozen_norms,
            depthwise=self.depthwise,
            dtype=self.dtype,
        )
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        self.stem = Unit(stem_channels(self.width), "full", options, stride=2)
        self.blocks = [block(spec, options) for spec in block_specs(self.width)]
        self.last = Unit(last_channels(self.width), "pointwise", options)
        # Small but not zero, as torchvision's: see vit.py for why it should be small.
        self.setup_head(kernel_init=nn.initializers.normal(0.01))

    def features(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Images [b, h, w, 3] -> mean over positions, float32 [b, last_channels]."""
        x = self.stem(images, train)  # [b, h/2, w/2, c]
        for block in self.blocks:
            x = block(x, train)
        x = self.last(x, train)  # [b, h/32, w/32, last_channels]
        return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Images [b, h, w, 3] -> logits float32 [b, classes]."""
        return self.classify(self.features(images, train=train), train=train)
