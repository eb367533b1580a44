"""TensorBoard through CLU's metric writers."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import quiet


class Board:
    """Scalars and images of a run; a context manager that flushes at the end.

    The event file is opened with the first scalars, for that imports TensorFlow, which
    takes seconds: by then the first steps are done or under way.
    """

    def __init__(self, directory: Path | None, *, goes_on_from: int = 0):
        """
        Args:
            directory: of the event files; None records nothing: another process does.
            goes_on_from: the last step that counts of those that were recorded there.
        """
        self._directory, self._last_step = directory, goes_on_from
        self._early: list[tuple[str, np.ndarray]] = []
        self._opened: Any = None

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._early:
            self._writer()
        if self._opened:
            self._opened.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._directory is not None:
            self._writer().write_scalars(step, dict(values))

    def images(self, name: str, images: np.ndarray) -> None:
        """`images` uint8 [n, h, w, 3], shown at step 0."""
        if self._opened:
            self._opened.write_images(0, {name: images})
        elif self._directory is not None:
            self._early.append((name, images))

    def _writer(self) -> Any:
        """The CLU writer; the first call opens it."""
        if self._opened is None:
            assert self._directory is not None
            self._opened = _open(self._directory, self._last_step)
            for name, images in self._early:
                self._opened.write_images(0, {name: images})
            self._early.clear()
        return self._opened


def _open(directory: Path, last_step: int) -> Any:
    with quiet.native_stderr():
        import tensorflow as tf
        from clu import metric_writers

        tf.config.set_visible_devices([], "GPU")  # JAX owns the accelerators
        if directory.exists():
            _forget_after(last_step, directory, tf)
        writer = metric_writers.SummaryWriter(str(directory))
    return metric_writers.AsyncWriter(writer)


def _forget_after(last_step: int, directory: Path, tf: Any) -> None:
    """Drops what a run recorded after the checkpoint that it came back to.

    Not every reader of event files sees by itself that steps are recorded anew.
    """
    for path in directory.glob("events.out.tfevents.*"):
        records, kept = tf.data.TFRecordDataset(str(path)), []
        # A process that was killed leaves half a record at the end.
        with contextlib.suppress(tf.errors.DataLossError):
            for record in records.as_numpy_iterator():
                if tf.compat.v1.Event.FromString(record).step <= last_step:
                    kept.append(record)
        rewritten = path.with_name("rewritten")
        with tf.io.TFRecordWriter(str(rewritten)) as file:
            for record in kept:
                file.write(record)
        rewritten.replace(path)
