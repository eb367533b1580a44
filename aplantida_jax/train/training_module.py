"""The network as training runs it, beyond what best.json says of it.

How attention is computed, what is dropped and which norms keep their statistics changes
training only. best.json leaves it out, so that a network which was trained on a GPU is
evaluated and exported anywhere; but for norms whose statistics never were any, which
whoever trains the network further must leave alone too.
"""

import re
from collections.abc import Callable
from typing import Any

from absl import logging

from aplantida_jax import models
from aplantida_jax.errors import UserError
from aplantida_jax.models import registry
from aplantida_jax.train import parameter_groups, state

# Field of `config.model` -> the value that asks for nothing.
_OPTIONAL = {"drop_path": 0.0, "frozen_norms": ""}


def create(config: Any, fields: dict[str, Any]) -> Any:
    """The module to train.

    Args:
        config: the whole configuration.
        fields: arguments of `models.create` as best.json keeps them; its frozen_norms
            are the network's own need.

    Raises:
        UserError: the model has no such setting, or frozen_norms matches no norm.
    """
    known = registry.settings(fields["name"])
    for name, off in _OPTIONAL.items():
        if name not in known and config.model[name] != off:
            raise UserError(
                f"--config.model.{name}={config.model[name]!r}: {fields['name']} has "
                "no such setting",
                exit_code=2,
            )
    extra = {"attention": config.model.attention, "drop_path": config.model.drop_path}
    fields = {**fields, **{k: v for k, v in extra.items() if k in known}}
    if "frozen_norms" in known:
        fields["frozen_norms"] = _frozen_norms(config, fields)
    return models.create(**fields)


def _frozen_norms(config: Any, fields: dict[str, Any]) -> str:
    """Expression for the norms of the option, of the weights, and that don't train."""
    if fields.get("frozen_norms"):
        logging.info(
            "the weights have no BatchNorm statistics: the norms of %s stay frozen",
            fields["name"],
        )
        return fields["frozen_norms"]
    if not (
        config.model.frozen_norms or config.train.freeze or config.train.lr_multipliers
    ):
        return ""
    shapes = state.variable_shapes(
        models.create(**fields), image_size=config.model.image_size
    )
    scales = parameter_groups.learning_rate_scales(config.train, shapes["params"])
    wanted = config.model.frozen_norms
    norms = [p.removesuffix("scale") for p in scales if p.endswith("bn/scale")]
    chosen = [n for n in norms if wanted and _both(n, lambda p: re.search(wanted, p))]
    if wanted and not chosen:
        raise UserError(
            f"--config.model.frozen_norms={wanted!r} matches none of the {len(norms)} "
            f"norms; their paths are {', '.join(norms[:3])}, ...",
            exit_code=2,
        )
    # As in Keras, a norm that does not train does not count either.
    still = [n for n in norms if _both(n, lambda p: scales[p] == 0)]
    return "|".join(f"^{re.escape(norm)}" for norm in dict.fromkeys(chosen + still))


def _both(norm: str, test: Callable[[str], Any]) -> bool:
    return all(test(norm + leaf) for leaf in ("scale", "bias"))
