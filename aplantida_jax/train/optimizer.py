"""The optimiser and the learning rate, kept apart.

The transformation ends before the learning rate: that is an argument of the compiled
step, so that runs which differ in it only share one compilation.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from aplantida_jax.errors import UserError

Params = Any


def learning_rate(update: int, *, config: Any, updates_per_epoch: float) -> float:
    """Linear warm-up, then half a cosine to 0.

    Args:
        update: 0-based count of optimiser updates.
        config: `config.train`.
        updates_per_epoch: may be fractional with accumulation.
    """
    total = config.epochs * updates_per_epoch
    warmup = min(config.warmup_epochs * updates_per_epoch, total)
    if update < warmup:
        # Never above 1: the last update of a fractional warm-up ends beyond it.
        return float(config.learning_rate * min(1.0, (update + 1) / warmup))
    done = (update - warmup) / max(total - warmup, 1)
    return float(config.learning_rate * 0.5 * (1 + np.cos(np.pi * min(done, 1.0))))


def make(config: Any, params: Params) -> optax.GradientTransformation:
    """Clipping, Adam or AdamW without its learning rate, layer decay, freezing.

    Args:
        config: `config.train`.
        params: for the masks, which go by parameter path.

    Raises:
        UserError: `freeze` is not a regular expression, or it freezes nothing or all.
    """
    steps = [optax.clip_by_global_norm(config.clip_norm), optax.scale_by_adam()]
    if config.weight_decay and config.optimizer == "adamw":
        steps.append(optax.add_decayed_weights(config.weight_decay, mask=is_kernel))
    tx = optax.chain(*steps)
    if config.freeze:
        frozen = frozen_mask(params, config.freeze)
        labels = jax.tree.map(lambda f: "frozen" if f else "trained", frozen)
        tx = optax.multi_transform(
            {"trained": tx, "frozen": optax.set_to_zero()}, labels
        )
    if config.layer_decay != 1.0:
        scales = layer_scales(params, config.layer_decay)
        tx = optax.chain(tx, _scale_by_tree(scales))
    if config.accumulate > 1:
        tx = optax.MultiSteps(tx, config.accumulate).gradient_transformation()
    return tx


def is_kernel(params: Params) -> Params:
    """True for weights that decay: kernels, not biases, norms, tokens or positions."""
    return _map_paths(params, lambda path: path.endswith("kernel"))


def frozen_mask(params: Params, pattern: str) -> Params:
    """True for every parameter whose path, like "blocks_0/attention/...", matches."""
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"--config.train.freeze={pattern!r} is not a regular expression: {error}",
            exit_code=2,
        ) from None
    mask = _map_paths(params, lambda path: regex.search(path) is not None)
    frozen = jax.tree.leaves(mask)
    if all(frozen) or not any(frozen):
        some = ", ".join(list(traverse_util.flatten_dict(params, sep="/"))[:3])
        raise UserError(
            f"--config.train.freeze={pattern!r} freezes {sum(frozen)} of the "
            f"{len(frozen)} parameters; their paths are {some}, ...",
            exit_code=2,
        )
    return mask


def layer_scales(params: Params, decay: float) -> Params:
    """decay^(distance from the head): head 1, last block decay, ... first of all.

    Layer-wise learning-rate decay, Clark et al. 2020 (ELECTRA).
    """
    blocks = [
        int(found.group(1))
        for path in traverse_util.flatten_dict(params, sep="/")
        if (found := re.match(r"blocks_(\d+)/", path))
    ]
    depth = max(blocks, default=-1) + 1

    def scale(path: str) -> float:
        if path.startswith("head"):
            return 1.0
        if found := re.match(r"blocks_(\d+)/", path):
            return decay ** (depth - int(found.group(1)))
        after_blocks = path.startswith(("norm", "last"))
        return decay if after_blocks else decay ** (depth + 1)

    return _map_paths(params, scale)


def _scale_by_tree(scales: Params) -> optax.GradientTransformation:
    def update(updates: Params, params: Params) -> Params:
        del params
        return jax.tree.map(jnp.multiply, updates, scales)

    return optax.stateless(update)


def _map_paths(params: Params, function: Any) -> Params:
    flat = traverse_util.flatten_dict(params, sep="/")
    return traverse_util.unflatten_dict(
        {path: function(path) for path in flat}, sep="/"
    )
