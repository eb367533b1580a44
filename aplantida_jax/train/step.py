"""The compiled train and evaluation steps.

What differs between experiments of one shape without changing the computation (learning
rate, class mask, class prior) is an argument, so that they share one compilation.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from aplantida_jax.train import device_augment, losses, mixup
from aplantida_jax.train.state import TrainState

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Constants:
    """Arrays that a run's steps share; arguments, not compiled in.

    Attributes:
        class_mask: bool [c], the classes that the model answers with.
        log_prior: float32 [c], log of the training frequencies (for logit adjustment).
    """

    class_mask: jax.Array
    log_prior: jax.Array


jax.tree_util.register_dataclass(
    Constants, data_fields=["class_mask", "log_prior"], meta_fields=[]
)


def make_train_step(
    module: Any, tx: optax.GradientTransformation, config: Any
) -> Callable[
    [TrainState, Batch, ArrayLike, Constants], tuple[TrainState, dict[str, jax.Array]]
]:
    """(state, batch, learning_rate, constants) -> (state, {loss, grad_norm}).

    Args:
        module: flax module; called with train=True.
        tx: from `optimizer.make`, without learning rate.
        config: the whole configuration.
    """

    def train_step(
        state: TrainState, batch: Batch, rate: ArrayLike, constants: Constants
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        rng = jax.random.fold_in(jax.random.key(config.seed), state.step)
        rng_images, rng_dropout = jax.random.split(rng)
        images, targets, teacher = _inputs(rng_images, batch, constants, config)

        def loss_of(params: Any) -> tuple[jax.Array, tuple[Any, jax.Array]]:
            logits, changed = module.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                rngs={"dropout": rng_dropout},
                mutable=["batch_stats"],
            )
            logits = losses.mask_classes(logits, constants.class_mask)
            loss = _loss(logits, targets, teacher, constants, config)
            stats = changed.get("batch_stats", {})
            return loss, (stats, logits)

        (loss, (stats, logits)), grads = jax.value_and_grad(loss_of, has_aux=True)(
            state.params
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(
            state.params, jax.tree.map(lambda u: -jnp.asarray(rate) * u, updates)
        )
        state = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=stats,
            ema=_average(state.ema, params, config.train, state.step),
            opt_state=opt_state,
            sums=_add(state.sums, loss, logits, targets),
        )
        return state, {"loss": loss, "grad_norm": optax.tree.norm(grads)}

    return jax.jit(train_step, donate_argnums=0)


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


def _inputs(
    rng: jax.Array, batch: Batch, constants: Constants, config: Any
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Augmented images, target rows, and teacher rows when distilling."""
    rng_colour, rng_mix = jax.random.split(rng)
    images = device_augment.augment(
        rng_colour, device_augment.to_unit(batch["image"]), augment=config.augment
    )
    targets = losses.smoothed_targets(
        batch["label"], constants.class_mask, smoothing=config.train.label_smoothing
    )
    rows: tuple[jax.Array, ...] = (targets,)
    if config.distill.mode != "none":
        teacher = losses.expand_soft_labels(
            batch["teacher_class"],
            batch["teacher_logprob"],
            batch["teacher_tail"],
            constants.class_mask,
        )
        rows = (targets, teacher)
    images, rows = mixup.mix(rng_mix, images, rows, augment=config.augment)
    images = device_augment.normalise(
        images, mean=config.input.mean, std=config.input.std
    )
    return images, rows[0], rows[1] if len(rows) > 1 else None


def _loss(
    logits: jax.Array,
    targets: jax.Array,
    teacher: jax.Array | None,
    constants: Constants,
    config: Any,
) -> jax.Array:
    adjusted = logits
    if config.train.logit_adjustment:
        adjusted = losses.adjust_logits(
            logits, constants.log_prior, tau=config.train.logit_adjustment
        )
    entropy = losses.cross_entropy(adjusted, targets)
    if teacher is None:
        return entropy
    distance = losses.distillation_loss(
        logits, teacher, temperature=config.distill.temperature
    )
    return config.distill.kl_weight * distance + config.distill.ce_weight * entropy


def _add(
    sums: dict[str, jax.Array], loss: jax.Array, logits: jax.Array, targets: jax.Array
) -> dict[str, jax.Array]:
    """The epoch's sums with one more batch; a mixed image counts as its larger part."""
    hits = jnp.sum(logits.argmax(-1) == targets.argmax(-1)).astype(jnp.float32)
    count = logits.shape[0]
    return {
        "loss": sums["loss"] + loss * count,
        "top1": sums["top1"] + hits,
        "count": sums["count"] + count,
    }


def _average(ema: Any, params: Any, options: Any, batch: jax.Array) -> Any:
    """The moving average after a batch; it moves when the parameters do."""
    if not options.ema_decay:
        return ema
    updated = (batch + 1) % options.accumulate == 0
    decay = jnp.where(updated, options.ema_decay, 1.0)
    return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, ema, params)


def make_validation_step(
    module: Any, config: Any
) -> Callable[[Any, Batch, Constants], dict[str, jax.Array]]:
    """(variables, batch with mask, constants) -> sums of loss, top1, top5, count."""
    evaluation_step = make_evaluation_step(module, config)

    def validation_step(
        variables: Any, batch: Batch, constants: Constants
    ) -> dict[str, jax.Array]:
        logits = evaluation_step(variables, batch["image"], constants.class_mask)
        label, mask = batch["label"], batch["mask"].astype(jnp.float32)
        log_p = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(log_p, label[:, None], axis=1)[:, 0]
        own = jnp.take_along_axis(logits, label[:, None], axis=1)
        # Classes before the true one; equal logits in the order of argmax, so that a
        # head that is still all zeros is not right every time.
        earlier = jnp.arange(logits.shape[1])[None] < label[:, None]
        rank = jnp.sum((logits > own) | ((logits == own) & earlier), axis=1)
        return {
            "loss": jnp.sum(mask * loss),
            "top1": jnp.sum(mask * (rank < 1)),
            "top5": jnp.sum(mask * (rank < 5)),
            "count": jnp.sum(mask),
        }

    return jax.jit(validation_step)
