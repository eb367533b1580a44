"""A collection of the plan's size and tail, as documents without pictures.

For benchmarks of export, grouping and splitting: 9,000 documents with 741,533 images of
8,587 classes, of which 1,504 have one image and 913 have two (the plan's analysis of
epoch 15). Everything follows from the seed; nothing is kept in memory but the sizes.
"""

from collections.abc import Iterator
from typing import Any

import bson
import numpy as np

DOCUMENTS = 9_000
CLASSES = 8_587
PHOTOS = 741_533
ONE_PHOTO = 1_504  # classes
TWO_PHOTOS = 913

_EXPONENT = 0.8  # of the power law that the other classes' sizes follow
_FEWEST = 3
_COUNTRIES = ("ES", "PT", "FR", "IT", "DE", "PL", "SE", "NO", "GB", "GR", "RO", "UA")
_LICENCES = (
    "http://creativecommons.org/licenses/by/4.0/",
    "cc-by",
    "CC BY-SA 4.0",
    "CC0",
    "https://creativecommons.org/publicdomain/zero/1.0/",
)
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "ro", "su", "ta", "vi")
_OBSERVATION = 2  # mean photos of one


def class_sizes(
    classes: int = CLASSES,
    photos: int = PHOTOS,
    one: int = ONE_PHOTO,
    two: int = TWO_PHOTOS,
) -> np.ndarray:
    """Photos of every class, largest first: int64 [classes], summing to `photos`.

    Raises:
        ValueError: so few photos do not reach for so many classes.
    """
    many = classes - one - two
    rest = photos - one - 2 * two
    if many < 1 or rest < many * _FEWEST:
        raise ValueError(f"{photos} photos do not reach for {classes} such classes")
    weights = np.arange(1, many + 1) ** -_EXPONENT
    extra = rest - many * _FEWEST
    sizes = _FEWEST + np.floor(weights / weights.sum() * extra).astype(np.int64)
    sizes[: rest - sizes.sum()] += 1  # what rounding left over, fewer than `many`
    return np.concatenate([sizes, np.full(two, 2), np.full(one, 1)])


def latin_name(class_id: int) -> str:
    """A name that no other class has."""
    digits = []
    for _ in range(4):
        class_id, digit = divmod(class_id, len(_SYLLABLES))
        digits.append(_SYLLABLES[digit])
    return f"{''.join(digits[2:]).capitalize()}na {digits[1]}{digits[0]}lis"


def documents(sizes: np.ndarray, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` documents as pymongo gives them, by `_id`.

    One for each class, with its photos; those beyond are without images, as a
    collection's unfinished ones are.

    Args:
        sizes: photos of every class.
        count: at least `len(sizes)`.
        seed: of countries, licences and observations.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(count)
    for place, class_id in enumerate(order.tolist()):
        size = int(sizes[class_id]) if class_id < len(sizes) else 0
        countries = generator.choice(_COUNTRIES, 3, replace=False).tolist()
        yield {
            "_id": bson.ObjectId(f"{place + 1:024x}"),
            "latinName": latin_name(class_id),
            "commonName": f"planta {class_id}",
            "images": _images(class_id, size, generator),
            "distribution": {"countries": countries, "continents": ["Europe"]},
        }


def _images(
    class_id: int, size: int, generator: np.random.Generator
) -> list[dict[str, Any]]:
    observations = generator.integers(0, size // _OBSERVATION + 1, size).tolist()
    licences = generator.integers(0, len(_LICENCES), size).tolist()
    return [
        {
            "url": f"https://photos.example.org/{class_id}/{number}/original.jpg",
            "source": "inaturalist",
            "size": "original",
            "license": _LICENCES[licence],
            "attribution": f"(c) observer {observation}, some rights reserved",
            "observationId": f"{class_id}-{observation}",
        }
        for number, (observation, licence) in enumerate(
            zip(observations, licences, strict=True)
        )
    ]
