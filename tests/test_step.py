"""The compiled steps: they learn, respect masks, and count what is real."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax import models
from aplantida_jax.train import optimizer, state, step


@pytest.fixture
def parts(dataset: Dataset):
    config = dataset.teacher()
    module = models.create("vit_mini_patch8_64", num_classes=6, image_size=32)
    variables = state.init_variables(module, image_size=32, seed=0)
    tx = optimizer.make(config.train, variables["params"])
    constants = step.Constants(jnp.array([True] * 4 + [False] * 2), jnp.zeros(6))
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (16, 32, 32, 3)).astype(np.uint8),
        "label": rng.integers(0, 4, 16).astype(np.int32),
    }
    return config, module, variables, tx, constants, batch


def test_a_batch_is_learnt_by_heart(parts):
    config, module, variables, tx, constants, batch = parts
    config.augment.mixup_probability = 0.0
    train_step = step.make_train_step(module, tx, config)
    current = state.create(variables, tx, ema_decay=0.0)
    current, first = train_step(current, batch, np.float32(1e-3), constants)
    for _ in range(30):
        current, last = train_step(current, batch, np.float32(1e-3), constants)
    assert float(last["loss"]) < 0.5 * float(first["loss"])
    assert int(current.step) == 31
    assert float(current.sums["count"]) == 31 * 16


def test_the_same_state_and_batch_give_the_same_next_state(parts):
    config, module, variables, tx, constants, batch = parts
    train_step = step.make_train_step(module, tx, config)

    def once():
        copy = jax.tree.map(jnp.copy, variables)
        fresh = state.create(copy, tx, ema_decay=0.9)
        return train_step(fresh, batch, np.float32(1e-3), constants)[0]

    jax.tree.map(np.testing.assert_array_equal, once(), once())


def test_the_average_follows_the_parameters(parts):
    config, module, variables, tx, constants, batch = parts
    config.train.ema_decay = 0.75
    before = jax.tree.map(np.asarray, variables["params"])
    fresh = state.create(variables, tx, ema_decay=0.75)
    train_step = step.make_train_step(module, tx, config)
    after, _ = train_step(fresh, batch, np.float32(1e-2), constants)
    jax.tree.map(
        lambda a, b, e: np.testing.assert_allclose(e, 0.75 * b + 0.25 * a, atol=1e-6),
        after.params,
        before,
        after.ema,
    )


def test_masked_classes_are_never_answered(parts):
    config, module, variables, _, constants, batch = parts
    evaluate = step.make_evaluation_step(module, config)
    logits = evaluate(variables, batch["image"], constants.class_mask)
    probability = jax.nn.softmax(logits)
    np.testing.assert_array_equal(probability[:, 4:], 0)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)


def test_validation_counts_real_images_only(parts):
    config, module, variables, _, constants, batch = parts
    validate = step.make_validation_step(module, config)
    mask = np.arange(16) < 11
    sums = validate(variables, {**batch, "mask": mask}, constants)
    evaluate = step.make_evaluation_step(module, config)
    logits = np.asarray(evaluate(variables, batch["image"], constants.class_mask))
    label = batch["label"]
    log_p = jax.nn.log_softmax(logits)[np.arange(16), label]
    assert float(sums["count"]) == 11
    np.testing.assert_allclose(float(sums["loss"]), -log_p[:11].sum(), rtol=1e-5)
    hits = (logits.argmax(1) == label)[:11].sum()
    assert float(sums["top1"]) == hits
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    assert float(sums["top5"]) == (order == label[:, None]).any(1)[:11].sum()
