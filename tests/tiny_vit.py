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


def google_arrays(tokens=10, classes=5, depth=2):
    """A small ViT in the naming of the public augreg checkpoints."""
    split = WIDTH // HEADS
    shapes = {
        "cls": (1, 1, WIDTH),
        "embedding/kernel": (PATCH, PATCH, 3, WIDTH),
        "embedding/bias": (WIDTH,),
        "head/kernel": (WIDTH, classes),
        "head/bias": (classes,),
        "Transformer/posembed_input/pos_embedding": (1, tokens, WIDTH),
        "Transformer/encoder_norm/scale": (WIDTH,),
        "Transformer/encoder_norm/bias": (WIDTH,),
    }
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (WIDTH, HEADS, split)
            shapes[f"{attention}/{part}/bias"] = (HEADS, split)
        shapes[f"{attention}/out/kernel"] = (HEADS, split, WIDTH)
        shapes[f"{attention}/out/bias"] = (WIDTH,)
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes[f"{block}/{norm}/scale"] = (WIDTH,)
            shapes[f"{block}/{norm}/bias"] = (WIDTH,)
        shapes[f"{block}/MlpBlock_3/Dense_0/kernel"] = (WIDTH, MLP)
        shapes[f"{block}/MlpBlock_3/Dense_0/bias"] = (MLP,)
        shapes[f"{block}/MlpBlock_3/Dense_1/kernel"] = (MLP, WIDTH)
        shapes[f"{block}/MlpBlock_3/Dense_1/bias"] = (WIDTH,)
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def google_file(tmp_path, **changes):
    """The same as a file; returns its path."""
    path = tmp_path / "vit.npz"
    np.savez(path, **google_arrays(**changes))
    return path
