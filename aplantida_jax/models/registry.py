"""Model names -> modules, in literal tables.

A module takes normalised float32 images [b, h, w, 3] and returns float32 logits
[b, num_classes]; see vit.py and mobilenet_v2.py for parameters and their names.
"""

import dataclasses
import difflib
import numbers
from typing import Any

from aplantida_jax.bounds import Bounds
from aplantida_jax.errors import UserError
from aplantida_jax.models import attention
from aplantida_jax.models.head import ClassifierHead
from aplantida_jax.models.mobilenet_v2 import MobileNetV2
from aplantida_jax.models.vit import VisionTransformer

_TINY = {"patch": 16, "width": 192, "depth": 12, "heads": 3, "mlp_dim": 768}
_SMALL = {"patch": 16, "width": 384, "depth": 12, "heads": 6, "mlp_dim": 1536}
_BASE = {"patch": 16, "width": 768, "depth": 12, "heads": 12, "mlp_dim": 3072}
# Of the tests and the demo.
_MINI = {"patch": 8, "width": 128, "depth": 4, "heads": 4, "mlp_dim": 384}

_VIT: dict[str, dict[str, Any]] = {
    "vit_mini_patch8_64": {**_MINI, "image_size": 64},
    "vit_tiny_patch16_224": {**_TINY, "image_size": 224},
    "vit_tiny_patch16_384": {**_TINY, "image_size": 384},
    "vit_small_patch16_224": {**_SMALL, "image_size": 224},
    "vit_small_patch16_384": {**_SMALL, "image_size": 384},
    "vit_base_patch16_224": {**_BASE, "image_size": 224},
    "vit_base_patch16_384": {**_BASE, "image_size": 384},
}
_MOBILENET_V2: dict[str, dict[str, Any]] = {
    "mobilenet_v2_0.35": {"width": 0.35},
    "mobilenet_v2_0.5": {"width": 0.5},
    "mobilenet_v2_0.75": {"width": 0.75},
    "mobilenet_v2_1.0": {"width": 1.0},
    "mobilenet_v2_1.3": {"width": 1.3},
    "mobilenet_v2_1.4": {"width": 1.4},
}
NAMES = (*_VIT, *_MOBILENET_V2)

_CHOICES = {
    "dtype": ("float32", "bfloat16"),
    "attention": attention.CHOICES,
    "gelu": ("tanh", "exact"),
    "padding": ("tf", "torch"),
    "depthwise": ("auto", "shifted", "convolution"),
}
_COUNTS = {
    "num_classes": Bounds(1, 10_000_000),
    "head_rank": Bounds(0, 65_536),
    "patch": Bounds(1, 1024),
    "depth": Bounds(1, 1000),
    "heads": Bounds(1, 1000),
    "mlp_dim": Bounds(1, 1_000_000),
}
_NUMBERS = {
    "dropout": Bounds(0, 0.99),  # at 1 nothing would be left
    "drop_path": Bounds(0, 0.99),
    "bn_eps": Bounds(1e-12, 1),
    "bn_momentum": Bounds(0, 0.999999),
}
_MULTIPLIER = Bounds(0.01, 100)  # a MobileNetV2's width
_LEAST_SIDE = 32  # pixels; MobileNetV2 halves its input five times


def create(name: str, *, num_classes: int, **overrides: Any) -> ClassifierHead:
    """The module called `name`.

    Args:
        name: one of `NAMES`.
        num_classes: length of the logits.
        **overrides: fields of the module, e.g. dropout, dtype, remat, head_rank; and
            image_size, in pixels, for every model.

    Raises:
        UserError: unknown name, field or value, or a size that the model can't take.
    """
    _check_name(name)
    _check_choices(overrides)
    _check_numbers({"num_classes": num_classes, **overrides})
    if name in _VIT:
        return _create_vit(name, {**_VIT[name], **overrides}, num_classes)
    return _create_mobilenet_v2(name, {**_MOBILENET_V2[name], **overrides}, num_classes)


def settings(name: str) -> frozenset[str]:
    """The fields that `create` takes for `name`, beside image_size.

    Raises:
        UserError: unknown name.
    """
    _check_name(name)
    module = VisionTransformer if name in _VIT else MobileNetV2
    fields = {field.name for field in dataclasses.fields(module)}
    return frozenset(fields - {"parent", "name"})


def _check_name(name: str) -> None:
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.0)[0]
        raise UserError(
            f"there is no model '{name}': did you mean '{close}'? All of them: "
            + ", ".join(NAMES)
        )


def _create_vit(
    name: str, fields: dict[str, Any], num_classes: int
) -> VisionTransformer:
    _check_fields(name, fields)
    size, patch = fields["image_size"], fields["patch"]
    if size < patch or size % patch:
        raise UserError(f"{name}: image_size {size} is not a multiple of {patch}")
    width, heads = fields["width"], fields["heads"]
    if width < heads or width % heads:
        raise UserError(f"{name}: width {width} is not a multiple of {heads} heads")
    return VisionTransformer(num_classes=num_classes, **fields)


def _create_mobilenet_v2(
    name: str, fields: dict[str, Any], num_classes: int
) -> MobileNetV2:
    # The network has no size of its own, but a configuration always states one.
    size = fields.pop("image_size", _LEAST_SIDE)
    if size < _LEAST_SIDE:
        raise UserError(f"{name}: image_size {size} is less than {_LEAST_SIDE}")
    _check_fields(name, fields)
    if not _MULTIPLIER.allow(fields["width"]):
        raise UserError(f"{name}: width {fields['width']} must be {_MULTIPLIER}")
    return MobileNetV2(num_classes=num_classes, **fields)


def _check_choices(fields: dict[str, Any]) -> None:
    for field, choices in _CHOICES.items():
        if field in fields and fields[field] not in choices:
            raise UserError(
                f"model: {field} is '{fields[field]}', but must be one of {choices}"
            )


def _check_numbers(fields: dict[str, Any]) -> None:
    for field, bounds in {**_COUNTS, **_NUMBERS}.items():
        value = fields.get(field, bounds.least)
        whole = isinstance(value, numbers.Integral) or field in _NUMBERS
        if not (whole and bounds.allow(value)):
            kind = "a number" if field in _NUMBERS else "a whole number"
            raise UserError(f"model: {field} is {value!r}, but must be {kind} {bounds}")


def _check_fields(name: str, fields: dict[str, Any]) -> None:
    known = settings(name)
    if unknown := sorted(fields.keys() - known):
        raise UserError(
            f"{name} has no setting {', '.join(unknown)}: it has {sorted(known)} (do "
            "the pretrained weights belong to another kind of model?)"
        )
