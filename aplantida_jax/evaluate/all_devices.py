"""Inference at the devices' pace: on all of this process's, without a pause.

The next batch is under way before anyone waits for the answer of the last.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
from ml_collections import ConfigDict

from aplantida_jax.data.pipeline import Batch
from aplantida_jax.train import placement

T = TypeVar("T")


def shardings() -> placement.Shardings:
    """(split along the batch, replicated) over this process's devices."""
    return placement.over(jax.local_devices())


def share_out(config: Any) -> Any:
    """The configuration with an `eval.batch_size` that divides among the devices.

    The next larger one where it does not; a last batch is padded anyhow.
    """
    count = jax.local_device_count()
    shared = ConfigDict(config.to_dict())
    shared.eval.batch_size = math.ceil(config.eval.batch_size / count) * count
    return shared


def answers(
    batches: Iterable[Batch], ask: Callable[[Batch], T]
) -> Iterator[tuple[Batch, T]]:
    """Each batch with its answer, which comes once the next batch was asked about.

    Args:
        batches: on the host.
        ask: dispatches a batch and returns device arrays, without waiting for them.
    """
    waiting: tuple[Batch, T] | None = None
    for batch in batches:
        asked = batch, ask(batch)
        if waiting is not None:
            yield waiting
        waiting = asked
    if waiting is not None:
        yield waiting
