"""Foreign weights -> our variables: what fits is loaded, the rest is said or refused.

    origin = describe(path)
    module = create(name, num_classes=n, **origin.settings)
    variables = module.init(...)
    variables, report = load_pretrained(path, module, variables)

Formats and their names are in formats.py, reading in weight_files.py. Position
embeddings are resampled to the module's grid. The head is loaded when it fits, that is
when it is dense and the number of classes is the same, else it stays as initialised.
Whatever else doesn't fit, is missing or is left over is a UserError that names it.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util

from aplantida_jax.errors import UserError
from aplantida_jax.models import formats, weight_files
from aplantida_jax.models.foreign_names import Table
from aplantida_jax.models.formats import Triple, some
from aplantida_jax.models.positions import resample_positions
from aplantida_jax.models.weight_files import Arrays

_POSITIONS = "params/pos_embedding"
_HEAD = ("params/head/kernel", "params/head/bias")
_HEAD_PREFIXES = ("params/head/", "params/head_in/")


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a weight file is, and what it asks of the module and of the input.

    Attributes:
        format: one of formats.FORMATS.
        padding, bn_eps: fields of MobileNetV2, None for a ViT.
        gelu: field of VisionTransformer, None for a MobileNetV2.
        mean, std: of RGB in 0..1, the input's normalisation.
        image_size: side in pixels that the network was trained on.
        num_classes: of its head; 0 has none.
        licence: as the file states it, or "unknown".
    """

    format: str
    padding: str | None
    bn_eps: float | None
    gelu: str | None
    mean: Triple
    std: Triple
    image_size: int
    num_classes: int
    licence: str

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of the module that the weights need, for `create`."""
        found = {"padding": self.padding, "bn_eps": self.bn_eps, "gelu": self.gelu}
        return {name: value for name, value in found.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of each array.

    Attributes:
        loaded, resampled, new: our parameter paths; the new ones are as initialised.
        ignored: foreign keys that were not used.
    """

    origin: Origin
    loaded: tuple[str, ...]
    resampled: tuple[str, ...]
    new: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def format(self) -> str:
        return self.origin.format

    @property
    def needs(self) -> dict[str, Any]:
        """Settings of module and input that the weights were trained with."""
        normalisation = {"mean": self.origin.mean, "std": self.origin.std}
        return {**self.origin.settings, **normalisation}


def describe(path: str | Path) -> Origin:
    """What the file is; ask before creating the module.

    The normalisation of timm's weights is read from the config.json that a release has
    beside them, where there is one.

    Raises:
        UserError: missing, damaged, a pickle, or of no known format.
    """
    arrays, metadata = weight_files.read(Path(path))
    weights, _ = formats.normalise(arrays)
    return _origin(Path(path), formats.detect(weights, where=path), weights, metadata)


def load_pretrained(
    path: str | Path,
    module: nn.Module,
    variables: Mapping[str, Any],
    *,
    image_size: int | None = None,
) -> tuple[dict[str, Any], LoadReport]:
    """Variables with the weights of `path`.

    Args:
        path: .npz, .safetensors or .h5 in one of formats.FORMATS.
        module: a VisionTransformer or MobileNetV2 with `describe(path).settings`.
        variables: what `module.init` returned.
        image_size: side of the images that it will see, where that must be checked.

    Returns:
        New variables, float32, and what was loaded, resampled, left and ignored.

    Raises:
        UserError: as `describe`, or the weights don't fit the module.
    """
    path = Path(path)
    arrays, metadata = weight_files.read(path)
    weights, ignored = formats.normalise(arrays)
    kind = formats.detect(weights, where=path)
    _check_module(path, kind, module, image_size)
    target = traverse_util.flatten_dict(variables, sep="/")
    table = kind.table(weights, module)
    found = _translate(path, table, weights, target)
    if not _head_fits(found, target):
        found = {name: value for name, value in found.items() if name not in _HEAD}
        ignored += sorted(_head_keys(table) & weights.keys())
    resampled = _fit_positions(found, target)
    _check_values(path, found, target)
    report = LoadReport(
        origin=_origin(path, kind, weights, metadata),
        loaded=tuple(sorted(found.keys() - set(resampled))),
        resampled=resampled,
        new=tuple(sorted(target.keys() - found.keys())),
        ignored=tuple(ignored),
    )
    _log(path, report)
    loaded = {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}
    return traverse_util.unflatten_dict({**target, **loaded}, sep="/"), report


def _origin(
    path: Path, kind: formats.Format, weights: Arrays, metadata: Mapping[str, str]
) -> Origin:
    card = _timm_card(path) if kind.name.startswith("timm") else {}
    classes = weights.get(kind.head_bias, np.empty(0)).size
    return Origin(
        format=kind.name,
        padding=kind.settings.get("padding"),
        bn_eps=kind.settings.get("bn_eps"),
        gelu=kind.settings.get("gelu"),
        mean=tuple(card.get("mean", kind.mean)),
        std=tuple(card.get("std", kind.std)),
        image_size=kind.image_size(weights),
        num_classes=classes,
        licence=metadata.get("license") or card.get("license") or "unknown",
    )


def _timm_card(path: Path) -> dict[str, Any]:
    """`pretrained_cfg` of the config.json that timm's releases have beside the file."""
    try:
        card = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
        return dict(card["pretrained_cfg"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _check_module(
    path: Path, kind: formats.Format, module: nn.Module, image_size: int | None
) -> None:
    if not isinstance(module, kind.module):
        raise UserError(
            f"{path} holds {kind.name} weights, for a {kind.module.__name__}, but the "
            f"model is a {type(module).__name__}"
        )
    for name, value in kind.settings.items():
        if getattr(module, name) != value:
            raise UserError(
                f"{path} holds {kind.name} weights, which need {name}={value!r}, but "
                f"the model has {getattr(module, name)!r}"
            )
    size = getattr(module, "image_size", image_size)
    if image_size is not None and image_size != size:
        raise UserError(f"the model is for {size} pixels, the images have {image_size}")


def _translate(
    path: Path, table: Table, weights: Arrays, target: Mapping[str, Any]
) -> Arrays:
    """Our paths -> arrays in our layout; of the head only if the file has one."""
    if not _head_keys(table) <= weights.keys():
        table = {name: table[name] for name in table if name not in _HEAD}
    _check_names(path, table, weights, target)
    try:
        return {
            name: source.convert(*(weights[key] for key in source.keys))
            for name, source in table.items()
        }
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} does not fit the model: {error}") from None


def _check_names(
    path: Path, table: Table, weights: Arrays, target: Mapping[str, Any]
) -> None:
    """Raises UserError unless file, table and module name the same arrays."""
    wanted = {key for source in table.values() for key in source.keys}
    ours = {name for name in target if not name.startswith(_HEAD_PREFIXES)}
    theirs = table.keys() - set(_HEAD)
    for names, what in (
        (wanted - weights.keys(), "lacks"),
        (weights.keys() - wanted, "holds, beside what is known,"),
        (ours - theirs, "has nothing for"),
        (theirs - ours, "is for a larger model; ours has no"),
    ):
        if names:
            raise UserError(f"{path} {what} {some(names)}")


def _head_keys(table: Table) -> set[str]:
    return {key for name in _HEAD for key in table[name].keys}


def _head_fits(found: Arrays, target: Mapping[str, Any]) -> bool:
    return "params/head_in/kernel" not in target and all(
        name in found and found[name].shape == target[name].shape for name in _HEAD
    )


def _fit_positions(found: Arrays, target: Mapping[str, Any]) -> tuple[str, ...]:
    """Resamples the position embeddings in `found` where the grid differs."""
    if _POSITIONS not in found:
        return ()
    tokens = target[_POSITIONS].shape[1]
    if found[_POSITIONS].shape[1] == tokens:
        return ()
    found[_POSITIONS] = resample_positions(found[_POSITIONS], tokens)
    return (_POSITIONS,)


def _check_values(path: Path, found: Arrays, target: Mapping[str, Any]) -> None:
    wrong = [
        f"{name} {list(value.shape)} instead of {list(target[name].shape)}"
        for name, value in found.items()
        if value.shape != target[name].shape
    ]
    if wrong:
        raise UserError(f"{path} does not fit the model: {some(wrong)}")
    broken = [name for name, value in found.items() if not np.isfinite(value).all()]
    if broken:
        raise UserError(f"{path} holds NaN or infinity in {some(broken)}")


def _log(path: Path, report: LoadReport) -> None:
    logging.info(
        "%s: %s, licence %s; %d arrays loaded, %d foreign ones ignored",
        path,
        report.format,
        report.origin.licence,
        len(report.loaded),
        len(report.ignored),
    )
    for names, what in ((report.resampled, "resampled"), (report.new, "new")):
        if names:
            logging.info("%s: %s: %s", path, what, ", ".join(names))
