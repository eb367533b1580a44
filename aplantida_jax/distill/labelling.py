"""A split through a teacher into a soft-label store.

The device works all the time: decoding is threads ahead of it, and its next batch is
under way while the host packs the last. Shards begin and end at the same images however
often the work was interrupted.
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
from aplantida_jax.distill import dense, rows, store
from aplantida_jax.distill.teacher import Answer, Teacher
from aplantida_jax.evaluate import all_devices
from aplantida_jax.progress import track

# What a kill costs: a GPU's few seconds, a quarter of an hour of a CPU with a ViT-B.
_SHARD_ROWS = 2_048
_SAMPLES = 32  # batches whose rows are compared with what they were before packing


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
            config: `predict`, `input`, `augment`, `eval.batch_size` and `seed` count.
            teacher: whom to ask.
            writer: of the store; it may have rows already.
            directory: of the store.
            images: of the whole split.
        """
        self._config, self._teacher, self._writer = config, teacher, writer
        self._rows_an_image = max(1, config.predict.views)
        self._pending = np.empty(0, writer.layout.row_type)
        self._divergence: list[np.ndarray] = []
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
        every = max(1, total // _SAMPLES)
        answered = all_devices.answers(batches, self._teacher.ask)
        for number, (batch, answer) in enumerate(answered):
            self._add(batch, answer, is_sample=number % every == 0)
        self._append(len(self._pending))
        if self._dense is not None:
            self.outputs = [self._dense.finish()]
        new = len(missing) * self._rows_an_image
        rate = new / (time.monotonic() - started)
        logging.info("predicted %d images, %.1f rows/s", len(missing), rate)

    def metrics(self) -> dict[str, Any]:
        """The store's, and KL(dense || packed) in nats of a sample of the new rows."""
        metrics = self._writer.metrics()
        metrics["bytes_per_image"] = metrics["bytes_per_row"] * self._rows_an_image
        if not self._divergence:
            return {**metrics, "kl_rows": 0}
        found = np.concatenate(self._divergence)
        mean, high = float(found.mean()), float(np.percentile(found, 99))
        logging.info(
            "packing costs %.2g nats of KL on average, at most %.2g in 99 %% of %d "
            "rows: --config.predict.top_k=%d",
            mean,
            high,
            len(found),
            self._config.predict.top_k,
        )
        sample = {"kl_rows": len(found), "kl_mean": mean, "kl_99th_percentile": high}
        return {**metrics, **sample}

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

    def _add(self, batch: pipeline.Batch, answer: Answer, *, is_sample: bool) -> None:
        real = batch["mask"]
        wanted = ("image_id", "label", "record")
        kept = {name: batch[name][real] for name in wanted if name in batch}
        top_class, probability, tail = (
            np.asarray(answer[name])[real]
            for name in ("top_class", "probability", "tail")
        )
        packed = rows.pack(
            *(kept["image_id"], top_class, probability, tail),
            layout=self._writer.layout,
            views=kept.get("record"),
        )
        if is_sample or self._dense is not None:
            logits = np.asarray(answer["logits"])[real]
            if self._dense is not None:
                self._dense.append(kept["image_id"], kept["label"], logits)
            if is_sample:
                self._compare(logits, packed)
        self._pending = np.concatenate([self._pending, packed])
        each = self._rows_an_image  # of which all are in one shard
        shard = max(each, _SHARD_ROWS // each * each)
        while len(self._pending) >= shard:
            self._append(shard)

    def _append(self, count: int) -> None:
        """A shard of the first `count` pending rows; none of nothing."""
        if count:
            if self._dense is not None:
                self._dense.commit()
            self._writer.append(self._pending[:count])
            self._pending = self._pending[count:]

    def _compare(self, logits: np.ndarray, packed: np.ndarray) -> None:
        probability = scipy.special.softmax(logits.astype(np.float64), axis=1)
        self._divergence.append(
            rows.divergence(
                *(probability, packed, self._writer.layout), self._teacher.class_mask
            )
        )
