"""Species of the demo that nothing is trained on: what does the student say of them?

Four belong to genera that it learns, where the genus would be the right answer; of the
fifth there is nothing that it could say.
"""

import dataclasses
from typing import Any

from aplantida_jax.demo import traits
from aplantida_jax.demo.species import SPECIES, Species
from aplantida_jax.demo.traits import GENERA, Traits

_NEW_GENUS = Traits(
    "branching",
    "bells",
    "palmate",
    leaf_size=0.3,
    margin="serrate",
    opposite=True,
    flower_size=0.16,
    petal_colour=traits.LEMON,
    leaf_colour=traits.RUSSET,
    stem_colour=traits.PLUM,
)


def _of_genus(
    genus: str,
    epithet: str,
    spanish: str,
    english: str,
    countries: str,
    **changes: Any,
) -> Species:
    looks = dataclasses.replace(GENERA.get(genus, _NEW_GENUS), **changes)
    return Species(
        f"{genus} {epithet}",
        spanish,
        english,
        genus,
        f"{genus}ceae",
        tuple(countries.split()),
        looks,
    )


HELD_OUT = (
    _of_genus(
        *("Aurelina", "vespertina", "Aurelina de tarde", "Evening aurelina", "ES FR"),
        petal_colour=traits.MAGENTA,
    ),
    _of_genus(
        *("Umbrasela", "maculata", "Sombrilla manchada", "Spotted umbrasel", "DE PL"),
        petal_colour=traits.LILAC,
        leaf_colour=traits.GREY,
    ),
    _of_genus(
        *("Convelia", "lutea", "Convelia amarilla", "Yellow convelia", "ES IT PT"),
        petal_colour=traits.YELLOW,
        leaf="lobed",
    ),
    _of_genus(
        *("Liriastra", "violacea", "Liriastra morada", "Violet liriaster", "CZ HU RO"),
        petal_colour=traits.VIOLET,
    ),
    _of_genus(
        *("Nocturnia", "pendula", "Nocturnia colgante", "Hanging nocturne", "ES FR"),
    ),
)
# A picture's species is its number here: the flora first, which may grow no more.
ALL = SPECIES + HELD_OUT
PHOTOS = 16  # of each
