"""A raw document of the collection -> a plant with the photos that may be used.

    {_id, latinName, commonName, commonNameEn?, family?, images: [{url, source, license,
     attribution, width?, height?, observationId?, date?, sourceUrl?}],
     distribution: {countries: [ISO-2]}}

What a document lacks but can do without is "" or (); one that does not fit raises
`Unfit`. Of its images, those that may not be used are counted by reason.
"""

import collections
import dataclasses
import datetime
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import bson
from bson import json_util

from aplantida_jax.data import licences, names, regions
from aplantida_jax.data.records import image_id_of
from aplantida_jax.data.schema_report import SchemaReport
from aplantida_jax.data.urls import REPLACEMENT, canonical_url

_LONGEST = 500  # characters of any text
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
# iNaturalist, Pl@ntNet and GBIF: .../observations/123, .../occurrence/123.
_OBSERVATION = re.compile(r"/(observations?|occurrence)/(?:[a-z]+/)?(\d+)/?$")
_IDENTIFIERS = (str, int, bson.ObjectId)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Unfit(Exception):
    """A document that cannot be used.

    Attributes:
        reason: one word, for counting.
        detail: the same for people.
        rejected: its images that were looked at, by reason.
        denied: ids of those whose licence it denies.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        rejected: Mapping[str, int] | None = None,
        denied: Iterable[str] = (),
    ):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.rejected = dict(rejected or {})
        self.denied = tuple(denied)


class Candidate(NamedTuple):
    """An image that may be used; the fields are those of `records.Photo`."""

    image_id: str
    url: str
    source: str
    licence: str
    licence_raw: str
    attribution: str
    observation: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Plant:
    """A document that fits.

    Attributes:
        rejected: its other images, counted by reason.
        denied: ids of those whose licence is unknown or not admitted.
    """

    plant_id: str
    latin_name: str
    common_name: str
    common_name_en: str
    family: str
    countries: tuple[str, ...]
    images: tuple[Candidate, ...]
    rejected: dict[str, int]
    denied: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which images may be used.

    Attributes:
        licence_profile: key of `licences.PROFILES`.
        min_side: pixels; applies where the document gives the size.
        sources: those to keep, empty keeps all.
        synonyms: normalised name -> accepted name.
        relative_urls: may a URL be a path beside the dump?
    """

    licence_profile: str
    min_side: int
    sources: frozenset[str]
    synonyms: Mapping[str, str]
    relative_urls: bool


def parse(document: dict[str, Any], filters: Filters, schema: SchemaReport) -> Plant:
    """Raises Unfit; notes in `schema` what only the reader of a field knows as odd."""
    plant_id = id_of(document)
    if not plant_id:
        raise Unfit("no_id", "it has no _id")
    raw_name = document.get("latinName")
    name = names.normalise(raw_name)
    if not name:
        raise Unfit("no_latin_name", f"latinName {raw_name!r:.80}")
    if REPLACEMENT in str(raw_name):
        # What is left of it may be the name of another plant.
        raise Unfit("broken_latin_name", f"latinName {raw_name!r:.80}")
    images = document.get("images")
    if not isinstance(images, list):
        raise Unfit("images_not_a_list", f"images is {type(images).__name__}")
    if not images:
        raise Unfit("no_images", "images is empty")
    name = filters.synonyms.get(name, name)
    kept, rejected, denied = _sift(images, name, filters)
    if not kept:
        why = f"none of {len(images)} images"
        raise Unfit("no_usable_image", why, rejected, denied)
    return Plant(
        plant_id=plant_id,
        latin_name=name,
        common_name=text(document.get("commonName")),
        common_name_en=text(document.get("commonNameEn")),
        family=text(document.get("family")),
        countries=_countries(document.get("distribution"), schema),
        images=tuple(kept),
        rejected=dict(rejected),
        denied=tuple(denied),
    )


def id_of(document: dict[str, Any]) -> str:
    """`_id` as text, "" when there is none.

    Strings, whole numbers and ObjectIds as they are, binary as hexadecimal digits, all
    else (dates, other numbers, documents) as canonical Extended JSON.
    """
    value = document.get("_id")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, _IDENTIFIERS) and not isinstance(value, bool):
        if shown := text(str(value)):
            return shown
    elif isinstance(value, bytes):
        return value.hex()
    return "" if value is None else _extended_json(value)


def _extended_json(value: Any) -> str:
    try:
        shown = json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS)
    except RecursionError:
        return f"({type(value).__name__}, too deep to show)"
    return text(shown)


def text(value: object) -> str:
    """A string made harmless: NFC, one line, valid Unicode, not endless; else ""."""
    if not isinstance(value, str):
        return ""
    if _is_plain(value):
        return value
    clean = _INVISIBLE.sub(" ", value[:_LONGEST])
    return " ".join(unicodedata.normalize("NFC", clean).split())


def _is_plain(value: str) -> bool:
    """Would `text` leave it as it is? So for almost all; asking costs little."""
    return (
        len(value) <= _LONGEST
        and value.isascii()
        and value.isprintable()
        and value[:1] != " " != value[-1:]
        and "  " not in value
    )


class _Rejected(NamedTuple):
    """Why an image may not be used, and its id where the licence is why."""

    reason: str
    denied: str = ""


def _sift(
    images: list[Any], latin_name: str, filters: Filters
) -> tuple[list[Candidate], collections.Counter[str], list[str]]:
    """The images to keep, the others counted by reason, the ids that are denied."""
    kept = []
    rejected: collections.Counter[str] = collections.Counter()
    denied = []
    for image in images:
        found = _candidate(image, latin_name, filters)
        if isinstance(found, Candidate):
            kept.append(found)
            continue
        rejected[found.reason] += 1
        if found.denied:
            denied.append(found.denied)
    return kept, rejected, denied


def _candidate(image: Any, latin_name: str, filters: Filters) -> Candidate | _Rejected:
    """The candidate, or the reason against it."""
    if not isinstance(image, dict):
        return _Rejected("not_an_object")
    url = canonical_url(image.get("url"), relative=filters.relative_urls)
    if not url:
        return _Rejected("bad_url")
    image_id = image_id_of(url)
    licence = licences.spdx(image.get("license"))
    if licence is None:
        return _Rejected("licence_unknown", image_id)
    if not licences.allowed(licence, filters.licence_profile):
        return _Rejected("licence_denied", image_id)
    source = text(image.get("source"))
    if filters.sources and source not in filters.sources:
        return _Rejected("source")
    width, height = _pixels(image.get("width")), _pixels(image.get("height"))
    if width and height and min(width, height) < filters.min_side:
        return _Rejected("small")
    return Candidate(
        image_id=image_id,
        url=url,
        source=source,
        licence=licence,
        licence_raw=text(image.get("license")),
        attribution=text(image.get("attribution")),
        observation=_observation(image, latin_name, source),
        width=width,
        height=height,
    )


def _pixels(value: Any) -> int:
    """A positive whole number below 2^31, else 0 for unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    # NaN fails both comparisons.
    return int(value) if 0 < value < 2**31 else 0


def _observation(image: dict[str, Any], latin_name: str, source: str) -> str:
    """The key that photos of one observation share, "" when nothing tells.

    In this order: the observation's id within its source; a link to an observation; the
    same author on the same day with the same plant.
    """
    identifier = image.get("observationId")
    if isinstance(identifier, _IDENTIFIERS) and (shown := text(str(identifier))):
        return f"{source}:{shown}"
    if link := canonical_url(image.get("sourceUrl"), relative=False):
        parts = urlsplit(link)
        if match := _OBSERVATION.search(parts.path):
            return f"{parts.hostname}:{match[2]}"
    author, day = text(image.get("attribution")), _day(image.get("date"))
    return f"{latin_name}:{author}:{day}" if author and day else ""


def _day(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    match = _DAY.match(value) if isinstance(value, str) else None
    return match[0] if match else ""


def _countries(distribution: Any, schema: SchemaReport) -> tuple[str, ...]:
    listed = distribution.get("countries") if isinstance(distribution, dict) else None
    found = set()
    for raw in listed if isinstance(listed, list) else ():
        code = regions.country_code(raw)
        if code is None:
            schema.odd("distribution.countries[]", "not ISO-2", raw)
        else:
            found.add(code)
    return tuple(sorted(found))
