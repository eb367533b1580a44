"""Foreign weights -> our variables: what fits is loaded, the rest is said or refused.

    opened = open_weights(path)
    module = create(name, num_classes=n, **opened.origin.settings)
    variables = module.init(...)
    variables, report = load_pretrained(opened, module, variables)

Formats and their names are in formats.py, reading in weight_files.py, checkpoints of
our own in own_checkpoints.py. Position embeddings are resampled to the module's grid.
The head is loaded when it has the same classes, at the rank of the module's head (see
head_rank.py), else it stays as initialised. Whatever else doesn't fit, is missing or is
left over is a UserError that names it.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util

from aplantida_jax.errors import UserError
from aplantida_jax.models import head_rank
from aplantida_jax.models.foreign_names import Table
from aplantida_jax.models.formats import some
from aplantida_jax.models.origins import Opened, Origin, describe, open_weights
from aplantida_jax.models.positions import resample_positions
from aplantida_jax.models.weight_files import Arrays

__all__ = ["LoadReport", "Origin", "describe", "load_pretrained"]

_POSITIONS = "params/pos_embedding"
_HEAD = ("params/head/", "params/head_in/")  # what the head's paths begin with
_HEAD_KERNEL, _HEAD_IN_KERNEL = "params/head/kernel", "params/head_in/kernel"


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


def load_pretrained(
    source: str | Path | Opened,
    module: nn.Module,
    variables: Mapping[str, Any],
    *,
    label_map: str | None = None,
) -> tuple[dict[str, Any], LoadReport]:
    """Variables with the weights of `source`.

    Args:
        source: a file in one of formats.FORMATS, or a checkpoint of ours: a run's
            working directory, or a `checkpoints/<step>/model` in it; or either, opened.
        module: a VisionTransformer or MobileNetV2 with the settings of their origin.
        variables: what `module.init` returned.
        label_map: fingerprint of what the module's classes are; the head is loaded only
            if its classes are these. None takes a head of the right size for one.

    Returns:
        New variables, float32, and what was loaded, resampled, left and ignored.

    Raises:
        UserError: as `describe`, or the weights don't fit the module.
    """
    opened = source if isinstance(source, Opened) else open_weights(Path(source))
    _check_module(opened, module)
    target = traverse_util.flatten_dict(variables, sep="/")
    found, report = _fit(opened, module, target, label_map)
    _log(opened.path, report)
    loaded = {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}
    return traverse_util.unflatten_dict({**target, **loaded}, sep="/"), report


def _fit(
    opened: Opened,
    module: nn.Module,
    target: Mapping[str, Any],
    label_map: str | None,
) -> tuple[Arrays, LoadReport]:
    """What is taken over, by our paths and in our shapes."""
    path, table = opened.path, opened.format.table(opened.weights, module)
    found, ignored = _translate(path, table, opened.weights, target), opened.ignored
    same_classes = label_map in (None, opened.origin.label_map)
    if same_classes and _same_sizes(found, target):
        found = head_rank.change(found, _rank(target), under="params/")
    else:
        found = {name: value for name, value in found.items() if not _of_head(name)}
        ignored = [*ignored, *sorted(_head_keys(table) & opened.weights.keys())]
    resampled = _fit_positions(found, target)
    _check_values(path, found, target)
    return found, LoadReport(
        origin=opened.origin,
        loaded=tuple(sorted(found.keys() - set(resampled))),
        resampled=resampled,
        new=tuple(sorted(target.keys() - found.keys())),
        ignored=tuple(ignored),
    )


def _check_module(opened: Opened, module: nn.Module) -> None:
    path, kind = opened.path, opened.format
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


def _translate(
    path: Path, table: Table, weights: Arrays, target: Mapping[str, Any]
) -> Arrays:
    """Our paths -> arrays in our layout; of the head only if the file has all of it."""
    if not _head_keys(table) <= weights.keys():
        table = {name: table[name] for name in table if not _of_head(name)}
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
    ours = {name for name in target if not _of_head(name)}
    theirs = {name for name in table if not _of_head(name)}
    for names, what in (
        (wanted - weights.keys(), "lacks"),
        (weights.keys() - wanted, "holds, beside what is known,"),
        (ours - theirs, "has nothing for"),
        (theirs - ours, "is for a larger model; ours has no"),
    ):
        if names:
            raise UserError(f"{path} {what} {some(names)}")


def _of_head(name: str) -> bool:
    return name.startswith(_HEAD)


def _head_keys(table: Table) -> set[str]:
    return {key for name in table if _of_head(name) for key in table[name].keys}


def _same_sizes(found: Arrays, target: Mapping[str, Any]) -> bool:
    """Whether both heads, dense or factorised, are of as many features and classes."""
    return _HEAD_KERNEL in found and _head_sizes(found) == _head_sizes(target)


def _head_sizes(arrays: Mapping[str, Any]) -> tuple[int, int]:
    first = arrays.get(_HEAD_IN_KERNEL, arrays[_HEAD_KERNEL])
    return first.shape[0], arrays[_HEAD_KERNEL].shape[1]


def _rank(target: Mapping[str, Any]) -> int:
    """Of the module's head; 0 is dense."""
    inner = target.get(_HEAD_IN_KERNEL)
    return 0 if inner is None else inner.shape[1]


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
        "%s: %s, licence %s; %d arrays loaded",
        *(path, report.format, report.origin.licence, len(report.loaded)),
    )
    for what in ("resampled", "new", "ignored"):
        if names := getattr(report, what):
            logging.info("%s: %d %s: %s", path, len(names), what, some(names))
