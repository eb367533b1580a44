"""Which species are kept from training, to ask the model of plants it cannot know.

A species is held out when `dataset.hold_out` names it, or when its place on the unit
interval, by a hash of seed and accepted name, is below `dataset.hold_out_share`: adding
species moves no other. Subspecies, varieties and forms go with their species, or the
model would learn from photos of it. With `dataset.hold_out_rare` those are held out too
that have too few photos to be a class, which costs the model none; not where it knows
the species by another of its subspecies.

Held-out species are no classes; their photos go to `held_out.jsonl` with class_id -1,
and are downloaded, but are in no split.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Mapping

from absl import logging

from aplantida_jax.data import names
from aplantida_jax.errors import UserError

NO_CLASS = -1


@dataclasses.dataclass(frozen=True)
class HoldOut:
    """Whether a species is held out.

    Attributes:
        named: accepted names of species, and what has no epithet.
        share: of the other species, 0 to 1.
        seed: of their draw.
        rare: and those that cannot be classes.
    """

    named: frozenset[str] = frozenset()
    share: float = 0.0
    seed: int = 0
    rare: bool = False

    def __contains__(self, latin_name: object) -> bool:
        """Of an accepted name; photos of a mere genus may show what is learnt."""
        species = names.species_of(str(latin_name))
        if not species:
            return latin_name in self.named
        return species in self.named or place(species, self.seed) < self.share

    def of_rare(self, rare: Iterable[str], classes: Iterable[str]) -> list[str]:
        """Those of the names without a class that are held out for it."""
        if not self.rare:
            return []
        known = {names.species_of(name) for name in classes} | {""}
        return [name for name in rare if names.species_of(name) not in known]

    def warn(self, found: Collection[str]) -> None:
        """Tells of names that the collection does not have, and of no species at all.

        Now, since later it would take another label map and all training again.
        """
        unknown = self.named.difference(names.species_of(n) or n for n in found)
        if unknown:
            logging.warning(
                "no photo passes the filters of what --config.dataset.hold_out names: "
                "%s",
                ", ".join(sorted(unknown)),
            )
        if not found:
            rare = "" if self.rare else ", hold_out_rare=True the rarest"
            logging.warning(
                "no species is held out of training: nothing will tell how often the "
                "model gives a name to a plant that it does not know; "
                "--config.dataset.hold_out_share=0.01 holds out one in a hundred%s",
                rare,
            )


NOTHING = HoldOut()


def of(
    wanted: Iterable[str],
    share: float,
    seed: int,
    *,
    rare: bool = False,
    synonyms: Mapping[str, str] | None = None,
) -> HoldOut:
    """The hold-out of a configuration; a name that is none is a UserError.

    Args:
        wanted: names in any spelling; of a subspecies, it is the whole species.
        share, seed, rare: see `HoldOut`.
        synonyms: normalised name -> accepted name.
    """
    named = set()
    for spelling in wanted:
        name = names.normalise(spelling)
        if not name:
            raise UserError(
                f"--config.dataset.hold_out holds {spelling!r}, which is not a Latin "
                "name",
                exit_code=2,
            )
        name = (synonyms or {}).get(name, name)
        named.add(names.species_of(name) or name)
    return HoldOut(frozenset(named), share, seed, rare)


def place(species: str, seed: int) -> float:
    """Where a species lies in [0, 1): the first 64 bits of a SHA-256."""
    digest = hashlib.sha256(f"hold_out/{seed}/{species}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
