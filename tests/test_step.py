"""The compiled steps: they learn, respect masks, and count what is real."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Dataset
from tiny_vit import SIDE, tiny_vit

from aplantida_jax import models
from aplantida_jax.train import inputs, optimizer, state, step
from configs import common

CONSTANTS = step.Constants(jnp.array([True] * 4 + [False] * 2), jnp.zeros(6))


def random_batch(side):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (16, side, side, 3)).astype(np.uint8),
        "label": rng.integers(0, 4, 16).astype(np.int32),
    }


@pytest.fixture
def parts(dataset: Dataset):
    config = dataset.teacher()
    module = models.create("vit_mini_patch8_64", num_classes=6, image_size=32)
    variables = state.init_variables(module, image_size=32, seed=0)
    tx = optimizer.make(config.train, variables["params"])
    return config, module, variables, tx, CONSTANTS, random_batch(32)


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
    config, module, variables, _, constants, batch = parts
    config.train.ema_decay = 0.75
    tx = optimizer.make(config.train, variables["params"])
    before = jax.tree.map(np.asarray, variables["params"])
    fresh = state.create(variables, tx, ema_decay=0.75)
    train_step = step.make_train_step(module, tx, config)
    after, _ = train_step(fresh, batch, np.float32(1e-2), constants)
    jax.tree.map(
        lambda a, b, e: np.testing.assert_allclose(e, 0.75 * b + 0.25 * a, atol=1e-6),
        after.params,
        before,
        after.ema["params"],
    )


def test_masked_classes_are_never_answered(parts):
    config, module, variables, _, constants, batch = parts
    evaluate = step.make_evaluation_step(module, config)
    logits = evaluate(variables, batch["image"], constants.class_mask)
    probability = jax.nn.softmax(logits)
    np.testing.assert_array_equal(probability[:, 4:], 0)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)


@pytest.fixture
def plain():
    """A network of two blocks, and a configuration in which nothing is drawn."""
    config = common.base("x", "train")
    config.augment.update(
        {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    )
    config.augment.mixup_probability = 0.0
    config.train.accumulate = 1
    module = tiny_vit(num_classes=6)
    rng = np.random.default_rng(1)
    # A fresh head is all zeros, and passes no gradient on.
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0.1, 0.3, leaf.shape), jnp.float32),
        state.variable_shapes(module, image_size=SIDE),
    )
    return config, module, variables, CONSTANTS, random_batch(SIDE)


def parameters_after(config, module, variables, constants, batches):
    tx = optimizer.make(config.train, variables["params"])
    current = state.create(jax.tree.map(jnp.copy, variables), tx, ema_decay=0.0)
    train_step = step.make_train_step(module, tx, config)
    for batch in batches:
        current, metrics = train_step(current, batch, np.float32(0.01), constants)
    assert train_step._cache_size() == 1
    return current, metrics


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_update_that_overflows_is_told_of_by_the_step_that_made_it(
    plain, accumulate
):
    config, module, variables, constants, batch = plain
    config.train.accumulate = accumulate
    tx = optimizer.make(config.train, variables["params"])
    current = state.create(variables, tx, ema_decay=0.0)
    train_step = step.make_train_step(module, tx, config)
    told = []
    for _ in range(accumulate):
        current, metrics = train_step(current, batch, np.float32(np.inf), constants)
        assert np.isfinite(metrics["loss"])
        assert np.isfinite(metrics["grad_norm"])
        told.append(bool(metrics["is_finite"]))
    assert told == [True] * (accumulate - 1) + [False]
    numbers = np.concatenate([np.ravel(p) for p in jax.tree.leaves(current.params)])
    assert not np.isfinite(numbers).all()


def test_accumulated_batches_train_as_one_large_batch(plain):
    config, module, variables, constants, batch = plain
    large, _ = parameters_after(config, module, variables, constants, [batch, batch])
    config.train.accumulate = 4
    quarters = [{k: v[i : i + 4] for k, v in batch.items()} for i in (0, 4, 8, 12)]
    small, _ = parameters_after(config, module, variables, constants, quarters * 2)
    for mine, theirs, atol in (
        (small.opt_state.moments, large.opt_state.moments, 1e-6),
        # Adam makes a step of the rounding where the true gradient is 0.
        (small.params, large.params, 2e-3),
    ):
        assert jax.tree.all(
            jax.tree.map(lambda a, b, t=atol: jnp.allclose(a, b, atol=t), mine, theirs)
        )
    before = variables["params"]
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), large.params, before)
    assert min(jax.tree.leaves(moved)) > 5e-3


def test_what_is_frozen_stays_and_does_not_count_in_the_norm(plain):
    config, module, variables, constants, batch = plain
    _, everything = parameters_after(config, module, variables, constants, [batch])
    config.train.freeze = "^(?!head)"
    after, head = parameters_after(config, module, variables, constants, [batch])
    for name, before in variables["params"].items():
        same = jax.tree.map(np.array_equal, after.params[name], before)
        assert all(jax.tree.leaves(same)) == (name != "head"), name
    assert 0 < float(head["grad_norm"]) < float(everything["grad_norm"])
    assert float(head["loss"]) == pytest.approx(float(everything["loss"]), rel=1e-6)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(6)(images.mean(axis=(1, 2)))


def test_class_weights_weigh_the_images_of_their_classes(plain):
    config, _, _, constants, batch = plain
    module = Linear()
    variables = state.init_variables(module, image_size=SIDE, seed=0)
    config.train.label_smoothing = 0.1
    _, even = parameters_after(config, module, variables, constants, [batch])
    only = dataclasses.replace(constants, class_weight=jnp.array([2.0, 0, 0, 0, 0, 0]))
    _, weighted = parameters_after(config, module, variables, only, [batch])
    evaluate = step.make_evaluation_step(module, config)
    logits = evaluate(variables, batch["image"], constants.class_mask)
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)[:, :4]
    rows = 0.9 * np.eye(4)[batch["label"]] + 0.1 / 4
    of_image = -(rows * log_p).sum(axis=1)
    assert float(even["loss"]) == pytest.approx(of_image.mean(), rel=1e-5)
    expected = (2.0 * of_image * (batch["label"] == 0)).mean()
    assert float(weighted["loss"]) == pytest.approx(expected, rel=1e-5)


class Remembering(nn.Module):
    """A network whose statistics are its input."""

    @nn.compact
    def __call__(self, images, *, train):
        seen = self.variable("batch_stats", "seen", jnp.zeros, images.shape)
        seen.value = images
        return nn.Dense(6)(images.mean(axis=(1, 2)))


def test_the_view_is_what_the_network_was_given():
    config, batch, constants = common.base("x", "train"), random_batch(32), CONSTANTS
    config.augment.update({"mixup_probability": 1.0, "erasing": 0.5})
    module = Remembering()
    variables = module.init(jax.random.key(0), jnp.zeros((16, 32, 32, 3)), train=True)
    tx = optimizer.make(config.train, variables["params"])
    before = state.create(variables, tx, ema_decay=0.0).replace(step=jnp.int32(7))
    view = inputs.make_view(config)(np.int32(7), batch, constants)
    after, _ = step.make_train_step(module, tx, config)(
        before, batch, np.float32(0.1), constants
    )
    mean, std = np.array(config.input.mean), np.array(config.input.std)
    seen = 255 * (np.asarray(after.batch_stats["seen"]) * std + mean)
    assert view.dtype == np.uint8
    np.testing.assert_allclose(view, seen, atol=0.51)
    assert np.abs(np.asarray(view, float) - batch["image"]).mean() > 5
