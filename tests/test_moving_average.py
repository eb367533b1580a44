"""The averaged network, BatchNorm's statistics included: made, evaluated, kept."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.models.channelwise import BatchNorm
from aplantida_jax.train import checkpoint, optimizer, state, step
from aplantida_jax.train.inputs import Constants
from configs import common

DECAY = 0.75
SIDE = 8


class Network(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = nn.Conv(4, (3, 3), name="stem")(images)
        x = BatchNorm(epsilon=1e-3, momentum=0.5, name="bn")(x, train=train)
        return nn.Dense(3, name="head")(nn.relu(x).mean(axis=(1, 2)))


def batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (8, SIDE, SIDE, 3)).astype(np.uint8)
    return {"image": images, "label": rng.integers(0, 3, 8).astype(np.int32)}


def variables_of(kept: state.TrainState) -> dict[str, Any]:
    raw = {"params": kept.params, "batch_stats": kept.batch_stats}
    return jax.tree.map(np.asarray, raw)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_is_the_recurrence_in_float64_and_comes_back_whole(
    accumulate, tmp_path: Path
):
    config = common.base("x", "train")
    config.train.update({"accumulate": accumulate, "ema_decay": DECAY})
    module = Network()
    fresh = state.init_variables(module, image_size=SIDE, seed=0)
    tx = optimizer.make(config.train, fresh["params"])
    like = state.create(jax.tree.map(jnp.copy, fresh), tx, ema_decay=DECAY)
    kept = state.create(fresh, tx, ema_decay=DECAY)
    expected = jax.tree.map(np.float64, variables_of(kept))
    train_step = step.make_train_step(module, tx, config)
    constants = Constants(jnp.ones(3, bool), jnp.zeros(3))
    for number in range(4):
        kept, _ = train_step(kept, batch(number), np.float32(0.05), constants)
        if (number + 1) % accumulate == 0:
            expected = jax.tree.map(
                lambda a, r: DECAY * a + (1 - DECAY) * r, expected, variables_of(kept)
            )
    found = state.evaluation_variables(kept)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected
    )
    raw_mean = kept.batch_stats["bn"]["mean"]
    assert np.abs(found["batch_stats"]["bn"]["mean"] - raw_mean).max() > 1e-3
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, kept, {})
        checkpoints.commit()
        restored = checkpoints.restore(like)
    assert restored is not None
    jax.tree.map(np.testing.assert_array_equal, restored[0], kept)
