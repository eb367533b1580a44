"""The kinds of foreign weights that are understood, recognised by their keys.

    google_vit           vit_jax and augreg .npz
    timm_vit             timm's VisionTransformer, .safetensors
    timm_mobilenet_v2    timm's mobilenetv2_*, .safetensors
    keras_mobilenet_v2   Keras applications: .h5, .weights.h5, .safetensors
    folded_mobilenet_v2  the same with BatchNorm folded into biased convolutions, .npz

A format also says how its networks were trained and run, which no file tells: GELU,
padding and epsilon (fields of our modules), and the usual normalisation of their input
(timm's differs from release to release: see pretrained.describe).
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from aplantida_jax.errors import UserError
from aplantida_jax.models import foreign_names
from aplantida_jax.models.mobilenet_v2 import MobileNetV2
from aplantida_jax.models.vit import VisionTransformer
from aplantida_jax.models.weight_files import Arrays

Triple = tuple[float, float, float]

_HALF: Triple = (0.5, 0.5, 0.5)  # mean and std that take 0..1 to -1..1
_KERAS = {"padding": "tf", "bn_eps": 1e-3}


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        module: the class that its weights fit.
        marks: keys that tell it.
        head_bias: key of an array with one number per class.
        settings: fields of the module that the weights need.
        mean, std: of RGB in 0..1, the input's normalisation.
        image_size: arrays -> side in pixels of what the network was trained on.
        table: (arrays, module) -> where each of our parameters comes from.
        has_statistics: false where BatchNorm's are made up.
    """

    name: str
    module: type
    marks: tuple[str, ...]
    head_bias: str
    settings: dict[str, Any]
    mean: Triple
    std: Triple
    image_size: Callable[[Arrays], int]
    table: Callable[[Arrays, Any], foreign_names.Table]
    has_statistics: bool = True


FORMATS = (
    Format(
        name="google_vit",
        module=VisionTransformer,
        marks=("embedding/kernel", "Transformer/posembed_input/pos_embedding"),
        head_bias="head/bias",
        settings={"gelu": "tanh"},
        mean=_HALF,
        std=_HALF,
        image_size=lambda arrays: _vit_size(
            arrays["Transformer/posembed_input/pos_embedding"],
            patch=arrays["embedding/kernel"].shape[0],
        ),
        table=lambda arrays, module: foreign_names.google_vit(
            _depth(arrays, r"Transformer/encoderblock_(\d+)/")
        ),
    ),
    Format(
        name="timm_vit",
        module=VisionTransformer,
        marks=("patch_embed.proj.weight", "pos_embed"),
        head_bias="head.bias",
        settings={"gelu": "exact"},
        mean=_HALF,
        std=_HALF,
        image_size=lambda arrays: _vit_size(
            arrays["pos_embed"], patch=arrays["patch_embed.proj.weight"].shape[-1]
        ),
        table=lambda arrays, module: foreign_names.timm_vit(
            _depth(arrays, r"blocks\.(\d+)\."), module.heads
        ),
    ),
    Format(
        name="timm_mobilenet_v2",
        module=MobileNetV2,
        marks=("conv_stem.weight", "blocks.0.0.conv_dw.weight"),
        head_bias="classifier.bias",
        settings={"padding": "torch", "bn_eps": 1e-5},
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        image_size=lambda arrays: 224,
        table=lambda arrays, module: foreign_names.timm_mobilenet_v2(),
    ),
    Format(
        name="keras_mobilenet_v2",
        module=MobileNetV2,
        marks=("Conv1/kernel", "bn_Conv1/gamma"),
        head_bias="predictions/bias",
        settings=_KERAS,
        mean=_HALF,
        std=_HALF,
        image_size=lambda arrays: 224,
        table=lambda arrays, module: foreign_names.keras_mobilenet_v2(),
    ),
    Format(
        name="folded_mobilenet_v2",
        module=MobileNetV2,
        marks=("Conv1/kernel", "Conv1/bias"),
        head_bias="Logits/bias",
        settings=_KERAS,
        mean=_HALF,
        std=_HALF,
        image_size=lambda arrays: 224,
        table=lambda arrays, module: foreign_names.folded_mobilenet_v2(module.bn_eps),
        has_statistics=False,
    ),
)

# Keys that are no weights of the network that classifies.
_IGNORED = re.compile(
    r".*\.num_batches_tracked|optimizer_weights/.*|pre_logits/(kernel|bias)"
)
# What networks alike have, and ours has not: they are refused by name, at once.
_OTHERS = (
    (r"(conv_root|gn_root|block\d+)/.*|patch_embed\.backbone\..*", "a ResNet stem"),
    (r".*rel_pos.*|rope\..*", "relative positions"),
    (r"fc_norm\..*|attn_pool\..*", "another pooling than the class token's"),
    (r"norm_pre\..*", "a norm before its blocks"),
    (r"reg_token|register_tokens", "register tokens"),
    (r"dist_token|head_dist\..*", "a distillation token"),
    (r"blocks\.\d+\.(ls[12]\.gamma|attn\.[qk]_norm\..*)", "scales in its blocks"),
)
# Public checkpoints number a block's modules by place, newer code numbers each kind.
_GOOGLE_SYNONYMS = (
    ("LayerNorm_2/", "LayerNorm_1/"),
    ("MlpBlock_3/", "MlpBlock_0/"),
    ("MultiHeadDotProductAttention_1/", "MultiHeadDotProductAttention_0/"),
)


def detect(arrays: Arrays, *, where: object) -> Format:
    """The format of arrays that `normalise` returned, or a UserError."""
    for known in FORMATS:
        if all(mark in arrays for mark in known.marks):
            _refuse_others(arrays, known, where)
            return known
    names = ", ".join(known.name for known in FORMATS)
    raise UserError(f"{where} is none of {names}; it holds {some(arrays)}")


def _refuse_others(arrays: Arrays, known: Format, where: object) -> None:
    for pattern, what in _OTHERS:
        if names := [name for name in arrays if re.fullmatch(pattern, name)]:
            raise UserError(
                f"{where} looks like {known.name}, but has {what} ({some(names)}), "
                f"which our {known.module.__name__} has not"
            )


def normalise(arrays: Arrays) -> tuple[Arrays, list[str]]:
    """The weights under one spelling of their names, and the keys left out."""
    ignored = [name for name in arrays if _IGNORED.fullmatch(name)]
    if "pre_logits/kernel" in arrays:
        # A layer that is not ours lies before that head: it would not fit.
        ignored += ["head/kernel", "head/bias"]
    kept = {name: array for name, array in arrays.items() if name not in ignored}
    if "layers/conv2d/vars/0" in kept:
        kept = foreign_names.keras3_names(kept)
    weights = {_spelling(name): array for name, array in kept.items()}
    if "bn_Conv1/gamma" in weights:  # Keras called the top "Logits" at first
        for leaf in ("kernel", "bias"):
            if f"Logits/{leaf}" in weights:
                weights[f"predictions/{leaf}"] = weights.pop(f"Logits/{leaf}")
    return weights, sorted(ignored)


def some(names: Iterable[str]) -> str:
    """The first few of many names."""
    listed = sorted(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return (", ".join(listed[:5]) or "nothing") + more


def _spelling(name: str) -> str:
    for old, new in _GOOGLE_SYNONYMS:
        name = name.replace(old, new)
    # Keras .h5: "Conv1/Conv1/kernel:0", and with "model_weights/" in a whole model.
    name = re.sub(r"^(?:model_weights/)?(\w+)/\1/(\w+?)(?::0)?$", r"\1/\2", name)
    return re.sub(r"/depthwise_kernel$", "/kernel", name)


def _vit_size(positions: np.ndarray, *, patch: int) -> int:
    return math.isqrt(positions.shape[1] - 1) * patch


def _depth(arrays: Arrays, pattern: str) -> int:
    found = [int(match[1]) for name in arrays if (match := re.match(pattern, name))]
    return max(found, default=-1) + 1
