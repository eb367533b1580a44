"""The input pipeline: image files -> batches, in an order that resumes exactly.

`make_train` is an endless grain dataset: shuffled anew every epoch, decoded and warped
in threads, batched. Its iterator's state is how far this process has come, an index,
kept in the checkpoint beside `Examples.fingerprint`, since grain itself accepts a state
of another dataset. An exception of a read leaves it in the middle of a batch: who means
to go on keeps the state from before.
`evaluation_batches` yields every example once, in file order, the last batch padded.

Batch on the host:
    image     uint8   [b, s, s, 3]
    label     int32   [b]
    image_id  uint64  [b]
    mask      bool    [b]      evaluation only: False for padding
    view      uint8   [b]      recorded views only: which one of the image
    seed      uint32  [b]      recorded views only: of its colours
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import grain
import numpy as np

from aplantida_jax import allocator
from aplantida_jax.data import crop_boxes, order, records, views
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.data.load import Examples, Load, Skipped, load_or_refuse
from aplantida_jax.data.smart_crop import CENTRE, Box
from aplantida_jax.data.transforms import TrainView, evaluation_view
from aplantida_jax.errors import UserError

Batch = dict[str, np.ndarray]


def read_examples(
    config: Any, split_path: Path, images: ImageSource, *, smart_crop: bool
) -> Examples:
    """Reads a split file; an empty one is a UserError."""
    ids, labels = [], []
    for photo in records.read_photos(split_path, made_by="split"):
        ids.append(int(photo.image_id, 16))
        labels.append(photo.class_id)
    if not ids:
        raise UserError(
            f"{split_path} has no images: look at the filters of 'export_dataset' "
            "and at what stage 'download' could fetch"
        )
    examples = centred(np.array(ids, np.uint64), np.array(labels, np.int32))
    if smart_crop:
        box = crop_boxes.kept(config, examples.image_id, images)
        examples = dataclasses.replace(examples, box=box)
    return examples


def centred(image_id: np.ndarray, label: np.ndarray) -> Examples:
    """Examples of which the centre is seen; uint64 [n], int32 [n]."""
    centre = np.array([CENTRE.x, CENTRE.y, CENTRE.side], np.float32)
    return Examples(image_id, label, np.tile(centre, (len(image_id), 1)))


def _readable(element: dict[str, Any]) -> bool:
    return element["image"] is not None


def make_train(
    config: Any,
    examples: Examples,
    images: ImageSource,
    *,
    seed: int,
    skipped: Skipped,
    shard: order.Shard = order.ALONE,
    extra: Callable[[Batch], Batch] | None = None,
    recorded: views.Recorded | None = None,
    image_size: int | None = None,
) -> grain.IterDataset:
    """The endless training set: batches of `train.batch_size / count` examples.

    Args:
        config: `input`, `augment`, `model.image_size` and `train` are read.
        examples: what to train on.
        images: where their files are.
        seed: of the order and of every augmentation.
        skipped: counts unreadable images.
        shard: (index, count) of this process, which takes its rows of every batch.
        extra: adds to a batch on the host, e.g. its soft labels.
        recorded: whose views to replay; None draws new ones.
        image_size: side in pixels to render at; None is `model.image_size`.
    """
    keep_threads_to_ourselves()
    size = image_size or config.model.image_size
    least = least_side(image_size=size, resize=config.input.resize)
    if recorded is not None and recorded.views is not None:
        least = views.least_side(recorded.views, image_size=size)
    load = Load(examples, images, config.download.max_pixels, least, skipped)
    indices = order.endless(examples.label, sampling=config.train.sampling, seed=seed)
    view = _view(config, recorded, size)
    elements = indices.map(load).filter(_readable).random_map(view)
    batch_size = config.train.batch_size
    rows = order.RowsOfProcess(elements, batch_size=batch_size, shard=shard)
    batches = rows.to_iter_dataset(read_options(config))
    batches = batches.batch(batch_size // shard[1], drop_remainder=True)
    return batches.map(extra) if extra else batches


def _view(
    config: Any, recorded: views.Recorded | None, size: int
) -> grain.transforms.RandomMap:
    """What makes a random view of an element."""
    if recorded is not None:
        return views.ReplayView(recorded, size)
    return TrainView(config.augment, size)


def keep_threads_to_ourselves() -> None:
    """Before batches are made: our threads would fight with OpenCV's own."""
    cv2.setNumThreads(0)
    allocator.keep_large_blocks()


def least_side(*, image_size: int, resize: int) -> int:
    """Pixels that the short side of a training crop's box is decoded with at least.

    As sharp as "smart crop, then resize, then crop" makes it; a file has seldom more.
    """
    return max(resize, image_size)


def read_options(config: Any) -> grain.ReadOptions:
    return grain.ReadOptions(
        num_threads=config.input.threads, prefetch_buffer_size=config.input.prefetch
    )


def evaluation_batches(
    config: Any,
    examples: Examples,
    images: ImageSource,
    *,
    image_size: int,
    resize: int,
    shard: order.Shard = order.ALONE,
) -> Iterator[Batch]:
    """Every example once, in order; the last batch is padded and masked.

    With several processes each gets its rows of every batch, and all as many batches.

    Raises:
        UserError: an image cannot be read: a metric over the others would not be the
            metric of the split; or the pack is damaged.
    """
    keep_threads_to_ourselves()
    load = Load(examples, images, config.download.max_pixels, 0, Skipped())

    def view(position: int) -> dict[str, Any]:
        if position >= len(examples):
            return _padding(image_size)
        element = load_or_refuse(load, position)
        box = Box(*element["box"]) if config.input.eval_smart_crop else None
        image = evaluation_view(
            element["image"], image_size=image_size, resize=resize, box=box
        )
        kept = {name: element[name] for name in ("image_id", "label")}
        return {"image": image, **kept, "mask": np.True_}

    size = config.eval.batch_size
    padded = math.ceil(len(examples) / size) * size
    rows = order.RowsOfProcess(
        grain.MapDataset.range(padded).map(view), batch_size=size, shard=shard
    )
    yield from rows.to_iter_dataset(read_options(config)).batch(size // shard[1])


def _padding(image_size: int) -> dict[str, Any]:
    """A row that fills the last batch up; its mask says that it counts for nothing."""
    return {
        "image": np.zeros((image_size, image_size, 3), np.uint8),
        "image_id": np.uint64(0),
        "label": np.int32(0),
        "mask": np.False_,
    }
