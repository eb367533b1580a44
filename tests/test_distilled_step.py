"""The loss of a distilling step: which of its terms each option touches."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from aplantida_jax.train import inputs, optimizer, state, step
from configs import common

IMAGES, SIDE, CLASSES, KEPT = 8, 6, 5, 3
PRIOR = np.log(np.array([0.5, 0.2, 0.15, 0.1, 0.05], np.float32))
WEIGHT = np.array([0.5, 1.0, 1.0, 2.0, 3.0], np.float32)
OF_THE_LABELS = {
    "train.label_smoothing": 0.1,
    "train.logit_adjustment": 1.0,
    "train.class_weights": "balanced",
}


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(CLASSES)(images.mean(axis=(1, 2)))


def batch():
    """Images, labels, and a teacher's rows of three classes and a tail of 0.1."""
    rng = np.random.default_rng(2)
    top = rng.dirichlet(np.ones(KEPT), IMAGES) * 0.9
    order = np.argsort(rng.random((IMAGES, CLASSES)), axis=1)[:, :KEPT]
    return {
        "image": rng.integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8),
        "label": rng.integers(0, CLASSES, IMAGES).astype(np.int32),
        "teacher_class": order.astype(np.int32),
        "teacher_logprob": np.log(top).astype(np.float32),
        "teacher_tail": np.full((IMAGES, 1), 0.1, np.float32),
    }


def dense_rows(rows):
    found = np.full((IMAGES, CLASSES), 0.1 / (CLASSES - KEPT))
    values = np.exp(rows["teacher_logprob"].astype(np.float64))
    np.put_along_axis(found, rows["teacher_class"], values, axis=1)
    return found


def configured(**fields):
    config = common.base("x", "train")
    for name in ("brightness", "contrast", "saturation", "hue", "mixup_probability"):
        config.augment[name] = 0.0
    config.distill.update({"mode": "precomputed", "temperature": 2.0})
    config.train.update({"accumulate": 1, "label_smoothing": 0.0})
    config.update_from_flattened_dict(fields)
    return config


def stepped(config, rows):
    """(variables before, state after, loss) of one step."""
    module = Linear()
    before = state.init_variables(module, image_size=SIDE, seed=1)
    tx = optimizer.make(config.train, before["params"])
    fresh = state.create(jax.tree.map(jnp.copy, before), tx, ema_decay=0.0)
    weight = WEIGHT if config.train.class_weights != "none" else None
    every = jnp.ones(CLASSES, bool)
    constants = inputs.Constants(every, PRIOR, weight, covers=every[None])
    train_step = step.make_train_step(module, tx, config)
    after, metrics = train_step(fresh, rows, np.float32(0.01), constants)
    return before, after, float(metrics["loss"])


def test_the_loss_by_hand():
    """Smoothing, weights and adjustment are of the label's term, and of it alone."""
    fields = {**OF_THE_LABELS, "distill.kl_weight": 0.7, "distill.ce_weight": 0.3}
    config, rows = configured(**fields), batch()
    before, _, loss = stepped(config, rows)
    images = (rows["image"] / 255.0 - config.input.mean) / config.input.std
    logits = np.float64(Linear().apply(before, images.astype("f4"), train=False))
    softened = dense_rows(rows) ** (1 / 2)
    softened /= softened.sum(axis=1, keepdims=True)
    log_student = scipy.special.log_softmax(logits / 2, axis=1)
    divergence = (softened * (np.log(softened) - log_student)).sum(axis=1)
    targets = 0.9 * np.eye(CLASSES)[rows["label"]] + 0.1 / CLASSES
    adjusted = scipy.special.log_softmax(logits + PRIOR, axis=1)
    entropy = -WEIGHT[rows["label"]] * (targets * adjusted).sum(axis=1)
    expected = 0.7 * 4 * divergence.mean() + 0.3 * entropy.mean()
    assert loss == pytest.approx(expected, rel=1e-5)


FREE = {"distill.kl_weight": 1.0, "distill.ce_weight": 0.0}


@pytest.fixture(scope="module")
def without_labels():
    return stepped(configured(**FREE), batch())


@pytest.mark.parametrize("changed", ["label", *OF_THE_LABELS])
def test_without_the_labels_term_nothing_of_it_counts(without_labels, changed):
    rows, fields = batch(), dict(FREE)
    if changed == "label":
        rows["label"] = np.roll(rows["label"], 1)
    else:
        fields[changed] = OF_THE_LABELS[changed]
    _, after, loss = stepped(configured(**fields), rows)
    _, plain, expected = without_labels
    assert loss == expected
    jax.tree.map(np.testing.assert_array_equal, plain.params, after.params)
    moments = plain.opt_state.moments, after.opt_state.moments
    jax.tree.map(np.testing.assert_array_equal, *moments)
