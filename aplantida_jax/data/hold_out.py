"""Which species are kept from training, to ask the model of plants it cannot know.

A species is held out when `dataset.hold_out` names it, or when its place on the unit
interval, by a hash of seed and accepted name, is below `dataset.hold_out_share`: adding
species moves no other. Held-out species are no classes; their photos go to
`held_out.jsonl` with class_id -1, and are downloaded, but are in no split.
"""

import dataclasses
import hashlib
from collections.abc import Iterable

from absl import logging

from aplantida_jax.data import names
from aplantida_jax.errors import UserError

NO_CLASS = -1


@dataclasses.dataclass(frozen=True)
class HoldOut:
    """Whether a species is held out.

    Attributes:
        named: accepted names.
        share: of the other species, 0 to 1.
        seed: of their draw.
    """

    named: frozenset[str] = frozenset()
    share: float = 0.0
    seed: int = 0

    def __contains__(self, latin_name: object) -> bool:
        name = str(latin_name)
        return name in self.named or place(name, self.seed) < self.share

    def warn_of_unknown(self, found: Iterable[str]) -> None:
        """Tells of names that the collection does not have."""
        unknown = self.named.difference(found)
        if unknown:
            logging.warning(
                "no photo passes the filters of what --config.dataset.hold_out names: "
                "%s",
                ", ".join(sorted(unknown)),
            )


def of(wanted: Iterable[str], share: float, seed: int) -> HoldOut:
    """The hold-out of a configuration; a name that is none is a UserError."""
    accepted = {spelling: names.normalise(spelling) for spelling in wanted}
    for spelling, name in accepted.items():
        if not name:
            raise UserError(
                f"--config.dataset.hold_out holds {spelling!r}, which is not a Latin "
                "name",
                exit_code=2,
            )
    return HoldOut(frozenset(accepted.values()), share, seed)


def place(latin_name: str, seed: int) -> float:
    """Where a species lies in [0, 1): the first 64 bits of a SHA-256."""
    digest = hashlib.sha256(f"hold_out/{seed}/{latin_name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
