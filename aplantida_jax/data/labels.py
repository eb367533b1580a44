"""The one label map: which index is which plant, and its fingerprint.

`classes.json` is written by `export_dataset` and read by everything after it. The
fingerprint is the SHA-256 of the ordered accepted names; every later artefact carries
it, and one made for another label map is refused (`manifest.check_label_map`).
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from aplantida_jax import files
from aplantida_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Taxon:
    """A class of the label map; `class_id` is its index."""

    class_id: int
    latin_name: str
    common_name: str
    common_name_en: str
    genus: str
    family: str
    countries: tuple[str, ...]
    regions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """Ordered taxa; the number of classes is `len(label_map)`, never a constant."""

    taxa: tuple[Taxon, ...]

    def __len__(self) -> int:
        return len(self.taxa)

    @property
    def fingerprint(self) -> str:
        names = [taxon.latin_name for taxon in self.taxa]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def in_regions(self, regions: tuple[str, ...]) -> list[bool]:
        """For each class: does its distribution touch one of `regions`? () is all."""
        wanted = set(regions)
        return [not wanted or bool(wanted & set(t.regions)) for t in self.taxa]

    def to_json(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "classes": [dataclasses.asdict(taxon) for taxon in self.taxa],
        }


def write(path: Path, label_map: LabelMap) -> None:
    files.write_json(path, label_map.to_json())


def read(path: Path) -> LabelMap:
    """Reads `classes.json`.

    Raises:
        UserError: missing, damaged, out of order, or its fingerprint does not agree.
    """
    stored = files.read_json(path, made_by="export_dataset")
    try:
        taxa = tuple(
            Taxon(
                **{
                    **row,
                    "countries": tuple(row["countries"]),
                    "regions": tuple(row["regions"]),
                }
            )
            for row in stored["classes"]
        )
        label_map = LabelMap(taxa)
        if [taxon.class_id for taxon in taxa] != list(range(len(taxa))):
            raise ValueError("class_id is not the position")
        if stored["fingerprint"] != label_map.fingerprint:
            raise ValueError("its fingerprint is not that of its names")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): run stage 'export_dataset' again"
        ) from None
    return label_map
