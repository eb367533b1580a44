"""Throughput, time spent waiting for data, and a watch on the losses."""

import contextlib
import time
from collections.abc import Iterator

import jax
import numpy as np

from aplantida_jax.errors import UserError


class Meter:
    """Fed with every step; `flush` sums up those since the last one."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._recent: list[tuple[int, float, np.ndarray, dict[str, jax.Array]]] = []
        self._start = self._epoch_start = time.monotonic()
        self._waited = 0.0
        self._epoch_images = 0
        self.last_rate = 0.0
        self._last: dict[str, float] = {}

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the block as time spent waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def add(
        self, at: int, rate: float, ids: np.ndarray, metrics: dict[str, jax.Array]
    ) -> None:
        self._recent.append((at, rate, ids, metrics))
        self.last_rate = rate
        self._epoch_images += self._batch_size

    def flush(self) -> dict[str, float]:
        """Waits for the device and sums up the steps since the last flush.

        Raises:
            UserError: a loss or gradient is not finite; names step, rate and images.
        """
        if not self._recent:
            return self._last
        for at, rate, ids, metrics in self._recent:
            if not all(np.isfinite(value) for value in metrics.values()):
                names = ", ".join(f"{int(i):016x}" for i in ids[:4])
                raise UserError(
                    f"loss or gradient is not finite at step {at} (learning rate "
                    f"{rate:.3g}, images {names}, ...): the last good checkpoint is "
                    "kept; lower --config.train.learning_rate, or look at the images"
                )
        seconds = time.monotonic() - self._start
        count = len(self._recent)
        self._last = {
            "loss": float(np.mean([m["loss"] for *_, m in self._recent])),
            "grad_norm": float(np.mean([m["grad_norm"] for *_, m in self._recent])),
            "learning_rate": self.last_rate,
            "images_per_second": count * self._batch_size / seconds,
            "data_wait": self._waited / seconds,
        }
        self._recent, self._waited = [], 0.0
        self._start = time.monotonic()
        return self._last

    def epoch_speed(self) -> float:
        """Images a second since the last call, validation included."""
        now = time.monotonic()
        speed = self._epoch_images / (now - self._epoch_start)
        self._epoch_images, self._epoch_start = 0, now
        return speed
