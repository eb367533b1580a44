"""Run with four simulated devices: an online distillation on one and on all of them.

Prints JSON: {"one": [...], "four": [...], "apart": largest difference of a parameter}.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import test_teachers
from tiny_vit import tiny_vit

from aplantida_jax.train import inputs, optimizer, placement, state, step


def train(devices: list[Any]) -> tuple[list[float], Any]:
    """Some steps on the devices: the losses, and the parameters after the last."""
    config, module = test_teachers.online(mixup_probability=0.5), tiny_vit(depth=1)
    variables = test_teachers.random_variables(module, 9)
    tx = optimizer.make(config.train, variables["params"])
    split, replicated = placement.over(devices)
    kept = placement.replicate(state.create(variables, tx, ema_decay=0.0), replicated)
    constants = inputs.Constants(
        jnp.ones(test_teachers.CLASSES, bool),
        jnp.zeros(test_teachers.CLASSES),
        teachers=test_teachers.two_teachers(),
    )
    constants = placement.replicate(constants, replicated)
    train_step = step.make_train_step(module, tx, config, replicated)
    batch = test_teachers.random_batch()
    # Eight images: the devices share them.
    rows = {name: np.concatenate([a, a[:2]]) for name, a in batch.items()}
    losses = []
    for _ in range(8):
        arrays = placement.shard_batch(rows, split)
        kept, metrics = train_step(kept, arrays, np.float32(1e-2), constants)
        losses.append(float(metrics["loss"]))
    return losses, jax.tree.map(np.asarray, kept.params)


def main() -> None:
    devices = jax.devices()
    assert len(devices) == 4
    (one, mine), (four, theirs) = train(devices[:1]), train(devices)
    apart = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), mine, theirs)
    largest = max(jax.tree.leaves(apart))
    print(json.dumps({"one": one, "four": four, "apart": largest}))


if __name__ == "__main__":
    main()
