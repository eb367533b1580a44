"""A ViT checkpoint as Google publishes them, with random values, for benchmarks.

Names, shapes and the placement of the class token are those of the augreg release
(`ViT-B_16` and its kin): modules numbered by their place in a block, 1,000 classes.
"""

from pathlib import Path

import numpy as np

from aplantida_jax import models

_CLASSES = 1000


def write(path: Path, *, model: str, image_size: int, seed: int = 0) -> None:
    """Writes a Google-format .npz.

    Args:
        path: of the file.
        model: a ViT of `models.create`; gives width, depth and heads.
        image_size: pixels that the position embeddings are for.
        seed: of the values.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in _shapes(model, image_size).items():
        if name.endswith("scale"):
            arrays[name] = np.ones(shape, np.float32)
        else:
            arrays[name] = 0.02 * rng.standard_normal(shape, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def _shapes(model: str, image_size: int) -> dict[str, tuple[int, ...]]:
    module = models.create(model, num_classes=_CLASSES, image_size=image_size)
    width, heads, hidden = module.width, module.heads, module.mlp_dim
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, width),
        "embedding/kernel": (module.patch, module.patch, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (
            *(1, 1 + (image_size // module.patch) ** 2, width),
        ),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, _CLASSES),
        "head/bias": (_CLASSES,),
    }
    for number in range(module.depth):
        block = f"Transformer/encoderblock_{number}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes[f"{block}/{norm}/scale"] = (width,)
            shapes[f"{block}/{norm}/bias"] = (width,)
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (width, heads, width // heads)
            shapes[f"{attention}/{part}/bias"] = (heads, width // heads)
        shapes[f"{attention}/out/kernel"] = (heads, width // heads, width)
        shapes[f"{attention}/out/bias"] = (width,)
        shapes[f"{block}/MlpBlock_3/Dense_0/kernel"] = (width, hidden)
        shapes[f"{block}/MlpBlock_3/Dense_0/bias"] = (hidden,)
        shapes[f"{block}/MlpBlock_3/Dense_1/kernel"] = (hidden, width)
        shapes[f"{block}/MlpBlock_3/Dense_1/bias"] = (width,)
    return shapes
