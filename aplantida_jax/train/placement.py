"""Where arrays live: a batch is split over all devices, everything else is on each.

Data parallelism by one mesh axis, "data", over the devices of all processes, in their
order: row r of the global batch is on the same device whichever process read it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from aplantida_jax import distributed
from aplantida_jax.data.pipeline import Batch
from aplantida_jax.errors import UserError

Shardings = tuple[jax.sharding.NamedSharding, jax.sharding.NamedSharding]


def shardings(config: Any) -> Shardings:
    """(split along the batch, replicated) over all devices.

    Raises:
        UserError: a batch does not divide among the devices.
    """
    devices = jax.devices()
    for field in ("train", "eval"):
        size = config[field].batch_size
        if size % len(devices):
            raise UserError(
                f"--config.{field}.batch_size={size} does not divide among "
                f"{len(devices)} devices",
                exit_code=2,
            )
    return over(devices)


def over(devices: Sequence[jax.Device]) -> Shardings:
    """(split along the first axis, replicated) over the devices."""
    mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    return (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")),
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()),
    )


def shard_batch(batch: Batch, sharding: jax.sharding.Sharding) -> dict[str, jax.Array]:
    """This process's rows of a batch as its part of the global one, on the devices.

    The ids of the images stay behind: no device needs them.
    """
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
        if name != "image_id"
    }


def replicate(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """The first process's arrays on all devices of all processes."""
    return jax.make_array_from_process_local_data(
        sharding, distributed.from_first(tree)
    )


def devices() -> str:
    """What there is to compute on, e.g. "gpu: 1 x NVIDIA GeForce RTX 3060"."""
    first = jax.devices()[0]
    return f"{first.platform}: {jax.device_count()} x {first.device_kind}"
