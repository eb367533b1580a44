"""One training run in several processes: joining it, and what they tell each other.

Every process runs the same program at the same steps; what depends on one process's
clock, signals or disk is agreed on first. All see the same files. Alone, a process gets
its own values back and nothing is sent.
"""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from aplantida_jax.errors import UserError
from aplantida_jax.peers import Peers

T = TypeVar("T")

# A machine that lost power or its network sends no word; a death is noticed by `peers`.
_HEARTBEAT_SECONDS = 30
_START_SECONDS = 120


def join(peers: Peers) -> None:
    """Makes this process one of several for JAX; before anything is computed."""
    place = peers.place
    # JAX's service listens where we do, not on every address of the machine.
    bind = peers.jax_address if place.process == 0 else None
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        peers.jax_address,
        num_processes=place.processes,
        process_id=place.process,
        cluster_detection_method="deactivate",
        initialization_timeout=_START_SECONDS,
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        coordinator_bind_address=bind,
    )
    # JAX takes SIGTERM for a notice that nobody here reads: until the loop listens for
    # it, it ends the process as ever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if len({device.platform for device in jax.devices()}) > 1:
        raise UserError("the processes compute on different platforms: give --device")


def is_first() -> bool:
    """Whether this process writes what a run leaves once."""
    return jax.process_index() == 0


def shard() -> tuple[int, int]:
    """(index, count) of this process."""
    return jax.process_index(), jax.process_count()


def barrier(name: str) -> None:
    """Waits until all are here; the name must be the same for all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def highest(values: Sequence[int]) -> list[int]:
    """The largest of every process's, one by one."""
    if jax.process_count() == 1:
        return list(values)
    everyones = multihost_utils.process_allgather(np.asarray(values, np.int32))
    return [int(value) for value in everyones.max(axis=0)]


def gather(value: Any) -> list[Any]:
    """What every process says (plain JSON), by process."""
    if jax.process_count() == 1:
        return [value]
    said = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(said)))
    everyones = multihost_utils.process_allgather(_padded(said, int(lengths.max())))
    return [
        json.loads(row[:length].tobytes())
        for row, length in zip(everyones, lengths, strict=True)
    ]


def first_says(compute: Callable[[], T]) -> T:
    """What the first process computes (plain JSON); the others only listen."""
    return gather(compute() if is_first() else None)[0]


def require_same(key: str | None) -> None:
    """Raises UserError when the processes would do different work."""
    if len(set(gather(key))) > 1:
        raise UserError(
            "the processes do not agree on the configuration or the data: start all "
            "with the same command, on the same files"
        )


@contextlib.contextmanager
def first_then_all(name: str) -> Iterator[bool]:
    """Yields whether to do the block's work; all wait until the first has done it."""
    yield is_first()
    barrier(name)


def from_first(tree: Any) -> Any:
    """The first process's arrays, so that all start from the very same bits."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(tree)


def _padded(data: np.ndarray, length: int) -> np.ndarray:
    """To a power of two: each length of a message is compiled once."""
    room = 1 << max(6, (length - 1).bit_length())
    return np.pad(data, (0, room - len(data)))
