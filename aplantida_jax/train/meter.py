"""Throughput, time spent waiting for data, and a watch on losses and parameters."""

import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Iterator

import jax
import numpy as np

from aplantida_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class _Step:
    """A step that the device was given; times are of the monotonic clock, in seconds.

    Attributes:
        at: number of the step, from 1.
        rate: learning rate.
        ids: uint64 [b], of its images.
        metrics: of the compiled step.
        asked, came: when its batch was asked for, and there.
        before: when the device finished the step before.
        finished: when it finished this one.
    """

    at: int
    rate: float
    ids: np.ndarray
    metrics: dict[str, jax.Array]
    asked: float
    came: float
    before: "concurrent.futures.Future[float] | None"
    finished: "concurrent.futures.Future[float]"

    @property
    def idle(self) -> float:
        """How long the device had nothing to do but to wait for the batch."""
        since = max(self.asked, self.before.result()) if self.before else self.asked
        return max(0.0, self.came - since)


class Meter:
    """Fed with every step; `flush` sums up those since the last one."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._recent: list[_Step] = []
        # The two steps given last, that before the last first.
        self._last_two: list[concurrent.futures.Future[float]] = []
        self._asked = self._came = 0.0
        self._start = self._epoch_start = time.monotonic()
        # The device is asynchronous: one has to wait, to know when it finished what.
        self._clock = concurrent.futures.ThreadPoolExecutor(1, "when a step finished")
        self._epoch_images = 0
        self._last: dict[str, float] = {}

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Fetches a batch in the block.

        It first waits until one step at most is under way: batches would pile up in
        the device's memory, as far ahead of it as the host gets.
        """
        if len(self._last_two) == 2:
            self._last_two[0].result()
        self._asked = time.monotonic()
        yield
        self._came = time.monotonic()

    def add(
        self, at: int, rate: float, ids: np.ndarray, metrics: dict[str, jax.Array]
    ) -> None:
        """Takes note of a step that was given to the device; see `_Step`."""
        finished = self._clock.submit(_finish, metrics)
        before = self._last_two[-1] if self._last_two else None
        step = _Step(at, rate, ids, metrics, self._asked, self._came, before, finished)
        self._recent.append(step)
        self._last_two = [*self._last_two[-1:], finished]
        self._epoch_images += self._batch_size

    def flush(self) -> dict[str, float]:
        """Waits for the device and sums up the steps since the last flush.

        Raises:
            UserError: a loss, gradient or parameter is not finite; names step, rate
                and images.
        """
        if not self._recent:
            return self._last
        for step in self._recent:
            _require_finite(step)
        seconds = time.monotonic() - self._start
        count = len(self._recent)
        self._last = {
            name: float(np.mean([step.metrics[name] for step in self._recent]))
            for name in ("loss", "grad_norm")
        } | {
            "learning_rate": self._recent[-1].rate,
            "images_per_second": count * self._batch_size / seconds,
            "data_wait": sum(step.idle for step in self._recent) / seconds,
        }
        self._recent = []
        self._start = time.monotonic()
        return self._last

    def epoch_speed(self) -> float:
        """Images a second since the last call, validation included."""
        now = time.monotonic()
        speed = self._epoch_images / (now - self._epoch_start)
        self._epoch_images, self._epoch_start = 0, now
        return speed


def _finish(metrics: dict[str, jax.Array]) -> float:
    jax.block_until_ready(metrics)
    return time.monotonic()


def _require_finite(step: _Step) -> None:
    metrics = step.metrics
    if np.isfinite(metrics["loss"]) and np.isfinite(metrics["grad_norm"]):
        if metrics["is_finite"]:
            return
        what = "what the update made of the network"
    else:
        what = "loss or gradient"
    names = ", ".join(f"{int(i):016x}" for i in step.ids[:4])
    raise not_finite(what, step.at, f"{step.rate:.3g}, images {names}, ...")


def not_finite(what: str, step: int, rate: str) -> UserError:
    """What to raise for a run that diverged; `rate` may name its images too."""
    return UserError(
        f"{what} is not finite at step {step} (learning rate {rate}): the last good "
        "checkpoint is kept; lower --config.train.learning_rate, or look at the images"
    )
