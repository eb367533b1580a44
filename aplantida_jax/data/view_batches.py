"""Recorded views of a split, batch by batch: each image decoded once for all of them.

Batch on the host, one row for each view, an image's views one after the other:
    image     uint8   [b, s, s, 3]
    image_id  uint64  [b]
    mask      bool    [b]      False for padding of the last batch
    record    RECORD  [b]      see `views`
    seed      uint32  [b]      of the colours, as in `record`
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from aplantida_jax.data import pipeline, views
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.data.load import Examples, Load, Skipped, load_or_refuse
from aplantida_jax.data.pipeline import Batch
from aplantida_jax.data.smart_crop import Box
from aplantida_jax.data.transforms import render


def batches(
    config: Any,
    examples: Examples,
    images: ImageSource,
    *,
    image_size: int,
    resize: int,
) -> Iterator[Batch]:
    """All `predict.views` views of every example, in order.

    A view depends on seed, image and number alone: not on where one starts, nor on the
    batch. An image is decoded at the scale at which training reads it.

    Args:
        config: `predict.views`, `seed`, `augment`, `input`'s threads, and
            `eval.batch_size`, which is the rows of a batch, are read.
        examples: with smart-crop boxes or the centre.
        images: where their files are.
        image_size: to render at, in pixels.
        resize: as training has it, for the scale at which files are decoded.

    Raises:
        UserError: an image cannot be read, or the pack is damaged.
    """
    pipeline.keep_threads_to_ourselves()
    least = pipeline.least_side(image_size=image_size, resize=resize)
    load = Load(examples, images, config.download.max_pixels, least, Skipped())

    def of_image(position: int) -> Batch:
        return _views(config, load_or_refuse(load, position), image_size)

    count, threads = config.predict.views, config.input.threads
    ahead = grain.ReadOptions(
        num_threads=threads,
        # As many pictures as training keeps; each thread has an image to work on.
        prefetch_buffer_size=max(threads, config.input.prefetch // count),
    )
    elements = grain.MapDataset.range(len(examples)).map(of_image)
    yield from _rebatched(elements.to_iter_dataset(ahead), config.eval.batch_size)


def _views(config: Any, element: dict[str, Any], image_size: int) -> Batch:
    """The rows of one image."""
    width, height = element["size"]
    image_id = int(element["image_id"])
    record = np.zeros(config.predict.views, views.RECORD)
    for number in range(len(record)):
        record[number] = views.draw(
            config.augment,
            Box(*map(float, element["box"])),
            seed=config.seed,
            image_id=image_id,
            view=number,
            width=width,
            height=height,
        )
    shown = map(views.to_view, record)
    rendered = [render(element["image"], view, image_size=image_size) for view in shown]
    return {
        "image": np.stack(rendered),
        "image_id": np.full(len(record), image_id, np.uint64),
        "mask": np.ones(len(record), bool),
        "record": record,
        "seed": record["seed"],
    }


def _rebatched(parts: Iterator[Batch], size: int) -> Iterator[Batch]:
    """The same rows, `size` of them at a time, zeros after the last."""
    waiting: list[Batch] = []
    rows = 0
    for part in parts:
        waiting.append(part)
        rows += len(part["mask"])
        if rows < size:
            continue
        joined = _joined(waiting)
        for start in range(0, rows - size + 1, size):
            yield {name: value[start : start + size] for name, value in joined.items()}
        rows %= size
        rest = len(joined["mask"]) - rows
        waiting = [{name: value[rest:] for name, value in joined.items()}]
    if rows:
        last = _joined(waiting)
        yield {name: _padded(value, size) for name, value in last.items()}


def _padded(value: np.ndarray, size: int) -> np.ndarray:
    zeros = np.zeros((size - len(value), *value.shape[1:]), value.dtype)
    return np.concatenate([value, zeros])


def _joined(parts: list[Batch]) -> Batch:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
