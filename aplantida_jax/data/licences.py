"""Licences: raw string -> SPDX id, what each profile admits, and how taint travels.

`spdx` knows a licence only when every word of the raw string is in the tables below;
whatever else (unknown, empty, null, "all rights reserved", extra words) is None, which
is denied everywhere. A Creative Commons licence without a version is taken as 4.0, as
iNaturalist and GBIF mean it, and a ported one ("3.0 ES") as the unported one of its
version; the raw string is kept beside the id in every record.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")
# SPDX spells the elements in this order: CC-BY-NC-SA.
_ELEMENTS = ("BY", "NC", "SA", "ND")
_COMBINATIONS = ("BY", "BY-SA", "BY-ND", "BY-NC", "BY-NC-SA", "BY-NC-ND")

_PUBLIC_DOMAIN = ("CC0-1.0", "CC-PDM-1.0", "CC-PDDC")
_FREE_CC = tuple(
    f"CC-{name}-{version}" for name in ("BY", "BY-SA") for version in _VERSIONS
)
_ALL_CC = tuple(f"CC-{name}-{v}" for name in _COMBINATIONS for v in _VERSIONS)

PROFILES: dict[str, frozenset[str]] = {
    "production": frozenset(_PUBLIC_DOMAIN + _FREE_CC),
    "experimental": frozenset(_PUBLIC_DOMAIN + _ALL_CC),
}

# What pretrained weights and foreign teachers may be under, to ship what they made.
WEIGHT_LICENCES = frozenset(
    {"Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause", "CC0-1.0"}
)

# Whole strings, after `_simplify`.
_PHRASES = {
    "cc0": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "cc0 1.0 universal": "CC0-1.0",
    "cc 0": "CC0-1.0",
    "cc 0 1.0": "CC0-1.0",
    "cc zero": "CC0-1.0",
    "cc zero 1.0": "CC0-1.0",
    "creative commons 0": "CC0-1.0",
    "creative commons cc0": "CC0-1.0",
    "creative commons zero": "CC0-1.0",
    "creative commons zero 1.0": "CC0-1.0",
    "creative commons cc0 1.0 universal": "CC0-1.0",
    "cc0 public domain": "CC0-1.0",
    "cc0 public domain dedication": "CC0-1.0",
    "cc0 1.0 universal public domain dedication": "CC0-1.0",
    "public domain dedication": "CC0-1.0",
    "no rights reserved": "CC0-1.0",
    "no rights reserved cc0": "CC0-1.0",
    "ningun derecho reservado": "CC0-1.0",
    "sin derechos reservados": "CC0-1.0",
    "pd": "CC-PDM-1.0",
    "pdm": "CC-PDM-1.0",
    "pdm 1.0": "CC-PDM-1.0",
    "cc pdm": "CC-PDM-1.0",
    "cc pdm 1.0": "CC-PDM-1.0",
    "public domain": "CC-PDM-1.0",
    "public domain mark": "CC-PDM-1.0",
    "public domain mark 1.0": "CC-PDM-1.0",
    "dominio publico": "CC-PDM-1.0",
    "marca de dominio publico": "CC-PDM-1.0",
    "marca de dominio publico 1.0": "CC-PDM-1.0",
    "cc pddc": "CC-PDDC",
}

# Words of a Creative Commons name; a string with any other word is not one.
_WORDS = {
    "by": "BY",
    "attribution": "BY",
    "atribucion": "BY",
    "reconocimiento": "BY",
    "nc": "NC",
    "noncommercial": "NC",
    "nocomercial": "NC",
    "sa": "SA",
    "sharealike": "SA",
    "compartirigual": "SA",
    "nd": "ND",
    "noderivatives": "ND",
    "noderivs": "ND",
    "sinobraderivada": "ND",
    "sinderivadas": "ND",
}
_FILLERS = frozenset(
    ("cc", "creative", "commons", "license", "licence", "licencia", "international")
    + ("internacional", "unported", "generic", "generica", "generico", "v", "version")
    + ("de",)
)
# One of these says that the words above are meant as a licence.
_MARKERS = frozenset({"cc", "creative", "by", *_VERSIONS})
_JOINED = (
    ("non commercial", "noncommercial"),
    ("no comercial", "nocomercial"),
    ("share alike", "sharealike"),
    ("no derivatives", "noderivatives"),
    ("no derivative works", "noderivatives"),
    ("no derivs", "noderivs"),
    ("compartir igual", "compartirigual"),
    ("sin obra derivada", "sinobraderivada"),
    ("sin derivadas", "sinderivadas"),
)

_URL = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/"
    r"(?:(?P<cc>licenses/(?P<name>[a-z-]+)/(?P<version>[0-9.]+)(?:/[a-z-]{2,8})?)"
    r"|publicdomain/(?P<domain>zero|mark)/1\.0)"
    r"(?:/(?:deed|legalcode)(?:\.[a-z_-]{2,7})?)?/?"
)
# iNaturalist's and Flickr's "(c) Ana, some rights reserved (CC BY-NC)".
_SOME_RIGHTS = re.compile(r".*\b(?:some|no) rights reserved \((?P<code>[^()]+)\)")


def spdx(raw: object) -> str | None:
    """The SPDX id of a document's licence string; None is unknown, hence denied."""
    if not isinstance(raw, str):
        return None
    text = unicodedata.normalize("NFKC", raw).strip().casefold()
    if match := _URL.fullmatch(text):
        return _of_url(match)
    if match := _SOME_RIGHTS.fullmatch(text):
        text = match["code"]
    text = _simplify(text)
    return _PHRASES.get(text) or _of_words(text)


def allowed(licence: str | None, profile: str) -> bool:
    """May an image under `licence` be used? `profile` is a key of `PROFILES`."""
    return licence in PROFILES[profile]


def verdict(provenance: Sequence[Mapping[str, Any]]) -> tuple[bool, list[str]]:
    """May what was made from these ancestors ship under the production profile?

    Args:
        provenance: every ancestor, flattened: {"name", "kind": "data" | "weights" |
            "teacher", "licences": [SPDX ids]}. A foreign teacher has licences; one of
            ours has none, its own data and weights stand beside it.

    Returns:
        Whether it may, and for each reason against it a line that names the ancestor.
    """
    # Ours alone tell nothing: they must come from somewhere.
    origins = [a for a in provenance if a["kind"] != "teacher" or a["licences"]]
    reasons = [] if origins else ["nothing is recorded about what it was made from"]
    for ancestor in origins:
        data = ancestor["kind"] == "data"
        admitted = PROFILES["production"] if data else WEIGHT_LICENCES
        what = f"{ancestor['kind']} '{ancestor['name']}'"
        if not ancestor["licences"]:
            reasons.append(f"{what}: no licence is recorded")
        denied = sorted({str(i) for i in ancestor["licences"] if i not in admitted})
        if denied:
            reasons.append(f"{what}: {', '.join(denied)} is not for production")
    return not reasons, reasons


def _of_url(match: re.Match[str]) -> str | None:
    if match["domain"]:
        return {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}[match["domain"]]
    return _compose((_WORDS.get(word) for word in match["name"].split("-")), match)


def _of_words(text: str) -> str | None:
    for spaced, joined in _JOINED:
        text = text.replace(spaced, joined)
    words = text.split()
    if not _MARKERS.intersection(words):
        return None
    versions = {word for word in words if word in _VERSIONS}
    elements = [w for w in words if w not in _FILLERS and w not in versions]
    if len(versions) > 1:
        return None
    return _compose((_WORDS.get(w) for w in elements), {"version": "".join(versions)})


def _compose(
    elements: Iterable[str | None], match: Mapping[str, str] | re.Match[str]
) -> str | None:
    """Elements in any order -> id; None for an unknown element or combination."""
    found = set(elements)
    if None in found:
        return None
    name = "-".join(element for element in _ELEMENTS if element in found)
    licence = f"CC-{name}-{match['version'] or '4.0'}"
    return licence if licence in PROFILES["experimental"] else None


def _simplify(text: str) -> str:
    """No accents, no punctuation but the dots of versions, single spaces."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    plain = re.sub(r"(?<=[a-z])(?=[1-4]\.[05]\b)", " ", plain)  # by4.0, v4.0
    plain = re.sub(r"[^a-z0-9.]+", " ", plain)
    words = (word.strip(".") for word in plain.split())
    return " ".join(word for word in words if word)
