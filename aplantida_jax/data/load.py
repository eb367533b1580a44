"""Reading one example: its file decoded at the scale that its crop needs.

An image that cannot be read is left out in training and counted; where every one is
needed `load_or_refuse` says so.
"""

import collections
import dataclasses
import hashlib
import math
import threading
from typing import Any

import grain
import numpy as np
from absl import logging

from aplantida_jax.data import crop_boxes, decode
from aplantida_jax.data.image_source import ImageSource, Unavailable
from aplantida_jax.errors import UserError

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

    def after(self, count: int) -> "Examples":
        """Without the first `count`."""
        return Examples(self.image_id[count:], self.label[count:], self.box[count:])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids and labels in their order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.image_id).tobytes())
        digest.update(np.ascontiguousarray(self.label).tobytes())
        return digest.hexdigest()


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
    """Index -> {image, label, image_id, box, size}; image is None if it is unreadable.

    `size` is the (width, height) of the whole image, whatever scale it came at.
    """

    examples: Examples
    images: ImageSource
    max_pixels: int
    min_side: int  # scaled decode keeps the box's side at least this long
    skipped: Skipped

    def map(self, element: int) -> dict[str, Any]:
        image, size = self._read(element)  # before its box, which it may find
        return {
            "image": image,
            "size": size,
            "label": self.examples.label[element],
            "image_id": self.examples.image_id[element],
            "box": self.examples.box[element],
        }

    def _read(self, element: int) -> tuple[np.ndarray | None, tuple[int, int]]:
        """uint8 [h, w, 3] and its size; None, and counted, when it cannot be read."""
        image_id = f"{int(self.examples.image_id[element]):016x}"
        try:
            data = self.images.get(image_id)
            if data is None:
                raise Unavailable("not there")
            side = float(self._box(element, data)[2])
            least = math.ceil(self.min_side / side)
            found = decode.header(data)
            image = decode.decode(
                data, max_pixels=self.max_pixels, min_target_side=least, found=found
            )
        except (Unavailable, decode.BrokenImage) as error:
            self.skipped.add(image_id, error.reason, self.images.remedy)
            return None, (0, 0)
        self.skipped.none()
        return image, (found.width, found.height)

    def _box(self, element: int, data: bytes) -> np.ndarray:
        """The kept box, or else that of the bytes: a run that goes on has them kept."""
        box = self.examples.box[element].copy()
        # Any of the three: another thread may be about to write the same ones.
        if np.isnan(box).any():
            box = crop_boxes.of_image(data, max_pixels=self.max_pixels)
            self.examples.box[element] = box
        return box


def load_or_refuse(load: Load, position: int) -> dict[str, Any]:
    """What `load` makes of an example; UserError for one that cannot be read."""
    element = load.map(position)
    if element["image"] is None:
        raise UserError(
            f"image {int(element['image_id']):016x} cannot be read: "
            + load.images.remedy
        )
    return element
