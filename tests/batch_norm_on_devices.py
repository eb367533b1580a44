"""Run with eight simulated devices: a network with BatchNorm on one and on all of them.

Prints JSON: {"losses": [[...], [...]], "apart": {tree: largest difference}, "own": how
far the statistics of one device's images alone are from those of the batch}. A
MobileNetV2 whole takes a minute to compile; this is its stem and one of its blocks.
"""

import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aplantida_jax.models import mobilenet_v2
from aplantida_jax.train import optimizer, placement, state, step
from aplantida_jax.train.inputs import Constants
from configs import teacher_global

SIDE, CLASSES, IMAGES, STEPS = 32, 6, 32, 6


class StemAndBlock(nn.Module):
    """The first layers of a MobileNetV2 and its kind of head."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = mobilenet_v2.UnitOptions("tf", 1e-3, 0.9, "", "auto", "float32")
        spec = mobilenet_v2.BlockSpec(8, 2, 16, 2, False)
        x = mobilenet_v2.Unit(8, "full", options, stride=2)(x, train)
        x = mobilenet_v2.Block(spec, options)(x, train)
        return nn.Dense(CLASSES)(x.mean(axis=(1, 2)))


def batch() -> dict[str, np.ndarray]:
    """Images whose brightness goes up from the first device's to the last one's."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 64, (IMAGES, SIDE, SIDE, 3))
    bright = np.linspace(0, 191, IMAGES).astype(int)[:, None, None, None]
    label = np.arange(IMAGES, dtype=np.int32) % CLASSES
    return {"image": (noise + bright).astype(np.uint8), "label": label}


def train(devices: list[Any], images: slice) -> tuple[list[float], state.TrainState]:
    """Some steps on the devices: the losses, and the state after the last."""
    config = teacher_global.get_config("demo")
    config.train.update({"accumulate": 1, "ema_decay": 0.9})
    module = StemAndBlock()
    variables = state.init_variables(module, image_size=SIDE, seed=0)
    tx = optimizer.make(config.train, variables["params"])
    split, replicated = placement.over(devices)
    kept = state.create(variables, tx, ema_decay=0.9)
    kept = placement.replicate(kept, replicated)
    constants = Constants(jnp.ones(CLASSES, bool), jnp.zeros(CLASSES))
    constants = placement.replicate(constants, replicated)
    train_step = step.make_train_step(module, tx, config, replicated)
    rows = {name: value[images] for name, value in batch().items()}
    losses = []
    for _ in range(STEPS):
        arrays = placement.shard_batch(rows, split)
        kept, metrics = train_step(kept, arrays, np.float32(1e-2), constants)
        losses.append(float(metrics["loss"]))
    return losses, kept


def largest_difference(left: Any, right: Any) -> float:
    def between(one: jax.Array, other: jax.Array) -> float:
        return float(np.max(np.abs(np.asarray(one) - np.asarray(other))))

    return max(jax.tree.leaves(jax.tree.map(between, left, right)))


def main() -> None:
    devices = jax.devices()
    assert len(devices) == 8
    everything = slice(None)
    (one_losses, one), (all_losses, eight) = (
        train(devices[:1], everything),
        train(devices, everything),
    )
    _, part = train(devices[:1], slice(0, IMAGES // 8))
    trees = ("params", "batch_stats", "ema", "opt_state")
    apart = {
        name: largest_difference(getattr(one, name), getattr(eight, name))
        for name in trees
    }
    own = largest_difference(one.batch_stats, part.batch_stats)
    print(json.dumps({"losses": [one_losses, all_losses], "apart": apart, "own": own}))


if __name__ == "__main__":
    main()
