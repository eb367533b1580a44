"""What weights are and where they come from: foreign files, and our own checkpoints.

opened = open_weights(path)     arrays under one spelling, their format, their origin
origin = describe(path)         the last of these only
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax.data import licences
from aplantida_jax.models import formats, own_checkpoints, weight_files
from aplantida_jax.models.formats import Triple
from aplantida_jax.models.weight_files import Arrays

UNKNOWN = "unknown"  # a licence that nothing states


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a weight file is, and what it asks of the module and of the input.

    Attributes:
        format: one of formats.FORMATS, or "aplantida_jax" for a checkpoint of ours.
        padding, bn_eps: fields of MobileNetV2, None for a ViT.
        gelu: field of VisionTransformer, None for a MobileNetV2.
        mean, std: of RGB in 0..1, the input's normalisation.
        image_size: side in pixels that the network was trained on.
        num_classes: of its head; 0 has none.
        licence: SPDX id where the file states one that we know, else its words, or
            UNKNOWN; of a checkpoint of ours those of its ancestors.
        label_map: fingerprint of what its classes are, "" for foreign weights.
        ancestors: of a checkpoint of ours, itself included, as best.json has them;
            their licences are inherited.
        frozen_norms: field of MobileNetV2, "." where BatchNorm's statistics are made
            up, so that training must leave them alone; else None.
    """

    format: str
    padding: str | None
    bn_eps: float | None
    gelu: str | None
    mean: Triple
    std: Triple
    image_size: int
    num_classes: int
    licence: str
    label_map: str = ""
    ancestors: tuple[dict[str, Any], ...] = ()
    frozen_norms: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of the module that the weights need, for `create`."""
        names = ("padding", "bn_eps", "gelu", "frozen_norms")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """Weights in memory.

    Attributes:
        path: where they were read.
        weights: arrays by the names that `format.table` speaks of.
        ignored: foreign keys that are no weights of the network.
    """

    path: Path
    weights: Arrays
    ignored: list[str]
    format: formats.Format
    origin: Origin


def open_weights(path: Path) -> Opened:
    """Reads a file of weights, or a checkpoint of ours (a directory).

    Raises:
        UserError: missing, damaged, a pickle, or of no known format.
    """
    path = Path(path)
    if path.is_dir():
        return _open_own(path)
    arrays, metadata = weight_files.read(path)
    weights, ignored = formats.normalise(arrays)
    kind = formats.detect(weights, where=path)
    return Opened(path, weights, ignored, kind, _foreign(path, kind, weights, metadata))


def describe(path: str | Path) -> Origin:
    """What the weights are; ask before creating the module.

    The normalisation of timm's weights is read from the config.json of their release,
    where it lies beside them: as `<stem>.config.json`, or beside a `model.safetensors`,
    which only one release of a directory can be, under its own name.

    Raises:
        UserError: as `open_weights`.
    """
    return open_weights(Path(path)).origin


def _open_own(path: Path) -> Opened:
    weights, module, info = own_checkpoints.read(path)
    kind = own_checkpoints.format_of(module, info)
    ancestors = (
        {"name": info["name"], "kind": "teacher", "licences": []},
        *info["provenance"],
    )
    inherited = {licence for entry in ancestors for licence in entry["licences"]}
    origin = Origin(
        format=kind.name,
        **{name: getattr(module, name, None) for name in own_checkpoints.SETTINGS},
        mean=kind.mean,
        std=kind.std,
        image_size=kind.image_size(weights),
        num_classes=module.num_classes,
        licence=", ".join(sorted(inherited)) or UNKNOWN,
        label_map=info["label_map"],
        ancestors=ancestors,
        frozen_norms=getattr(module, "frozen_norms", "") or None,
    )
    return Opened(path, weights, [], kind, origin)


def _foreign(
    path: Path, kind: formats.Format, weights: Arrays, metadata: Mapping[str, str]
) -> Origin:
    card = _timm_card(path) if kind.name.startswith("timm") else {}
    stated = metadata.get("license") or card.get("license") or UNKNOWN
    return Origin(
        format=kind.name,
        padding=kind.settings.get("padding"),
        bn_eps=kind.settings.get("bn_eps"),
        gelu=kind.settings.get("gelu"),
        mean=tuple(card.get("mean", kind.mean)),
        std=tuple(card.get("std", kind.std)),
        image_size=kind.image_size(weights),
        num_classes=weights.get(kind.head_bias, np.empty(0)).size,
        licence=_spdx(stated),
        frozen_norms=None if kind.has_statistics else ".",
    )


def _spdx(stated: str) -> str:
    """A licence that weights may have, whatever its case or a note in brackets."""
    text = re.sub(r"\s*\(.*\)$", "", stated.strip()).lower()
    known = {licence.lower(): licence for licence in licences.WEIGHT_LICENCES}
    return known.get(text, stated)


def _timm_card(path: Path) -> dict[str, Any]:
    """`pretrained_cfg` of the release's config.json, {} without one; see `describe`."""
    of_release = path.name == "model.safetensors"
    name = "config.json" if of_release else f"{path.stem}.config.json"
    try:
        card = json.loads(path.with_name(name).read_text(encoding="utf-8"))
        return dict(card["pretrained_cfg"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
