"""The plan of the demo's collection: which pictures, of what, and what is wrong.

Nothing is drawn here. A plan depends on its three arguments alone. As real collections
do, it has a long tail, observations with several photos, exact and near duplicates,
pictures that don't load, and licences in many spellings.
"""

import dataclasses
import datetime
import hashlib
from collections.abc import Sequence

import numpy as np

from aplantida_jax.demo.species import SPECIES

# Shares of the images; the rest of the licences is permissive.
EXACT_DUPLICATES, NEAR_DUPLICATES, BROKEN = 0.02, 0.03, 0.01
_NONCOMMERCIAL, _UNKNOWN = 0.06, 0.02
FAULTS = ("missing", "truncated", "empty", "html", "thumbnail")

LICENCES: dict[str, tuple[str | None, ...]] = {
    "permissive": (
        *("CC-BY-SA-4.0", "cc-by", "CC BY 4.0", "CC0", "public domain", "CC-BY-SA"),
        "http://creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org/publicdomain/zero/1.0/",
    ),
    "noncommercial": (
        *("CC-BY-NC", "cc-by-nc-sa", "CC BY-NC 4.0"),
        "http://creativecommons.org/licenses/by-nc/4.0/",
    ),
    "unknown": ("", None, "all rights reserved", "unknown"),
}
_FIRST = "ana bru carme diego elena fermin greta hugo ines jonas katja lena mateo noa"
_LAST = "monte rivera bosque prado weber novak lund serra valle costa"
# The rarest classes, from the largest; small collections have the last of them.
_RARE = (3, 2, 1, 1)
_LEAST_COMMON = 4  # images of a class that is not rare
_SOURCES = ("demo-campo", "demo-herbario")


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image file.

    Attributes:
        species, observation, photo: what is drawn.
        remake: 0 as drawn; else the number of a near duplicate of it.
        fault: "" or one of FAULTS.
        key: tells pictures apart that show the same.
    """

    species: int
    observation: int
    photo: int
    remake: int = 0
    fault: str = ""
    key: str = ""


@dataclasses.dataclass(frozen=True)
class Observation:
    """Who saw which individual, when; shared by its photos."""

    identifier: str
    author: str
    date: str  # ISO 8601, UTC
    source: str
    licence: str | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a document.

    Attributes:
        picture: the file.
        observation: what the document says of it.
        copy_of: position among all entries of the picture that it repeats, or None.
    """

    picture: Picture
    observation: Observation
    copy_of: int | None = None


def plan(*, seed: int, species: int, images: int) -> list[Entry]:
    """Plans the images of the documents that fit, species by species.

    Args:
        seed: of the collection.
        species: how many of `SPECIES`, from the first.
        images: how many entries.
    """
    # Pictures draw from [seed, species, ...]: this stream is no species'.
    rng = np.random.default_rng([seed, len(SPECIES)])
    counts = _images_per_species(rng, species, images)
    entries: list[Entry] = []
    common: list[int] = []
    for number, count in enumerate(counts):
        is_rare = count < _LEAST_COMMON
        if not is_rare:
            common += range(len(entries), len(entries) + count)
        entries += observe(rng, seed, number, count, spotless=is_rare)
    return _spoil(rng, entries, common, images)


def long_tail(species: int, images: int) -> list[int]:
    """Images per class, from the commonest; the last ones are as in `_RARE`."""
    rare = _RARE[len(_RARE) - min(len(_RARE), species // 4) :]
    common = species - len(rare)
    # Close to Zipf's law over the first three quarters, then a steeper fall.
    knots, shares = (0, 0.1, 0.75, 1), (1, 0.72, 0.31, 0.055)
    weight = np.exp(np.interp(np.linspace(0, 1, common), knots, np.log(shares)))
    spare = images - sum(rare) - _LEAST_COMMON * common
    exact = spare * weight / weight.sum()
    counts = np.floor(exact).astype(int)
    short = spare - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return [*(counts + _LEAST_COMMON).tolist(), *rare]


def _images_per_species(
    rng: np.random.Generator, species: int, images: int
) -> list[int]:
    counts = long_tail(species, images)
    order = rng.permutation(species).tolist()
    # A name that can be spelled in two ways is given twice: it must not be rare.
    order.sort(key=lambda number: SPECIES[number].latin_name.isascii())
    place = {number: rank for rank, number in enumerate(order)}
    return [counts[place[number]] for number in range(species)]


def observe(
    rng: np.random.Generator,
    seed: int,
    species: int,
    count: int,
    *,
    spotless: bool,
    first: int = 0,
) -> list[Entry]:
    """`count` photos of one species, one to three an observation.

    Args:
        rng: for the draws.
        seed: of the collection.
        species: number of the species.
        count: how many entries.
        spotless: one photo an observation, all under permissive licences.
        first: number of the first observation.
    """
    entries: list[Entry] = []
    number = first
    while len(entries) < count:
        photos = 1 if spotless else int(rng.choice([1, 2, 3], p=[0.75, 0.17, 0.08]))
        seen = _observation(rng, f"{seed}/{species}/{number}", permissive=spotless)
        for photo in range(1, min(photos, count - len(entries)) + 1):
            picture = Picture(species, number, photo, key=f"{species}/{number}/{photo}")
            entries.append(Entry(picture, seen))
        number += 1
    return entries


def _observation(
    rng: np.random.Generator, name: str, *, permissive: bool
) -> Observation:
    first, last = rng.choice(_FIRST.split()), rng.choice(_LAST.split())
    day = datetime.datetime(int(rng.integers(2016, 2026)), 3, 1)
    date = day + datetime.timedelta(
        days=int(rng.integers(200)), seconds=int(rng.integers(7 * 3600, 20 * 3600))
    )
    chance = 1.0 if permissive else rng.random()
    kind = "permissive"
    if chance < _NONCOMMERCIAL + _UNKNOWN:
        kind = "noncommercial" if chance < _NONCOMMERCIAL else "unknown"
    return Observation(
        identifier=hashlib.sha256(name.encode()).hexdigest()[:12],
        author=f"{first}_{last}{rng.integers(1, 40)}",
        date=f"{date.isoformat()}Z",
        source=_SOURCES[int(rng.random() < 0.2)],
        licence=LICENCES[kind][rng.integers(len(LICENCES[kind]))],
    )


def _spoil(
    rng: np.random.Generator,
    entries: list[Entry],
    common: Sequence[int],
    images: int,
) -> list[Entry]:
    """Makes some entries of the common classes duplicates of others, or broken."""
    spoiled = list(entries)
    free = rng.permutation(common).tolist()
    for fault in range(round(BROKEN * images)):
        position = free.pop()
        kind = FAULTS[fault % len(FAULTS)]
        picture = dataclasses.replace(entries[position].picture, fault=kind)
        spoiled[position] = dataclasses.replace(entries[position], picture=picture)
    exact = round(EXACT_DUPLICATES * images)
    for number in range(exact + round(NEAR_DUPLICATES * images)):
        copy, original = _pair(free, entries)
        remake = 0 if number < exact else number + 1
        shown = dataclasses.replace(
            entries[original].picture, key=entries[copy].picture.key, remake=remake
        )
        # Half of them are the same observation, sent twice; half were stolen.
        owner = copy if rng.random() < 0.5 else original
        spoiled[copy] = Entry(shown, entries[owner].observation, copy_of=original)
    return spoiled


def _pair(free: list[int], entries: Sequence[Entry]) -> tuple[int, int]:
    """Takes two entries of one species out of `free`."""
    while True:
        copy = free.pop()
        species = entries[copy].picture.species
        for at, other in enumerate(free):
            if entries[other].picture.species == species:
                return copy, free.pop(at)
