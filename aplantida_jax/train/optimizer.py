"""From the gradients of batches to new parameters.

The learning rate is an argument of the compiled step, not a part of the optimiser, so
that runs which differ in it only share one compilation. Parameters that do not train
have no gradients, no moments and no sums; the step does not differentiate by them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax.typing import ArrayLike

from aplantida_jax.train import parameter_groups

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


class OptimizerState(NamedTuple):
    """Of the parameters that train.

    Attributes:
        mean: float32, of the gradients since the last update, what is missing counting
            as 0; {} where every batch is an update.
        moments: of optax.
    """

    mean: Any
    moments: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Optimizer:
    """Clipping, Adam or AdamW, a factor per parameter, accumulation, moving average.

    Attributes:
        transformation: of optax, without the learning rate.
        scales: path -> factor of the learning rate, see `parameter_groups`.
        accumulate: batches an update.
        ema_decay: of the moving average of parameters and BatchNorm statistics; both,
            for averaged weights do not fit the statistics of the raw ones.
    """

    transformation: optax.GradientTransformation
    scales: Mapping[str, float]
    accumulate: int
    ema_decay: float

    def init(self, params: Params) -> OptimizerState:
        trained, _ = self.split(params)
        mean = jax.tree.map(jnp.zeros_like, trained) if self.accumulate > 1 else {}
        return OptimizerState(mean, self.transformation.init(trained))

    def split(self, params: Params) -> tuple[Params, Params]:
        """The parameters that train and those that do not."""
        return parameter_groups.split(params, self.scales)

    def update(
        self,
        gradients: Params,
        state: OptimizerState,
        params: Params,
        ema: Any,
        *,
        batch_stats: Any,
        step: ArrayLike,
        rate: ArrayLike,
    ) -> tuple[Params, Params, OptimizerState]:
        """Takes one batch in, and every `accumulate`-th time changes the parameters.

        Args:
            gradients: of the mean loss of the batch, by the parameters that train.
            state: from `init` or the last update.
            params: all of them.
            ema: moving average {params, batch_stats}, {} for none.
            batch_stats: of the network after the batch.
            step: 0-based number of the batch.
            rate: learning rate.

        Returns:
            params, ema and state after the batch.
        """
        trained, fixed = self.split(params)
        average = {**ema, "params": self.split(ema["params"])[0]} if ema else {}
        if self.accumulate == 1:
            trained, average, moments = self._apply(
                gradients, trained, average, state.moments, batch_stats, rate
            )
            state = OptimizerState({}, moments)
        else:
            trained, average, state = self._accumulate(
                gradients, state, trained, average, batch_stats, step, rate
            )
        if ema:
            still = self.split(ema["params"])[1]
            average["params"] = parameter_groups.merge(average["params"], still)
        return parameter_groups.merge(trained, fixed), average, state

    def _accumulate(
        self,
        gradients: Params,
        state: OptimizerState,
        trained: Params,
        average: Any,
        batch_stats: Any,
        step: ArrayLike,
        rate: ArrayLike,
    ) -> tuple[Params, Any, OptimizerState]:
        mean = jax.tree.map(lambda m, g: m + g / self.accumulate, state.mean, gradients)

        def apply(
            mean: Any, trained: Any, average: Any, moments: Any
        ) -> tuple[Params, Any, OptimizerState]:
            trained, average, moments = self._apply(
                mean, trained, average, moments, batch_stats, rate
            )
            zeros = jax.tree.map(jnp.zeros_like, mean)
            return trained, average, OptimizerState(zeros, moments)

        def hold(
            mean: Any, trained: Any, average: Any, moments: Any
        ) -> tuple[Params, Any, OptimizerState]:
            return trained, average, OptimizerState(mean, moments)

        # Unlike optax.MultiSteps, which computes the update of every batch and throws
        # away all but one: for a ViT-B 2 GB of memory traffic.
        last = (jnp.asarray(step) + 1) % self.accumulate == 0
        return jax.lax.cond(last, apply, hold, mean, trained, average, state.moments)

    def _apply(
        self,
        gradients: Params,
        trained: Params,
        average: Any,
        moments: Any,
        batch_stats: Any,
        rate: ArrayLike,
    ) -> tuple[Params, Any, Any]:
        updates, moments = self.transformation.update(gradients, moments, trained)
        trained = jax.tree.map(
            lambda p, u: p - jnp.asarray(rate) * u, trained, self._scale(updates)
        )
        if average:
            raw = {"params": trained, "batch_stats": batch_stats}
            # Written so that what does not change keeps its bits: frozen norms.
            average = jax.tree.map(
                lambda a, r: a + (1 - self.ema_decay) * (r - a), average, raw
            )
        return trained, average, moments

    def _scale(self, updates: Params) -> Params:
        flat = traverse_util.flatten_dict(updates, sep="/")
        scaled = {
            path: update if self.scales[path] == 1 else self.scales[path] * update
            for path, update in flat.items()
        }
        return traverse_util.unflatten_dict(scaled, sep="/")


def make(config: Any, params: Params) -> Optimizer:
    """The optimiser of a run.

    The gradients that are clipped are means over the accumulated batches. Weight decay
    is decoupled (Loshchilov and Hutter 2019): it too is multiplied by the learning rate
    and the parameter's factor, and it is not clipped.

    Args:
        config: `config.train`.
        params: their paths decide what trains, and how fast.

    Raises:
        UserError: see `parameter_groups.learning_rate_scales`.
    """
    steps = [optax.clip_by_global_norm(config.clip_norm), optax.scale_by_adam()]
    if config.weight_decay and config.optimizer == "adamw":
        mask = parameter_groups.is_kernel
        steps.append(optax.add_decayed_weights(config.weight_decay, mask=mask))
    return Optimizer(
        transformation=optax.chain(*steps),
        scales=parameter_groups.learning_rate_scales(config, params),
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
    )
