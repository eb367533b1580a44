"""Run with four simulated devices: an online distillation on one and on all of them.

On all of them the teachers are asked in parts. Prints JSON: {"one": [...], "four":
[...], "apart": largest difference of a parameter, "answers": largest differences of
teachers' answers, "moved": what moves data between devices in the program of these}.
"""

import functools
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import test_teachers
from tiny_vit import tiny_vit

from aplantida_jax.train import inputs, optimizer, placement, state, step
from aplantida_jax.train.teachers import Teachers


def train(devices: list[Any], at_a_time: int) -> tuple[list[float], Any]:
    """Some steps on the devices: the losses, and the parameters after the last."""
    config, module = test_teachers.online(mixup_probability=0.5), tiny_vit(depth=1)
    config.distill.teacher_batch_size = at_a_time
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


def answer(devices: list[Any]) -> dict[str, Any]:
    """What the teachers say of 24 images, in parts of some sizes and all at once."""
    split, replicated = placement.over(devices)
    teachers, images, applies = test_teachers.linear_teachers(24)
    alone = teachers.answer(images, applies)
    given = (
        placement.replicate(teachers, replicated),
        *(jax.device_put(part, split) for part in (images, applies)),
    )
    apart, moved = [], set()
    for at_a_time in (0, 2, 4, 6):  # of six images on each device
        asked = functools.partial(
            Teachers.answer, at_a_time=at_a_time, mesh=replicated.mesh
        )
        program = jax.jit(asked).lower(*given).compile()
        rows = program(*given)
        assert rows.sharding.is_equivalent_to(split, 2)
        apart.append(float(np.abs(rows - alone).max()))
        moved |= set(re.findall(r"all-\w+|collective-\w+", program.as_text()))
    return {"answers": apart, "moved": sorted(moved)}


def main() -> None:
    devices = jax.devices()
    assert len(devices) == 4
    (one, mine), (four, theirs) = train(devices[:1], 0), train(devices, 1)
    apart = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), mine, theirs)
    largest = max(jax.tree.leaves(apart))
    found = {"one": one, "four": four, "apart": largest}
    print(json.dumps({**found, **answer(devices)}))


if __name__ == "__main__":
    main()
