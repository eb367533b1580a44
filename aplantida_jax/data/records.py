"""The on-disk contract of the dataset: a plant document and a photo record.

`photos.jsonl` and the split files hold one `Photo` a line, sorted by `image_id`, and a
trailer (see `aplantida_jax.files`).
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aplantida_jax import files
from aplantida_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Photo:
    """One photo of one plant.

    Attributes:
        image_id: first 16 hex digits of the SHA-256 of the canonical URL.
        plant_id: `_id` of the document it came from.
        latin_name: accepted, normalised name; the class.
        class_id: index in the label map.
        url: absolute http(s), or relative to the dump.
        source: where the collection got it from, e.g. "inaturalist".
        licence: SPDX identifier.
        licence_raw: what the document said.
        attribution: whom to credit.
        countries: ISO-2 codes of the plant's distribution, sorted.
        regions: the regions that those countries touch, sorted.
        observation: key of the observation that it belongs to, "" when unknown; photos
            of one observation never straddle splits.
        width, height: pixels of the original, 0 until known.
        sha256: of the original bytes, "" until known.
        phash: 64-bit perceptual hash as 16 hex digits, "" until known.
        group_id: duplicates and photos of one observation share it, "" until known.
    """

    image_id: str
    plant_id: str
    latin_name: str
    class_id: int
    url: str
    source: str
    licence: str
    licence_raw: str
    attribution: str
    countries: tuple[str, ...]
    regions: tuple[str, ...]
    observation: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""
    phash: str = ""
    group_id: str = ""

    def to_json(self) -> dict[str, Any]:
        # Not `asdict`, whose deep copies cost more than the rest of a line.
        return dict(vars(self))

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Photo":
        """Raises TypeError or KeyError when a field is missing or unknown."""
        return cls(
            **{
                **row,
                "countries": tuple(row["countries"]),
                "regions": tuple(row["regions"]),
            }
        )


_FIELDS = frozenset(field.name for field in dataclasses.fields(Photo))


def image_id_of(canonical_url: str) -> str:
    """16 hex digits that name the image everywhere; file names come from them only."""
    return hashlib.sha256(canonical_url.encode("utf-8")).hexdigest()[:16]


def write_photos(path: Path, photos: Iterable[Photo]) -> int:
    """Writes photos in the order given (callers sort by `image_id`)."""
    return files.write_jsonl(path, (photo.to_json() for photo in photos))


def read_rows(path: Path, *, made_by: str) -> Iterator[dict[str, Any]]:
    """Yields photos as they are in the file, at 0.4 of what a `Photo` costs.

    Raises:
        UserError: missing or damaged, or a row has other fields than a photo.
    """
    for row in files.read_jsonl(path, made_by=made_by):
        if row.keys() != _FIELDS:
            odd = ", ".join(sorted(row.keys() ^ _FIELDS))
            raise UserError(
                f"{path} is damaged (fields {odd}): run stage '{made_by}' again"
            )
        yield row


def read_photos(path: Path, *, made_by: str) -> Iterator[Photo]:
    """Yields photos; raises UserError when the file is missing or damaged."""
    for row in files.read_jsonl(path, made_by=made_by):
        try:
            photo = Photo.from_json(row)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}): run stage '{made_by}' again"
            ) from None
        yield photo
