"""Vision Transformer: normalised images float32 [b, s, s, 3] -> logits float32.

Dosovitskiy et al. 2021 (arXiv:2010.11929) in the form of Steiner et al. 2022 ("How to
train your ViT?", augreg): pre-norm blocks, a class token whose last state is the pooled
feature, learned position embeddings, LayerNorm with epsilon 1e-6.

Parameters, with n = (s / patch)^2 patches, d = width, i = 0 .. depth - 1. The names are
API (checkpoints, freeze masks, layer-wise learning rates, `pretrained`):

    patch_embedding/{kernel [p, p, 3, d], bias [d]}
    cls_token [1, 1, d]
    pos_embedding [1, 1 + n, d]                      the class token's comes first
    blocks_i/norm1/{scale, bias} [d]
    blocks_i/attention/qkv/{kernel [d, 3, heads, d/heads], bias [3, heads, d/heads]}
    blocks_i/attention/out/{kernel [heads, d/heads, d], bias [d]}
    blocks_i/norm2/{scale, bias} [d]
    blocks_i/mlp/up/{kernel [d, mlp], bias [mlp]}
    blocks_i/mlp/down/{kernel [mlp, d], bias [d]}
    norm/{scale, bias} [d]
    head...                                          see head.py

GELU: Google's weights were trained with flax's default, the tanh approximation; timm
runs everything, converted Google weights too, with the exact one. The two differ by up
to 5e-4 an activation, so parity with the origin needs `gelu` to match.

The head starts at zero, as in the paper: the first loss is exactly log(classes), and a
pretrained backbone gets no gradient from a random head in its first step.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from aplantida_jax.models import attention
from aplantida_jax.models.head import ClassifierHead

# Variance 1 / d of each of query, key and value, as Xavier gives for three d x d
# kernels; Xavier on the fused [d, 3 d] kernel would halve it.
_QKV_INIT = nn.initializers.lecun_normal()
_DENSE_INIT = nn.initializers.xavier_uniform()


class PatchEmbedding(nn.Module):
    """A linear map of each patch, as one matrix product."""

    features: int
    patch: int
    dtype: str

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        p = self.patch
        b, h, w, c = images.shape
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (p, p, c, self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        patches = images.astype(self.dtype).reshape(b, h // p, p, w // p, p, c)
        tokens = jnp.einsum("bhpwqc,pqcd->bhwd", patches, kernel.astype(self.dtype))
        tokens = tokens + bias.astype(self.dtype)
        return tokens.reshape(b, -1, self.features)  # [b, n, d]


class Attention(nn.Module):
    """Multi-head self-attention over all tokens."""

    heads: int
    dtype: str
    implementation: attention.Implementation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        qkv = nn.DenseGeneral(
            (3, self.heads, width // self.heads),
            dtype=self.dtype,
            kernel_init=_QKV_INIT,
            name="qkv",
        )(x)  # [b, n, 3, heads, d/heads]
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        mixed = attention.attend(
            query, key, value, implementation=self.implementation
        )  # [b, n, heads, d/heads]
        return nn.DenseGeneral(
            width,
            axis=(-2, -1),
            dtype=self.dtype,
            kernel_init=_DENSE_INIT,
            name="out",
        )(mixed)  # [b, n, d]


class Mlp(nn.Module):
    """Two dense layers with GELU between them."""

    hidden: int
    gelu: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=_DENSE_INIT, name="up")(
            x
        )
        x = nn.gelu(x, approximate=self.gelu == "tanh")  # [b, n, mlp]
        return nn.Dense(width, dtype=self.dtype, kernel_init=_DENSE_INIT, name="down")(
            x
        )


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), each branch dropped at random."""

    heads: int
    mlp_dim: int
    gelu: str
    drop_path: float
    dtype: str
    implementation: attention.Implementation

    def setup(self) -> None:
        self.norm1 = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)
        self.attention = Attention(self.heads, self.dtype, self.implementation)
        self.norm2 = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)
        self.mlp = Mlp(self.mlp_dim, self.gelu, self.dtype)
        # One draw per image: stochastic depth, Huang et al. 2016.
        self.drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = x + self.drop(self.attention(self.norm1(x)), deterministic=not train)
        return x + self.drop(self.mlp(self.norm2(x)), deterministic=not train)


class VisionTransformer(ClassifierHead):
    """The model; `features` and `__call__` are its two uses.

    Attributes:
        image_size: side of the square images, a multiple of `patch`.
        gelu: "tanh" or "exact".
        drop_path: probability of dropping a branch of the last block; it grows linearly
            from 0 at the first.
        dtype: of the computation, "float32" or "bfloat16"; parameters are float32.
        remat: recompute the blocks in the backward pass instead of storing them.
        attention: "auto", "xla" or "cudnn", see attention.py; changes speed and memory.
    """

    image_size: int = 224
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    gelu: str = "tanh"
    drop_path: float = 0.0
    dtype: str = "float32"
    remat: bool = False
    attention: str = "auto"

    def setup(self) -> None:
        tokens = 1 + (self.image_size // self.patch) ** 2
        self.patch_embedding = PatchEmbedding(self.width, self.patch, self.dtype)
        self.cls_token = self.param(
            "cls_token", nn.initializers.zeros, (1, 1, self.width)
        )
        self.pos_embedding = self.param(
            "pos_embedding", nn.initializers.normal(0.02), (1, tokens, self.width)
        )
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        implementation = attention.choose(
            self.attention,
            attention.Device.current(),
            dtype=self.dtype,
            head_width=self.width // self.heads,
        )
        rates = [self.drop_path * i / max(1, self.depth - 1) for i in range(self.depth)]
        self.blocks = [
            block(self.heads, self.mlp_dim, self.gelu, rate, self.dtype, implementation)
            for rate in rates
        ]
        self.norm = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)
        self.setup_head(kernel_init=nn.initializers.zeros)

    def features(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Images [b, s, s, 3] -> the class token's last state, float32 [b, d]."""
        if images.shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(
                f"images are {images.shape[1:3]}, the model is for {self.image_size}"
            )
        x = self.patch_embedding(images)  # [b, n, d]
        cls = jnp.broadcast_to(self.cls_token, (x.shape[0], 1, self.width))
        x = jnp.concatenate([cls.astype(x.dtype), x], axis=1)  # [b, 1 + n, d]
        x = x + self.pos_embedding.astype(x.dtype)
        for block in self.blocks:
            x = block(x, train)
        # Only the class token is read: the norm need not see the others.
        return self.norm(x[:, 0]).astype(jnp.float32)  # [b, d]

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Images [b, s, s, 3] -> logits float32 [b, classes]."""
        return self.classify(self.features(images, train=train), train=train)
