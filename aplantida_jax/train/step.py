"""The compiled train and evaluation steps.

What differs between experiments of one shape without changing the computation (learning
rate, class mask, class prior and weights) is an argument, so that they share one
compilation.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from aplantida_jax.train import device_augment, inputs, losses, parameter_groups
from aplantida_jax.train.inputs import Batch, Constants, Inputs
from aplantida_jax.train.optimizer import Optimizer
from aplantida_jax.train.state import TrainState

Metrics = dict[str, jax.Array]
LossFunction = Callable[[Any, Any], tuple[jax.Array, tuple[Any, jax.Array]]]


def make_train_step(
    module: Any,
    tx: Optimizer,
    config: Any,
    sharding: jax.sharding.NamedSharding | None = None,
) -> Callable[[TrainState, Batch, ArrayLike, Constants], tuple[TrainState, Metrics]]:
    """(state, batch, learning_rate, constants) -> (state, metrics).

    The state is donated. The metrics are the loss, `grad_norm`, which is of the batch's
    gradient, before clipping, by the parameters that train, and `is_finite`, a bool: of
    all parameters and batch_stats of the new state, which the next loss would only tell
    of after a checkpoint.

    Args:
        module: flax module; called with train=True.
        tx: from `optimizer.make`.
        config: the whole configuration.
        sharding: of the state and the metrics that come out, with the mesh of what
            comes in; None is the compiler's.
    """
    mesh = sharding.mesh if sharding is not None else None

    def train_step(
        state: TrainState, batch: Batch, rate: ArrayLike, constants: Constants
    ) -> tuple[TrainState, Metrics]:
        rng_images, rng_dropout = inputs.keys(config.seed, state.step)
        seen = inputs.prepare(rng_images, batch, constants, config)
        seen = inputs.ask_teachers(seen, constants, config, mesh)
        loss_of = _loss_function(module, state, seen, rng_dropout, constants, config)
        grads, loss, stats, hits = _differentiate(loss_of, tx, state, seen)
        sums = _add(state.sums, loss, hits)
        state = _updated(tx, state, grads, stats, rate).replace(sums=sums)
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
        # A moving average of finite numbers is finite.
        is_finite = _is_finite((state.params, state.batch_stats))
        return state, {**metrics, "is_finite": is_finite}

    return jax.jit(train_step, donate_argnums=0, out_shardings=sharding)


def make_evaluation_step(
    module: Any, config: Any
) -> Callable[[Any, ArrayLike, jax.Array], jax.Array]:
    """(variables, images uint8 [b, h, w, 3], class_mask) -> logits float32 [b, c]."""

    def evaluation_step(
        variables: Any, images: ArrayLike, class_mask: jax.Array
    ) -> jax.Array:
        images = device_augment.normalise(
            device_augment.to_unit(images), mean=config.input.mean, std=config.input.std
        )
        logits = module.apply(variables, images, train=False)
        return losses.mask_classes(logits, class_mask)

    return jax.jit(evaluation_step)


def _updated(
    tx: Optimizer, state: TrainState, grads: Any, batch_stats: Any, rate: ArrayLike
) -> TrainState:
    """The state after a batch, but for its sums."""
    params, ema, opt_state = tx.update(
        *(grads, state.opt_state, state.params, state.ema),
        batch_stats=batch_stats,
        step=state.step,
        rate=rate,
    )
    return state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        ema=ema,
        opt_state=opt_state,
    )


def _differentiate(
    loss_of: LossFunction, tx: Optimizer, state: TrainState, seen: Inputs
) -> tuple[Any, jax.Array, Any, jax.Array]:
    """(gradients, loss, new batch_stats, bool [b] of right answers) of a batch."""
    trained, fixed = tx.split(state.params)
    (loss, (stats, logits)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
        trained, fixed
    )
    # A mixed image counts as its larger part.
    hits = logits.argmax(-1) == seen.targets.argmax(-1)
    return gradients, loss, stats, hits


def _loss_function(
    module: Any,
    state: TrainState,
    seen: Inputs,
    rng_dropout: jax.Array,
    constants: Constants,
    config: Any,
) -> LossFunction:
    """(parameters that train, the others) -> (loss, (new batch_stats, logits))."""
    images = device_augment.normalise(
        seen.images, mean=config.input.mean, std=config.input.std
    )

    def loss_of(trained: Any, fixed: Any) -> tuple[jax.Array, tuple[Any, jax.Array]]:
        logits, changed = module.apply(
            {
                "params": parameter_groups.merge(trained, fixed),
                "batch_stats": state.batch_stats,
            },
            images,
            train=True,
            rngs={"dropout": rng_dropout},
            mutable=["batch_stats"],
        )
        logits = losses.mask_classes(logits, constants.class_mask)
        loss = _loss(logits, seen, constants, config)
        return loss, (changed.get("batch_stats", {}), logits)

    return loss_of


def _loss(
    logits: jax.Array, seen: Inputs, constants: Constants, config: Any
) -> jax.Array:
    """The scalar to descend: cross-entropy, or its sum with the teachers' term.

    Label smoothing, class weights and logit adjustment are of the cross-entropy alone:
    they say what to make of a label, and a teacher's row is none. Where `ce_weight` is
    0 no label is in the loss, nor in its gradient.
    """
    if seen.teacher is None:
        return _entropy(logits, seen, constants, config)
    distance = losses.distillation_loss(
        logits, seen.teacher, temperature=config.distill.temperature
    )
    loss = config.distill.kl_weight * distance
    if config.distill.ce_weight:
        entropy = _entropy(logits, seen, constants, config)
        loss += config.distill.ce_weight * entropy
    return loss


def _entropy(
    logits: jax.Array, seen: Inputs, constants: Constants, config: Any
) -> jax.Array:
    """Cross-entropy with the labels, weighted and adjusted for a long tail."""
    tau = config.train.logit_adjustment
    if tau:
        logits = losses.adjust_logits(logits, constants.log_prior, tau=tau)
    return losses.cross_entropy(logits, seen.weighted)


def _is_finite(tree: Any) -> jax.Array:
    """Whether every number of a tree of arrays is, a bool scalar."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def _add(
    sums: dict[str, jax.Array], loss: jax.Array, hits: jax.Array
) -> dict[str, jax.Array]:
    """The epoch's sums with one more batch."""
    return {
        "loss": sums["loss"] + loss * hits.size,
        "top1": sums["top1"] + jnp.sum(hits).astype(jnp.float32),
        "count": sums["count"] + hits.size,
    }
