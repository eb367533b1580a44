"""The input pipeline: image files -> batches, in an order that resumes exactly.

`make_train` is an endless grain dataset: shuffled anew every epoch, decoded and warped
in threads, batched. Its iterator's state is one index, kept in the checkpoint beside
`Examples.fingerprint`, since grain itself accepts a state of another dataset.
`evaluation_batches` yields every example once, in file order, the last batch padded.

Batch on the host:
    image     uint8   [b, s, s, 3]
    label     int32   [b]
    image_id  uint64  [b]
    mask      bool    [b]      evaluation only: False for padding
"""

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
from aplantida_jax.data import crop_boxes, decode, records
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.data.smart_crop import CENTRE, LEAST_SIDE, Box
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
        box: float32 [n, 3], smart-crop boxes or the centre.
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
    in_a_row: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, image_id: str, reason: str, remedy: str) -> None:
        """Raises UserError when nothing else comes any more: no batch would ever."""
        with self.lock:
            self.count += 1
            self.in_a_row += 1
            if self.in_a_row >= _MOST_SKIPPED:
                raise UserError(
                    f"{self.in_a_row} images in a row cannot be read, the last one "
                    f"{image_id}: {reason}; {remedy}"
                )
            # One warning per power of two: 1, 2, 4, 8, ...
            if self.count & (self.count - 1) == 0:
                logging.warning(
                    "%d images skipped so far, the last one %s: %s",
                    self.count,
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
    min_side: int  # scaled decode keeps the short side at least this long
    skipped: Skipped

    def map(self, element: int) -> dict[str, Any]:
        image_id = f"{int(self.examples.image_id[element]):016x}"
        image = None
        data = self.images.get(image_id)
        if data is None:
            self.skipped.add(image_id, "not there", self.images.remedy)
        else:
            try:
                image = decode.decode(
                    data, max_pixels=self.max_pixels, min_target_side=self.min_side
                )
            except decode.BrokenImage as error:
                self.skipped.add(image_id, str(error), self.images.remedy)
            else:
                self.skipped.none()
        return {
            "image": image,
            "label": self.examples.label[element],
            "image_id": self.examples.image_id[element],
            "box": self.examples.box[element],
        }


def _readable(element: dict[str, Any]) -> bool:
    return element["image"] is not None


@dataclasses.dataclass(frozen=True, eq=False)
class DrawExample(grain.transforms.RandomMap):
    """Ignores the index and draws one by weight, with replacement."""

    cumulative: np.ndarray  # float64 [n], ends in 1

    def random_map(self, element: int, rng: np.random.Generator) -> int:
        return int(np.searchsorted(self.cumulative, rng.random(), side="right"))


def sampling_weights(label: np.ndarray, how: str) -> np.ndarray | None:
    """Probability of each example, float64 [n]; None for uniform.

    "class_balanced" makes every class as likely; "square_root" as likely as the square
    root of its count (Mahajan et al. 2018).
    """
    if how == "uniform":
        return None
    count = np.bincount(label)[label].astype(np.float64)
    weight = 1 / count if how == "class_balanced" else 1 / np.sqrt(count)
    return weight / weight.sum()


def make_train(
    config: Any,
    examples: Examples,
    images: ImageSource,
    *,
    seed: int,
    skipped: Skipped,
    shard: tuple[int, int] = (0, 1),
    extra: Callable[[Batch], Batch] | None = None,
) -> grain.IterDataset:
    """The endless training set.

    Args:
        config: `input`, `augment`, `model.image_size` and `train` are read.
        examples: what to train on.
        images: where their files are.
        seed: of the order and of every augmentation.
        skipped: counts unreadable images.
        shard: (index, count) of this process; it takes every count-th example.
        extra: adds to a batch on the host, e.g. its soft labels.

    Returns:
        Batches of `train.batch_size / count` examples, see the module's docstring.
    """
    cv2.setNumThreads(0)  # the threads are ours; OpenCV's own would fight them
    allocator.keep_large_blocks()
    image_size = config.model.image_size
    # The smallest crop must not be enlarged for want of pixels that the file has.
    min_side = math.ceil(image_size / (LEAST_SIDE * config.augment.scale[0]))
    elements = (
        _order(config, examples, seed, shard)
        .map(Load(examples, images, config.download.max_pixels, min_side, skipped))
        .filter(_readable)
        .random_map(TrainView(config.augment, image_size))
    )
    batches = elements.to_iter_dataset(_read_options(config)).batch(
        config.train.batch_size // shard[1], drop_remainder=True
    )
    return batches.map(extra) if extra else batches


def _order(
    config: Any, examples: Examples, seed: int, shard: tuple[int, int]
) -> grain.MapDataset:
    """Endless indices of one process's examples, in `train.sampling`'s proportions."""
    index, count = shard
    order = grain.MapDataset.range(len(examples)).seed(seed)
    weights = sampling_weights(examples.label, config.train.sampling)
    if weights is None:
        return order.shuffle()[index::count].repeat(None)
    cumulative = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1.0
    return order[index::count].repeat(None).random_map(DrawExample(cumulative))


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
) -> Iterator[Batch]:
    """Every example once, in order; the last batch is padded and masked.

    Raises:
        UserError: an image cannot be read: a metric over the others would not be the
            metric of the split; or the pack is damaged.
    """
    cv2.setNumThreads(0)
    allocator.keep_large_blocks()
    skipped = Skipped()
    loaded = grain.MapDataset.range(len(examples)).map(
        Load(examples, images, config.download.max_pixels, 0, skipped)
    )

    def view(element: dict[str, Any]) -> dict[str, Any]:
        if element["image"] is None:
            raise UserError(
                f"image {int(element['image_id']):016x} of the split cannot be read: "
                + images.remedy
            )
        box = Box(*element["box"]) if config.input.eval_smart_crop else None
        image = evaluation_view(
            element["image"], image_size=image_size, resize=resize, box=box
        )
        kept = {name: element[name] for name in ("image_id", "label")}
        return {"image": image, **kept}

    size = config.eval.batch_size
    viewed = loaded.map(view).to_iter_dataset(_read_options(config))
    for batch in viewed.batch(size, drop_remainder=False):
        yield _pad(batch, size)


def _pad(batch: Batch, size: int) -> Batch:
    """Repeats the last row up to `size` rows; `mask` tells which are real."""
    real = len(batch["label"])
    rows = np.minimum(np.arange(size), real - 1)
    padded = {name: value[rows] for name, value in batch.items()}
    return {**padded, "mask": np.arange(size) < real}
