"""The demo's dump: documents as MongoDB exports them, and the truth about them."""

import collections
import dataclasses
import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from aplantida_jax.data import names
from aplantida_jax.demo import draw
from aplantida_jax.demo.collection import (
    FAULTS,
    LICENCES,
    Entry,
    Picture,
    observe,
    plan,
)
from aplantida_jax.demo.held_out_species import HELD_OUT, PHOTOS
from aplantida_jax.demo.species import SPECIES, Species

_CONTINENTS = {"MA": "Africa", "US": "North America"}  # else Europe
# Observations of documents that don't fit are numbered from here.
_UNFIT_OBSERVATION = 1_000_000
_HELD_OUT_STREAM = 2_000_000  # no observation has this number
_NAN = {"$numberDouble": "NaN"}  # Extended JSON; a bare NaN would not be JSON


@dataclasses.dataclass(frozen=True)
class Collection:
    """What `generate` writes.

    Attributes:
        pictures: file name -> picture.
        documents: in the order of the dump, one a line.
        facts: counts and lists that a reader of the dump must come to.
    """

    pictures: dict[str, Picture]
    documents: list[dict[str, Any]]
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Naming:
    """File names and identifiers: hashes of all that determines what they name."""

    seed: int
    image_size: int

    def file(self, picture: Picture) -> str:
        about = (draw.VERSION, self.seed, self.image_size, dataclasses.astuple(picture))
        return f"{_digest(about)[:16]}.jpg"

    def url(self, entry: Entry) -> str:
        return f"images/{self.file(entry.picture)}"

    def image(self, entry: Entry, size: Any = "original") -> dict[str, Any]:
        seen = entry.observation
        return {
            "url": self.url(entry),
            "source": seen.source,
            "size": size,
            "license": seen.licence,
            "attribution": seen.author,
            "observationId": seen.identifier,
            "date": {"$date": seen.date},
        }

    def document(
        self, species: Species, images: Any, *, name: str, part: str = ""
    ) -> dict[str, Any]:
        continents = {_CONTINENTS.get(c, "Europe") for c in species.countries}
        about = (self.seed, species.latin_name, part)
        return {
            "_id": {"$oid": _digest(about)[:24]},
            "latinName": name,
            "commonName": species.spanish_name,
            "commonNameEn": species.english_name,
            "family": species.family,
            "images": images,
            "distribution": {
                "countries": list(species.countries),
                "continents": sorted(continents),
            },
        }


def collect(
    *, seed: int, species: int, images: int, image_size: int, held_out: int = 0
) -> Collection:
    """Plans a whole collection; see `generate.generate` for the arguments."""
    naming = _Naming(seed, image_size)
    entries = plan(seed=seed, species=species, images=images)
    fit = _fit_documents(naming, entries)
    unfit = _unfit_documents(naming)
    astray = [entry for _, lost in unfit.values() for entry in lost]
    unknown = _held_out(seed, held_out)
    documents = fit + [document for document, _ in unfit.values()]
    documents += [
        naming.document(
            plant, [naming.image(entry) for entry in own], name=plant.latin_name
        )
        for plant, own in unknown
    ]
    astray += [entry for _, own in unknown for entry in own]
    facts = _facts(naming, entries) | {
        "documents": len(documents),
        "unfit_documents": {
            reason: document["_id"]["$oid"] for reason, (document, _) in unfit.items()
        },
        "images_in_unfit_documents": sum(len(lost) for _, lost in unfit.values()),
        "held_out": {plant.latin_name: len(own) for plant, own in unknown},
        "spelled_twice": [
            names.normalise(plant.latin_name)
            for plant in SPECIES[:species]
            if not plant.latin_name.isascii()
        ],
        "nan_sizes": [
            image["url"]
            for document in fit
            for image in document["images"]
            if image["size"] == _NAN
        ],
    }
    pictures = {naming.file(entry.picture): entry.picture for entry in entries + astray}
    return Collection(pictures, documents, facts)


def _held_out(seed: int, count: int) -> list[tuple[Species, list[Entry]]]:
    """The first `count` species that are held out, each with its photos."""
    found = []
    for number, plant in enumerate(HELD_OUT[:count], start=len(SPECIES)):
        # Observation 0 of the first would draw from the plan's own stream.
        rng = np.random.default_rng([seed, number, _HELD_OUT_STREAM])
        own = observe(rng, seed, number, PHOTOS, spotless=True, first=1)
        found.append((plant, own))
    return found


def respell(name: str) -> str:
    """Another spelling of a name: decomposed, odd spaces, capitals, x for ×."""
    decomposed = unicodedata.normalize("NFD", name.replace("×", "x"))
    return decomposed.upper().replace(" X ", " x ").replace(" ", "\u00a0")


def _fit_documents(naming: _Naming, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One document a species, and second ones: another spelling, a size of NaN."""
    by_species: dict[int, list[Entry]] = collections.defaultdict(list)
    for entry in entries:
        by_species[entry.picture.species].append(entry)
    has_nan = max(
        number
        for number, own in by_species.items()
        if len(own) > 3 and SPECIES[number].latin_name.isascii()
    )
    documents, second = [], []
    for number, own in by_species.items():
        plant = SPECIES[number]
        name, other = plant.latin_name, plant.latin_name
        images = [naming.image(entry) for entry in own]
        kept = len(images)
        if number == has_nan:
            kept -= 1
            images[kept]["size"] = _NAN
        elif not name.isascii():
            kept //= 2
            other = respell(name)
        documents.append(naming.document(plant, images[:kept], name=name))
        if images[kept:]:
            rest = images[kept:]
            second.append(naming.document(plant, rest, name=other, part="second"))
    return documents + second


def _unfit_documents(
    naming: _Naming,
) -> dict[str, tuple[dict[str, Any], list[Entry]]]:
    """Reason -> a document that can't be used, and the entries lost with it."""
    rng = np.random.default_rng([naming.seed, len(SPECIES) + 1])
    lost = observe(rng, naming.seed, 0, 3, spotless=True, first=_UNFIT_OBSERVATION)
    images = [naming.image(entry) for entry in lost]
    plant = SPECIES[0]
    nameless = naming.document(plant, images[:2], name="", part="nameless")
    del nameless["latinName"]
    mapping = naming.document(
        plant, {"0": images[2]}, name="Erronia mixta", part="mapping"
    )
    bare = naming.document(plant, [], name="Erronia nuda", part="bare")
    return {
        "no_latin_name": (nameless, lost[:2]),
        "images_not_a_list": (mapping, lost[2:]),
        "no_images": (bare, []),
    }


def _facts(naming: _Naming, entries: Sequence[Entry]) -> dict[str, Any]:
    """What is true of the images in documents that fit."""
    kinds = {raw: kind for kind, raws in LICENCES.items() for raw in raws}
    per_species = collections.Counter(
        names.normalise(SPECIES[entry.picture.species].latin_name) for entry in entries
    )
    copies = [
        (naming.url(entry), naming.url(entries[entry.copy_of]), entry.picture.remake)
        for entry in entries
        if entry.copy_of is not None
    ]
    return {
        "species": len(per_species),
        "images": len(entries),
        "images_per_species": dict(per_species),
        "observations": len({entry.observation.identifier for entry in entries}),
        "licences": dict(
            collections.Counter(kinds[entry.observation.licence] for entry in entries)
        ),
        "exact_duplicates": [[url, of] for url, of, remake in copies if not remake],
        "near_duplicates": [[url, of] for url, of, remake in copies if remake],
        "faults": {
            fault: [naming.url(e) for e in entries if e.picture.fault == fault]
            for fault in FAULTS
        },
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
