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
"""

import collections
import dataclasses
import hashlib
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import grain
import numpy as np
from absl import logging

from aplantida_jax import allocator
from aplantida_jax.data import crop_boxes, decode, order, records
from aplantida_jax.data.image_source import ImageSource, Unavailable
from aplantida_jax.data.smart_crop import CENTRE, Box
from aplantida_jax.data.transforms import TrainView, evaluation_view
from aplantida_jax.errors import UserError

Batch = dict[str, np.ndarray]
_MOST_SKIPPED = 1000  # images in a row


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """A split as arrays, so that 741,533 of them take 15 MB.

    Attributes:
        image_id: uint64 [n].
        label: int32 [n].
        box: float32 [n, 3], smart-crop boxes or the centre. NaN is a smart-crop box
            that was not kept: `Load` notes it here once it has the image's bytes.
    """

    image_id: np.ndarray
    label: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids and labels in their order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.image_id).tobytes())
        digest.update(np.ascontiguousarray(self.label).tobytes())
        return digest.hexdigest()


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
    image_id = np.array(ids, np.uint64)
    box = np.tile(
        np.array([CENTRE.x, CENTRE.y, CENTRE.side], np.float32), (len(ids), 1)
    )
    if smart_crop:
        box = crop_boxes.kept(config, image_id, images)
    return Examples(image_id, np.array(labels, np.int32), box)


@dataclasses.dataclass
class Skipped:
    """Counts images that could not be read; training goes on without them."""

    count: int = 0
    reasons: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    in_a_row: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, image_id: str, reason: str, remedy: str) -> None:
        """Raises UserError when nothing else comes any more: no batch would ever."""
        with self.lock:
            self.count += 1
            self.reasons[reason] += 1
            self.in_a_row += 1
            if self.in_a_row >= _MOST_SKIPPED:
                raise UserError(
                    f"{self.in_a_row} images in a row cannot be read, the last one "
                    f"{image_id}: {reason}; {remedy}"
                )
            # One warning per power of two: 1, 2, 4, 8, ...
            if self.count & (self.count - 1) == 0:
                logging.warning(
                    "%d images skipped so far (%s), the last one %s: %s",
                    self.count,
                    ", ".join(f"{n} {why}" for why, n in self.reasons.most_common(4)),
                    image_id,
                    reason,
                )

    def none(self) -> None:
        """An image was read."""
        self.in_a_row = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Load(grain.transforms.Map):
    """Index -> {image, label, image_id, box}; image is None if it is unreadable."""

    examples: Examples
    images: ImageSource
    max_pixels: int
    min_side: int  # scaled decode keeps the box's side at least this long
    skipped: Skipped

    def map(self, element: int) -> dict[str, Any]:
        return {
            "image": self._read(element),  # before its box, which it may find
            "label": self.examples.label[element],
            "image_id": self.examples.image_id[element],
            "box": self.examples.box[element],
        }

    def _read(self, element: int) -> np.ndarray | None:
        """uint8 [h, w, 3]; None, and counted, when it cannot be read."""
        image_id = f"{int(self.examples.image_id[element]):016x}"
        try:
            data = self.images.get(image_id)
            if data is None:
                raise Unavailable("not there")
            side = float(self._box(element, data)[2])
            least = math.ceil(self.min_side / side)
            image = decode.decode(
                data, max_pixels=self.max_pixels, min_target_side=least
            )
        except (Unavailable, decode.BrokenImage) as error:
            self.skipped.add(image_id, error.reason, self.images.remedy)
            return None
        self.skipped.none()
        return image

    def _box(self, element: int, data: bytes) -> np.ndarray:
        """The kept box, or else that of the bytes: a run that goes on has them kept."""
        box = self.examples.box[element].copy()
        # Any of the three: another thread may be about to write the same ones.
        if np.isnan(box).any():
            box = crop_boxes.of_image(data, max_pixels=self.max_pixels)
            self.examples.box[element] = box
        return box


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
) -> grain.IterDataset:
    """The endless training set.

    Args:
        config: `input`, `augment`, `model.image_size` and `train` are read.
        examples: what to train on.
        images: where their files are.
        seed: of the order and of every augmentation.
        skipped: counts unreadable images.
        shard: (index, count) of this process, which takes its rows of every batch.
        extra: adds to a batch on the host, e.g. its soft labels.

    Returns:
        Batches of `train.batch_size / count` examples, see the module's docstring.
    """
    cv2.setNumThreads(0)  # the threads are ours; OpenCV's own would fight them
    allocator.keep_large_blocks()
    # As sharp as "smart crop, then resize, then crop" makes it; a file has seldom more.
    min_side = max(config.input.resize, config.model.image_size)
    batch_size = config.train.batch_size
    elements = (
        order.endless(examples.label, sampling=config.train.sampling, seed=seed)
        .map(Load(examples, images, config.download.max_pixels, min_side, skipped))
        .filter(_readable)
        .random_map(TrainView(config.augment, config.model.image_size))
    )
    rows = order.RowsOfProcess(elements, batch_size=batch_size, shard=shard)
    batches = rows.to_iter_dataset(_read_options(config))
    batches = batches.batch(batch_size // shard[1], drop_remainder=True)
    return batches.map(extra) if extra else batches


def _read_options(config: Any) -> grain.ReadOptions:
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
    cv2.setNumThreads(0)
    allocator.keep_large_blocks()
    load = Load(examples, images, config.download.max_pixels, 0, Skipped())

    def view(position: int) -> dict[str, Any]:
        if position >= len(examples):
            return _padding(image_size)
        element = _readable_only(load, position)
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
    yield from rows.to_iter_dataset(_read_options(config)).batch(size // shard[1])


def _readable_only(load: Load, position: int) -> dict[str, Any]:
    element = load.map(position)
    if element["image"] is None:
        raise UserError(
            f"image {int(element['image_id']):016x} of the split cannot be read: "
            + load.images.remedy
        )
    return element


def _padding(image_size: int) -> dict[str, Any]:
    """A row that fills the last batch up; its mask says that it counts for nothing."""
    return {
        "image": np.zeros((image_size, image_size, 3), np.uint8),
        "image_id": np.uint64(0),
        "label": np.int32(0),
        "mask": np.False_,
    }
