"""Recorded training views: drawn once, so that teacher and student see the same ones.

A view is what `transforms.View` holds, and a seed for the colours that the device
draws; 16 bytes. Geometry is kept as float16, and is rounded to it before anyone renders
it, and how finely a file is decoded is in the store's header: at the teacher's size a
student is shown exactly what the teacher saw.

After Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and
consistent": a student learns most from labels of the very crop that it is shown.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import grain
import numpy as np

from aplantida_jax.data import transforms
from aplantida_jax.data.smart_crop import Box
from aplantida_jax.data.view_record import RECORD

# What a view is drawn by; the rest of `config.augment` mixes images of a batch.
_GEOMETRY = ("scale", "horizontal_flip", "vertical_flip", "rotation")
_BLUR = ("blur", "blur_sigma", "blur_side")
COLOURS = ("brightness", "contrast", "saturation", "hue") + (
    *("erasing", "erasing_area", "erasing_aspect"),
)
AUGMENT = (*_GEOMETRY, *_BLUR, *COLOURS)
_WORD = 2**32


def header(config: Any, *, image_size: int, least_side: int) -> dict[str, Any]:
    """What describes the views of a store.

    Args:
        config: `predict.views`, `seed`, `input.smart_crop` and `augment` are read.
        image_size: of the network that looks at them, in pixels.
        least_side: that a crop's box is decoded with for it at least, in pixels.

    Returns:
        Plain JSON: count, seed, smart_crop, the fields `AUGMENT` of `config.augment`,
        and `decoded`, which is `least_side` for each pixel of `image_size`.
    """
    augment = {name: config.augment[name] for name in AUGMENT}
    return {
        "count": config.predict.views,
        "seed": config.seed,
        "smart_crop": config.input.smart_crop,
        "augment": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in augment.items()
        },
        "decoded": least_side / image_size,
    }


def differing(first: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what makes two headers be of other records; all but `decoded` does."""
    names = sorted((first.keys() | other.keys()) - {"decoded"})
    return [name for name in names if first.get(name) != other.get(name)]


def shared(headers: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """The header of the same records for all who saw them; None of evaluation views.

    Decoded as finely as for the one among them who asked for most.
    """
    found = [header for header in headers if header is not None]
    return max(found, key=lambda header: header["decoded"], default=None)


def least_side(header: dict[str, Any], *, image_size: int) -> int:
    """Pixels that a box's side is decoded with for views that are rendered at a size.

    At the size that the header is of they are those of its network, to the pixel: what
    is decoded at another scale is another picture.
    """
    return round(header["decoded"] * image_size)


def draw(
    augment: Any,
    box: Box,
    *,
    seed: int,
    image_id: int,
    view: int,
    width: int,
    height: int,
) -> np.ndarray:
    """Draws a view: a function of its arguments alone, whatever was drawn before.

    Args:
        augment: `config.augment`.
        box: smart crop, or the whole short side.
        seed: of the store, below 2^32.
        image_id: below 2^64.
        view: number of the view of this image, 0 to 254.
        width, height: of the whole image, in pixels, not of one decoded at a scale.

    Returns:
        `RECORD`, without an axis.
    """
    # Four words, always: numbers side by side could otherwise be read as others.
    words = (seed, image_id // _WORD, image_id % _WORD, view)
    rng = np.random.default_rng(words)
    drawn = transforms.draw_view(rng, box, augment, width=width, height=height)
    record = np.zeros((), RECORD)
    record["view"] = view
    for name in ("x", "y", "side", "angle", "blur"):
        record[name] = getattr(drawn, name)
    record["flips"] = drawn.flip_x + 2 * drawn.flip_y
    record["seed"] = rng.integers(_WORD)
    return record


def to_view(record: np.ndarray | np.void) -> transforms.View:
    """What `transforms.render` makes a record's pixels of, at any size."""
    return transforms.View(
        x=float(record["x"]),
        y=float(record["y"]),
        side=float(record["side"]),
        angle=float(record["angle"]),
        flip_x=bool(record["flips"] & 1),
        flip_y=bool(record["flips"] & 2),
        blur=float(record["blur"]),
    )


class Recorded(Protocol):
    """Who keeps the records: a soft-label store.

    Attributes:
        views: what `header` returned; None for one of evaluation views.
    """

    views: dict[str, Any] | None

    def view_records(self, image_id: np.ndarray, view: np.ndarray) -> np.ndarray:
        """(uint64 [n], uint8 [n]) -> `RECORD` [n]."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReplayView(grain.transforms.RandomMap):
    """{image, label, image_id} -> {image, label, image_id, view, seed}.

    Takes one of the recorded views of the image at random. `view` uint8 is its number,
    `seed` uint32 that of its colours, which follow on the device.
    """

    recorded: Recorded
    image_size: int

    def random_map(
        self, element: dict[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        assert self.recorded.views is not None
        number = np.uint8(rng.integers(self.recorded.views["count"]))
        image_id = element["image_id"]
        (record,) = self.recorded.view_records(np.array([image_id]), np.array([number]))
        return {
            "image": transforms.render(
                element["image"], to_view(record), image_size=self.image_size
            ),
            "label": element["label"],
            "image_id": image_id,
            "view": number,
            "seed": record["seed"],
        }
