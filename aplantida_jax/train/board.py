"""TensorBoard through CLU's metric writers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aplantida_jax import quiet


class Board:
    """Scalars and images of a run; a context manager that flushes at the end."""

    def __init__(self, directory: Path):
        # clu.metric_writers imports TensorFlow, which takes seconds: only here.
        with quiet.native_stderr():
            import tensorflow as tf
            from clu import metric_writers

            tf.config.set_visible_devices([], "GPU")  # JAX owns the accelerators
            writer = metric_writers.SummaryWriter(str(directory))
        self._writer = metric_writers.AsyncWriter(writer)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._writer.write_scalars(step, dict(values))

    def images(self, name: str, images: np.ndarray) -> None:
        """`images` uint8 [n, h, w, 3], shown at step 0."""
        self._writer.write_images(0, {name: images})
