"""The network that training starts from: of init_from, of pretrained, or scratch."""

from typing import Any

import jax
import numpy as np
from absl import logging
from flax import traverse_util

from aplantida_jax import models, paths
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.models import head_rank
from aplantida_jax.models.origins import Origin
from aplantida_jax.train import checkpoint, pretraining, state, training_module
from aplantida_jax.train.pretraining import Provenance

Initial = tuple[Any, Any, dict[str, Any], Provenance]


def fields(config: Any, num_classes: int, *, origin: Origin | None) -> dict[str, Any]:
    """Arguments of `models.create`, as best.json keeps them.

    Padding, epsilon and activation follow where the weights come from, if there are
    any, and so does the normalisation of `config.input`.
    """
    found = {
        "name": config.model.name,
        "num_classes": num_classes,
        "image_size": config.model.image_size,
        "dropout": config.model.dropout,
        "dtype": config.model.dtype,
        "remat": config.model.remat,
        "head_rank": config.model.head_rank,
    }
    if origin is not None:
        follow_normalisation(config, origin.mean, origin.std)
        found.update(origin.settings)
    return found


def follow_normalisation(config: Any, mean: Any, std: Any) -> None:
    """Feeds a network with images normalised as those that it was trained with."""
    wanted = {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
    for name, value in wanted.items():
        if not np.allclose(config.input[name], value, atol=1e-3):
            logging.info("input.%s follows the weights: %s", name, value)
            config.input[name] = value


def make(config: Any, label_map: LabelMap, *, only_shapes: bool = False) -> Initial:
    """Module, variables, fields and ancestors of a run at its start.

    Args:
        config: the whole configuration; its `input` takes the weights' normalisation.
        label_map: what the classes are.
        only_shapes: of what no weights fill, which then costs no time.

    Raises:
        UserError: the weights are missing, damaged, of another network or other
            classes, or may not be used.
    """
    if config.model.init_from:
        return _from_experiment(config, label_map)
    opened = pretraining.opened(config)
    origin = opened.origin if opened else None
    described = fields(config, len(label_map), origin=origin)
    module = training_module.create(config, described)
    variables = _unfilled(config, module, only_shapes=only_shapes)
    if opened is None:
        logging.info("starting from scratch")
        return module, variables, described, []
    variables, report = models.load_pretrained(
        opened, module, variables, label_map=label_map.fingerprint
    )
    ancestors = pretraining.provenance(config, report.origin)
    pretraining.require_licence(config, ancestors)
    return module, variables, described, ancestors


def _unfilled(config: Any, module: Any, *, only_shapes: bool) -> Any:
    """Random variables, or their shapes."""
    size = config.model.image_size
    if only_shapes:
        return state.variable_shapes(module, image_size=size)
    return state.init_variables(module, image_size=size, seed=config.seed)


def _from_experiment(config: Any, label_map: LabelMap) -> Initial:
    """The best checkpoint of `model.init_from`."""
    name = config.model.init_from
    parent = checkpoint.load_best(paths.run_dir(config, name), label_map)
    past = parent.info["input"]
    follow_normalisation(config, past["mean"], past["std"])
    described = {
        **parent.info["model"],
        **fields(config, len(label_map), origin=None),
    }
    module = training_module.create(config, described)
    shapes = state.variable_shapes(module, image_size=config.model.image_size)
    logging.info("starting from %s, epoch %d", name, parent.info["epoch"])
    source = _with_head_rank(parent.variables, config.model.head_rank)
    variables = state.take_over(shapes, source, name=name)
    kind = {"name": name, "kind": "teacher", "licences": []}
    return module, variables, described, [kind, *parent.info["provenance"]]


def _with_head_rank(variables: Any, rank: int) -> Any:
    """Variables with a dense head or a factorised one, whichever they have."""
    params = jax.tree.map(np.asarray, variables["params"])
    flat = head_rank.change(traverse_util.flatten_dict(params, sep="/"), rank)
    return {**variables, "params": traverse_util.unflatten_dict(flat, sep="/")}
