"""One individual: its species' traits with what chance made of them."""

import dataclasses

import numpy as np

from aplantida_jax.demo.traits import Traits


@dataclasses.dataclass(frozen=True)
class Look:
    """What all photos of one individual share.

    Attributes:
        traits: of its species.
        leaf, vein, stem, petal, centre, fruit: colours, float [3], RGB 0-255.
        petals: how many this one has.
        leaf_width, flower_size, vigour: factors around 1; vigour is that of the number
            of leaves and flowers.
        leaf_bend: spread of the leaves' curvature.
        season: "leaf" (no flowers yet), "flower" or "fruit".
    """

    traits: Traits
    leaf: np.ndarray
    vein: np.ndarray
    stem: np.ndarray
    petal: np.ndarray
    centre: np.ndarray
    fruit: np.ndarray
    petals: int
    leaf_width: float
    flower_size: float
    vigour: float
    leaf_bend: float
    season: str


def individual(traits: Traits, rng: np.random.Generator) -> Look:
    """Draws an individual of a species."""
    petals = traits.petals
    if petals > 6:  # few petals are counted, many vary
        petals += int(rng.integers(-1, 2)) * (petals // 8)
    return Look(
        traits=traits,
        leaf=_vary(rng, traits.leaf_colour, 9),
        vein=_vary(rng, traits.vein_colour, 8),
        stem=_vary(rng, traits.stem_colour, 10),
        petal=_vary(rng, traits.petal_colour, 12),
        centre=_vary(rng, traits.centre_colour, 10),
        fruit=_vary(rng, traits.fruit_colour, 10),
        petals=petals,
        leaf_width=rng.uniform(0.82, 1.2),
        flower_size=rng.uniform(0.8, 1.15),
        vigour=rng.uniform(0.7, 1.3),
        leaf_bend=rng.uniform(0.04, 0.16),
        season=_season(traits, rng.random()),
    )


def _season(traits: Traits, chance: float) -> str:
    if traits.flower == "none":
        return "fruit" if chance < 0.75 else "leaf"
    if chance < 0.07:
        return "leaf"
    return "fruit" if traits.fruit != "none" and chance < 0.2 else "flower"


def _vary(
    rng: np.random.Generator, colour: tuple[int, int, int], spread: float
) -> np.ndarray:
    """A neighbouring colour: brightness and each channel move a little; float [3]."""
    shifted = np.array(colour, float) * rng.uniform(0.88, 1.1)
    return np.clip(shifted + rng.normal(0, spread, 3), 0, 255)
