"""Which parameters train, decay, and how fast, by their paths.

A path is what the modules document, such as "blocks_0/attention/qkv/kernel"; regular
expressions are searched for in it, so that "^head" is the head and "bias$" all biases.
Trees of parameters are nested dictionaries.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from aplantida_jax.errors import UserError

Params = Any


def is_kernel(params: Params) -> Params:
    """True for weights that decay: kernels, not biases, norms, tokens or positions."""
    return _map_paths(params, lambda path: path.endswith("kernel"))


def learning_rate_scales(config: Any, params: Params) -> dict[str, float]:
    """Path -> factor of the learning rate; 0 for a parameter that does not train.

    The product of layer decay and `lr_multipliers`, 0 where `freeze` matches.

    Args:
        config: `config.train`.
        params: a tree of arrays, or of anything in the place of each.

    Raises:
        UserError: an expression is not one, matches nothing, or nothing trains.
    """
    paths = list(traverse_util.flatten_dict(params, sep="/"))
    factors = _multipliers(config.lr_multipliers, paths)
    decays = layer_decays(paths, config.layer_decay)
    frozen = _frozen(config.freeze, paths) if config.freeze else set()
    scales = {
        path: 0.0 if path in frozen else factors.get(path, 1.0) * decays[path]
        for path in paths
    }
    if not any(scales.values()):
        raise UserError(
            f"--config.train.freeze={config.freeze!r} and lr_multipliers="
            f"{config.lr_multipliers!r} leave none of the {len(paths)} parameters to "
            "train",
            exit_code=2,
        )
    return scales


def layer_decays(paths: list[str], decay: float) -> dict[str, float]:
    """decay^(distance from the head): head 1, last block decay, ... first of all.

    Layer-wise learning-rate decay, Clark et al. 2020 (ELECTRA).
    """
    found = {path: re.match(r"blocks_(\d+)/", path) for path in paths}
    blocks = {path: int(match[1]) for path, match in found.items() if match}
    depth = max(blocks.values(), default=-1) + 1

    def distance(path: str) -> int:
        if path.startswith("head"):
            return 0
        if path in blocks:
            return depth - blocks[path]
        after_blocks = path.startswith(("norm", "last"))
        return 1 if after_blocks else depth + 1

    return {path: decay ** distance(path) for path in paths}


def split(params: Params, scales: Mapping[str, float]) -> tuple[Params, Params]:
    """The parameters that train, and the others; `merge` puts them together."""
    flat = traverse_util.flatten_dict(params, sep="/")
    trained = {path: leaf for path, leaf in flat.items() if scales[path]}
    fixed = {path: leaf for path, leaf in flat.items() if not scales[path]}
    return _nested(trained), _nested(fixed)


def merge(trained: Params, fixed: Params) -> Params:
    return _nested(
        {
            **traverse_util.flatten_dict(trained, sep="/"),
            **traverse_util.flatten_dict(fixed, sep="/"),
        }
    )


def _frozen(pattern: str, paths: list[str]) -> set[str]:
    frozen = _matches("freeze", pattern, paths)
    if len(frozen) in (0, len(paths)):
        raise _pointless(
            f"--config.train.freeze={pattern!r} freezes {len(frozen)} of the", paths
        )
    return frozen


def _multipliers(
    pairs: tuple[tuple[str, float], ...], paths: list[str]
) -> dict[str, float]:
    """Path -> factor of the first pair that matches it, where one does."""
    factors: dict[str, float] = {}
    for pattern, factor in pairs:
        if not math.isfinite(factor) or factor < 0:
            raise UserError(
                f"--config.train.lr_multipliers: the factor {factor} of {pattern!r} "
                "must be 0 or more",
                exit_code=2,
            )
        new = _matches("lr_multipliers", pattern, paths) - factors.keys()
        if not new:
            raise _pointless(
                f"--config.train.lr_multipliers: {pattern!r} matches, beside what "
                "comes before it, 0 of the",
                paths,
            )
        factors |= dict.fromkeys(new, float(factor))
    return factors


def _matches(field: str, pattern: str, paths: list[str]) -> set[str]:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"--config.train.{field}: {pattern!r} is not a regular expression: {error}",
            exit_code=2,
        ) from None
    return {path for path in paths if regex.search(path)}


def _pointless(what: str, paths: list[str]) -> UserError:
    some = ", ".join(paths[:3])
    return UserError(
        f"{what} {len(paths)} parameters; their paths are {some}, ...", exit_code=2
    )


def _map_paths(params: Params, function: Any) -> Params:
    flat = traverse_util.flatten_dict(params, sep="/")
    return _nested({path: function(path) for path in flat})


def _nested(flat: Mapping[str, Any]) -> Params:
    return traverse_util.unflatten_dict(flat, sep="/")
