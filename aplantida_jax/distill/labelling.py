"""A split through a teacher into a soft-label store.

The device works all the time: decoding is threads ahead of it, and its next batch is
under way while the host packs the last. Blocks begin and end at the same images however
often the work was interrupted, and what was measured of their rows is kept with them.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
from absl import logging

from aplantida_jax.data import pipeline, view_batches
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.data.load import Examples
from aplantida_jax.distill import dense, divergence, rows, store
from aplantida_jax.distill.teacher import Answer, Teacher
from aplantida_jax.evaluate import all_devices
from aplantida_jax.progress import track

# What a kill costs: a GPU's few seconds, a quarter of an hour of a CPU with a ViT-B.
_BLOCK_ROWS = 2_048
_SAMPLE = 4_096  # rows, about, that are compared with what they were before packing
# What packing cost them at temperature 1 and at that of the distillation.
_MEASURED = ("kl", "kl_at_temperature")


class Labelling:
    """One store's rows: asked for, packed and appended.

    Attributes:
        outputs: files beside the store, once all rows are there.
    """

    def __init__(
        self,
        config: Any,
        teacher: Teacher,
        writer: store.Writer,
        directory: Path,
        *,
        images: int,
    ):
        """
        Args:
            config: `predict`, `input`, `augment`, `eval.batch_size`, `seed` and
                `distill.temperature` count.
            teacher: whom to ask.
            writer: of the store; it may have rows already.
            directory: of the store.
            images: of the whole split.
        """
        self._config, self._teacher, self._writer = config, teacher, writer
        self._rows_an_image = max(1, config.predict.views)
        self._temperature: float = config.distill.temperature
        self._sampled = min(1.0, _SAMPLE / max(1, images * self._rows_an_image))
        self._pending = np.empty(0, _measured_type(writer.layout))
        self.outputs: list[Path] = []
        self._dense: dense.DenseWriter | None = None
        if config.predict.dense:
            self._dense = dense.DenseWriter(directory, writer, images=images)
        else:
            dense.discard(directory)

    def go_through(self, examples: Examples, images: ImageSource) -> None:
        """Appends what is missing."""
        done, started = self._writer.images_written, time.monotonic()
        if done:
            logging.info("going on after %d of %d images", done, len(examples))
        missing = examples.after(done)
        config = all_devices.share_out(self._config)
        size = config.eval.batch_size
        total = -(-len(missing) * self._rows_an_image // size)
        batches = track(
            self._batches(config, missing, images),
            total=total,
            what=f"predict {config.name}",
            unit=f"batches of {size}",
        )
        for batch, answer in all_devices.answers(batches, self._teacher.ask):
            self._add(batch, answer)
        self._append(len(self._pending))
        if self._dense is not None:
            self.outputs = self._dense.finish()
        new = len(missing) * self._rows_an_image
        rate = new / (time.monotonic() - started)
        logging.info("predicted %d images, %.1f rows/s", len(missing), rate)

    def metrics(self) -> dict[str, Any]:
        """The store's, and what packing costs, see `divergence.metrics`.

        Of a sample of all rows, whichever process predicted them.
        """
        metrics = self._writer.metrics()
        metrics["bytes_per_image"] = metrics["bytes_per_row"] * self._rows_an_image
        plain, softened = map(self._writer.measured, _MEASURED)
        at = self._temperature
        measured = divergence.metrics(plain, softened, temperature=at)
        if measured["kl_rows"]:
            cost, kept = divergence.in_words(measured), self._config.predict.top_k
            logging.info("packing costs %s: --config.predict.top_k=%d", cost, kept)
        return {**metrics, **measured}

    def _batches(
        self, config: Any, examples: Examples, images: ImageSource
    ) -> Iterator[pipeline.Batch]:
        if not len(examples):
            return iter(())
        evaluation = pipeline.evaluation_batches
        return (view_batches.batches if config.predict.views else evaluation)(
            *(config, examples, images),
            image_size=self._teacher.image_size,
            resize=self._teacher.resize,
        )

    def _add(self, batch: pipeline.Batch, answer: Answer) -> None:
        real = batch["mask"]
        wanted = ("image_id", "label", "record")
        kept = {name: batch[name][real] for name in wanted if name in batch}
        top_class, probability, tail = (
            np.asarray(answer[name])[real]
            for name in ("top_class", "probability", "tail")
        )
        added = np.empty(len(tail), self._pending.dtype)
        added["row"] = rows.pack(
            *(kept["image_id"], top_class, probability, tail),
            layout=self._writer.layout,
            views=kept.get("record"),
        )
        added["sum_error"] = rows.sum_error(probability, tail)
        added["is_sampled"] = _is_sampled(kept["image_id"], self._sampled)
        if self._dense is not None or added["is_sampled"].any():
            logits = np.asarray(answer["logits"])[real]
            self._compare(logits, added)
            if self._dense is not None:
                self._dense.append(kept["image_id"], kept["label"], logits)
        self._pending = np.concatenate([self._pending, added])
        each = self._rows_an_image  # of which all are in one block
        block = max(each, _BLOCK_ROWS // each * each)
        while len(self._pending) >= block:
            self._append(block)

    def _append(self, count: int) -> None:
        """A block of the first `count` pending rows; none of nothing."""
        if not count:
            return
        if self._dense is not None:
            self._dense.commit()
        block, self._pending = self._pending[:count], self._pending[count:]
        sample = block[block["is_sampled"]]
        measured = {n: _rounded(sample[n]) for n in _MEASURED}
        measured["sum_error"] = _rounded(block["sum_error"].max(keepdims=True))
        self._writer.append(np.ascontiguousarray(block["row"]), measured)

    def _compare(self, logits: np.ndarray, added: np.ndarray) -> None:
        """Measures what packing cost the sampled rows."""
        at = np.flatnonzero(added["is_sampled"])
        if not len(at):
            return
        probability = scipy.special.softmax(logits[at].astype(np.float64), axis=1)
        packed = np.ascontiguousarray(added["row"][at])
        for name, temperature in zip(_MEASURED, (1.0, self._temperature), strict=True):
            added[name][at] = divergence.divergence(
                *(probability, packed, self._writer.layout),
                self._teacher.class_mask[None],
                temperature=temperature,
            )


def _measured_type(layout: rows.Layout) -> np.dtype:
    """A packed row and what was measured of it."""
    fields = [("row", layout.row_type), ("sum_error", "f8"), ("is_sampled", "?")]
    return np.dtype([*fields, *((name, "f8") for name in _MEASURED)])


def _is_sampled(image_id: np.ndarray, share: float) -> np.ndarray:
    """Which images uint64 [n] are of the sample, by their ids alone; bool [n]."""
    # Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4).
    mixed = (image_id * np.uint64(0x9E37_79B9_7F4A_7C15)) >> np.uint64(32)
    return mixed < share * 2**32


def _rounded(values: np.ndarray) -> list[float]:
    """To the digits that are worth their place in store.json."""
    return [float(f"{value:.6g}") for value in values.tolist()]
