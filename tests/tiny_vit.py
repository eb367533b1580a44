"""A ViT of a few thousand parameters, and weights for it in Google's naming."""

import jax
import jax.numpy as jnp
import numpy as np

from aplantida_jax.models.vit import VisionTransformer

SIDE, PATCH, WIDTH, HEADS, MLP = 24, 8, 12, 3, 20


def tiny_vit(**overrides):
    """A network small enough to compare every parameter."""
    fields = {"num_classes": 5, "image_size": SIDE, "patch": PATCH, "width": WIDTH}
    fields |= {"depth": 2, "heads": HEADS, "mlp_dim": MLP}
    return VisionTransformer(**{**fields, **overrides})


def zeros_of(module, side=SIDE):
    """Zeros in the shape of the module's variables; what is loaded shows."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def google_arrays(
    tokens=10, classes=5, depth=2, *, patch=PATCH, width=WIDTH, heads=HEADS, mlp=MLP
):
    """A small ViT in the naming of the public augreg checkpoints."""
    split = width // heads
    shapes = {
        "cls": (1, 1, width),
        "embedding/kernel": (patch, patch, 3, width),
        "embedding/bias": (width,),
        "head/kernel": (width, classes),
        "head/bias": (classes,),
        "Transformer/posembed_input/pos_embedding": (1, tokens, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
    }
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (width, heads, split)
            shapes[f"{attention}/{part}/bias"] = (heads, split)
        shapes[f"{attention}/out/kernel"] = (heads, split, width)
        shapes[f"{attention}/out/bias"] = (width,)
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes[f"{block}/{norm}/scale"] = (width,)
            shapes[f"{block}/{norm}/bias"] = (width,)
        shapes[f"{block}/MlpBlock_3/Dense_0/kernel"] = (width, mlp)
        shapes[f"{block}/MlpBlock_3/Dense_0/bias"] = (mlp,)
        shapes[f"{block}/MlpBlock_3/Dense_1/kernel"] = (mlp, width)
        shapes[f"{block}/MlpBlock_3/Dense_1/bias"] = (width,)
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


# As arguments of `google_arrays`: the registered vit_mini_patch8_64.
MINI = {"patch": 8, "width": 128, "heads": 4, "mlp": 384, "depth": 4, "tokens": 65}


def google_file(tmp_path, **changes):
    """The same as a file; returns its path."""
    path = tmp_path / "vit.npz"
    np.savez(path, **google_arrays(**changes))
    return path
