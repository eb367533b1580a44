"""Losses as pure functions of logits; every mean is over the batch, in nats.

Logits are float32 [b, c]; targets and teacher probabilities are rows that sum to 1. A
class that a model does not cover has logit `MASKED`, so that its probability is 0 and
its share of a loss is 0 too, without infinities.
"""

import jax
import jax.numpy as jnp
import numpy as np

# exp(-1e9) is 0 in float32, and 0 * -1e9 is 0, where 0 * -inf would be NaN.
MASKED = -1e9


def mask_classes(logits: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Gives the classes that `class_mask` bool [c] leaves out no probability."""
    return jnp.where(class_mask, logits, MASKED)


def smoothed_targets(
    label: jax.Array, class_mask: jax.Array, *, smoothing: float
) -> jax.Array:
    """One-hot targets, mixed with the uniform distribution over the covered classes.

    Label smoothing of Szegedy et al. 2016; `label` int [b] -> float32 [b, c].
    """
    classes = class_mask.shape[0]
    uniform = class_mask / class_mask.sum()
    return (1 - smoothing) * jax.nn.one_hot(label, classes) + smoothing * uniform


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the batch of -sum(targets * log softmax(logits))."""
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1))


def expand_soft_labels(
    teacher_class: jax.Array,
    teacher_logprob: jax.Array,
    teacher_tail: jax.Array,
    covers: jax.Array,
    class_mask: jax.Array,
) -> jax.Array:
    """Dense teacher probabilities float32 [b, c] from stored top-k rows.

    A tail is spread evenly over the classes that its teacher covers and that the row
    does not keep; one without such classes goes to the kept ones. Label smoothing gives
    it that shape: a network trained with it, as the teachers are (0.1), has learnt to
    give all others an even share. It is wrong for one that is in doubt or was trained
    without: others fall off with their rank, and p^(1/T) lifts an even tail above that.
    Stage predict measures it at `distill.temperature`; `predict.top_k` is what helps.

    Args:
        teacher_class: int [b, k], -1 where a row has fewer than k classes.
        teacher_logprob: float [b, k].
        teacher_tail: float [b, t], the mass of each teacher outside the top k.
        covers: bool [t, c], the classes that each teacher covers.
        class_mask: bool [c], classes that the student covers; what a teacher gives to
            others is dropped and the row renormalised.
    """
    classes = class_mask.shape[0]
    rows = jnp.arange(teacher_class.shape[0])[:, None]
    # Out-of-range indices are dropped by the scatter.
    at = jnp.where(teacher_class >= 0, teacher_class, classes)
    empty = jnp.zeros((teacher_class.shape[0], classes))
    top = jnp.exp(teacher_logprob.astype(jnp.float32))
    dense = empty.at[rows, at].set(top, mode="drop")
    others = ~empty.astype(bool).at[rows, at].set(True, mode="drop")
    spread, left = jnp.zeros_like(dense), jnp.zeros(len(dense))
    for tail, cover in zip(teacher_tail.T, covers, strict=True):
        rest = cover & others
        count = rest.sum(axis=-1)
        spread += rest * (tail / jnp.maximum(count, 1))[:, None]
        left += jnp.where(count > 0, 0.0, tail)
    dense *= 1 + (left / dense.sum(axis=-1))[:, None]
    return renormalise(dense + spread, class_mask)


def renormalise(teacher: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Rows float32 [b, c] over the covered classes bool [c] only, with sum 1.

    A row that has nothing there becomes the uniform distribution over them.
    """
    kept = jnp.where(class_mask, teacher, 0.0)
    total = kept.sum(axis=-1, keepdims=True)
    uniform = class_mask / class_mask.sum()
    return jnp.where(total > 0, kept / jnp.where(total > 0, total, 1.0), uniform)


def distillation_loss(
    logits: jax.Array, teacher: jax.Array, *, temperature: float
) -> jax.Array:
    """T^2 KL(teacher_T || student_T), Hinton et al. 2015.

    Args:
        logits: of the student, [b, c].
        teacher: probabilities at temperature 1, [b, c]; softened here, which for
            probabilities is p^(1/T), renormalised.
        temperature: T; T^2 keeps the gradient's size comparable over T.
    """
    covered = teacher > 0
    log_teacher = jnp.where(covered, jnp.log(jnp.where(covered, teacher, 1.0)), MASKED)
    log_teacher = jax.nn.log_softmax(log_teacher / temperature)
    log_student = jax.nn.log_softmax(logits / temperature)
    divergence = jnp.sum(
        jnp.exp(log_teacher) * jnp.where(covered, log_teacher - log_student, 0.0),
        axis=-1,
    )
    return temperature**2 * jnp.mean(divergence)


def adjust_logits(logits: jax.Array, log_prior: jax.Array, *, tau: float) -> jax.Array:
    """Logit adjustment for training on a long tail, Menon et al. 2021, eq. 10.

    `log_prior` float [c] is the log of the frequencies at which classes are drawn.
    """
    return logits + tau * log_prior


def class_weights(
    count: np.ndarray, *, method: str, beta: float = 0.0
) -> np.ndarray | None:
    """Weights of the classes' images in the cross-entropy, for a long tail.

    Args:
        count: [c], images of each class that an epoch draws, see
            `order.effective_counts`; not those that lie on the disk, or a class that
            is drawn more often would be weighed up a second time.
        method: "none"; "balanced" is 1 / n; "square_root" 1 / sqrt(n);
            "effective_number" (1 - beta) / (1 - beta^n), Cui et al. 2019, which goes
            from no weights at beta = 0 to "balanced" towards 1.
        beta: in 0..1, 1 excluded.

    Returns:
        float32 [c] whose mean over the images drawn is 1, so that the learning rate
        keeps its meaning; 0 for a class without images. None for "none".
    """
    if method == "none":
        return None
    n = np.where(np.asarray(count) > 0, count, 1.0)
    weight = {
        "balanced": 1 / n,
        "square_root": 1 / np.sqrt(n),
        "effective_number": (1 - beta) / (1 - beta**n),
    }[method]
    weight = np.where(np.asarray(count) > 0, weight, 0.0)
    return (weight * np.sum(count) / np.sum(weight * count)).astype(np.float32)
