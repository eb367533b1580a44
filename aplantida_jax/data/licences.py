"""Licences: raw string -> SPDX id, what each profile admits, and how taint travels.

`spdx` knows a licence only when the whole raw string is one of the spellings that
`licence_forms.table` lists, a Creative Commons address, or a notice of the form "(c)
Ana Ruiz, some rights reserved (CC BY)". Whatever else there is (unknown, empty, null,
numbers, "all rights reserved", two licences in one string, extra words) is None, which
is denied everywhere. Codes whose meaning only their source knows, such as Flickr's
"4", are not guessed.

A Creative Commons licence without a version is taken as 4.0, as iNaturalist and GBIF
mean it; of what it was elsewhere, the conditions are the same in kind, and credit is
given in any case. A ported one ("3.0 ES") is taken as the unported one of its version.
The raw string is kept beside the id in every record. The GNU Free Documentation and
Free Art licences are known, but only the experimental profile admits them: what their
copyleft asks of a trained model is not settled.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aplantida_jax.data import licence_forms
from aplantida_jax.data.licence_forms import COMBINATIONS, VERSIONS, Licence, squeeze

_PUBLIC_DOMAIN = ("CC0-1.0", "CC-PDM-1.0", "CC-PDDC")
_FREE_CC = tuple(
    f"CC-{name}-{version}" for name in ("BY", "BY-SA") for version in VERSIONS
)
_ALL_CC = tuple(f"CC-{name}-{v}" for name in COMBINATIONS for v in VERSIONS)
_TEXTS = {
    "GFDL-1.2-only": "https://www.gnu.org/licenses/old-licenses/fdl-1.2.html",
    "GFDL-1.2-or-later": "https://www.gnu.org/licenses/old-licenses/fdl-1.2.html",
    "GFDL-1.3-only": "https://www.gnu.org/licenses/fdl-1.3.html",
    "GFDL-1.3-or-later": "https://www.gnu.org/licenses/fdl-1.3.html",
    "LAL-1.3": "https://artlibre.org/licence/lal/en/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-PDM-1.0": "https://creativecommons.org/publicdomain/mark/1.0/",
    "CC-PDDC": "https://creativecommons.org/licenses/publicdomain/",
    # Version 1.0 had its elements in this order.
    "CC-BY-NC-ND-1.0": "https://creativecommons.org/licenses/by-nd-nc/1.0/",
}

PROFILES: dict[str, frozenset[str]] = {
    "production": frozenset(_PUBLIC_DOMAIN + _FREE_CC),
    "experimental": frozenset((*_TEXTS, *_ALL_CC)),
}

# What pretrained weights and foreign teachers may be under, to ship what they made.
WEIGHT_LICENCES = frozenset(
    {"Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause", "CC0-1.0"}
)

_LONGEST = 300  # characters; no known spelling is longer
_LONGEST_SHOWN = 200  # characters
_URL = re.compile(
    r"(?:(?:https?:)?//)?(?:www\.)?creativecommons\.org/(?:"
    r"licenses/(?P<code>[a-z-]+)/(?P<version>[0-9]\.[0-9])(?:/(?P<port>(?!deed|legalcode)[a-z]+))?"
    r"|publicdomain/(?P<tool>zero|mark)/1\.0"
    r"|licenses/(?P<dedication>publicdomain))"
    r"(?:/(?:deed|legalcode)(?:\.[a-z]{2,3}(?:[_-](?:[a-z]{2}|hans|hant|latn))?)?)?/?"
    # What Creative Commons' chooser and search engines append.
    r"(?:\?ref=(?:chooser-v1|openverse|ccsearch))?",
    re.ASCII,
)
_OF_CODE = {code: name for name, codes in COMBINATIONS.items() for code in codes}
_LICENSED = ("thisworkislicensedundera", "thisworkislicensedunder") + (
    "licensedundera",
    "licensedunder",
)
_NOTICE = re.compile(
    r"(?:(?:\(c\)|©) ?(?P<holder>[^(),]+), )?"
    r"(?P<rights>\w+ \w+ \w+) \((?P<code>[^()]+)\)"
)
_HOLDER = re.compile(r"(?:\([cC]\)|©) ?[^(),]+, (?P<notice>.+)")
_DASH = re.compile(r"\s[-\u2010-\u2015]|[-\u2010-\u2015]\s")
_SOME_RIGHTS = frozenset(
    ("somerightsreserved", "algunosderechosreservados", "algunsdretsreservats")
    + ("algunsdireitosreservados", "certainsdroitsreserves")
    + ("einigerechtevorbehalten", "alcunidirittiriservati")
)
_NO_RIGHTS = frozenset({"norightsreserved", "ningunderechoreservado"})
# A holder is a name: a few words, none of which speaks of rights.
_MOST_WORDS = 6
_NAME_WORD = re.compile(r"[^\W_][\w.'\u2019@-]*|&")
_RIGHTS_WORDS = """
    all no not non none nor never nothing without with except excepting excluding only
    but unless until if or some under rights right reserved copyright license licence
    licensed licenced unlicensed licences licenses public domain cc cc0 by nc nd sa
    creative commons attribution todos todo ningun sin salvo excepto solo algunos
    derechos reservados licencia tous droits reserves aucun sauf pas alle rechte
    vorbehalten keine nicht nur tutti diritti riservati nessun tots drets"""
_NOT_IN_NAMES = frozenset(_RIGHTS_WORDS.split())


def spdx(raw: object) -> str | None:
    """The SPDX id of a document's licence string; None is unknown, hence denied."""
    return _spdx(raw) if isinstance(raw, str) and len(raw) <= _LONGEST else None


def folded(raw: str) -> str:
    """The spelling under which a licence string is counted: it means the same.

    Of a notice the holder is left out: "(c) Ana Ruiz, some rights reserved (CC BY)"
    is counted as "some rights reserved (CC BY)", lest every author be a spelling of
    their own. Blanks are single ones. At most 200 characters; `spdx` gives what it
    gives for `raw`.
    """
    if len(raw) > _LONGEST:
        return f"{' '.join(raw[:_LONGEST].split())[: _LONGEST_SHOWN - 1]}…"
    return _folded(raw)


def address(licence: str) -> str:
    """Where the text of a known licence is; `licence` is in the experimental profile.

    Raises:
        ValueError: it is not.
    """
    if licence in _TEXTS:
        return _TEXTS[licence]
    if licence not in PROFILES["experimental"]:
        raise ValueError(f"{licence} is not a known licence")
    _, *code, version = licence.lower().split("-")
    return f"https://creativecommons.org/licenses/{'-'.join(code)}/{version}/"


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


# A collection has few spellings, each of them many times.
@functools.lru_cache(maxsize=4096)
def _spdx(raw: str) -> str | None:
    text = " ".join(raw.split())
    if match := _URL.fullmatch(text.lower()):
        return _of_url(match)
    licence = _id(_of_words(squeeze(text)))
    if licence in _PUBLIC_DOMAIN and _DASH.search(text):
        return None  # "no - rights reserved"
    if licence is None and (match := _NOTICE.fullmatch(text.lower())):
        return _of_notice(match)
    return licence


@functools.lru_cache(maxsize=4096)
def _folded(raw: str) -> str:
    licence = _spdx(raw)
    text = " ".join(raw.split())
    match = _HOLDER.fullmatch(text)
    # A holder that is no name ("all but Ana") denies what the rest would admit.
    if match and spdx(match["notice"]) == licence:
        text = match["notice"]
    if len(text) > _LONGEST_SHOWN:
        return licence or f"{text[: _LONGEST_SHOWN - 1]}…"
    return text


def _of_url(match: re.Match[str]) -> str | None:
    if match["tool"]:
        return {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}[match["tool"]]
    if match["dedication"]:
        return "CC-PDDC"
    port, version = match["port"], match["version"]
    if port and (port not in licence_forms.PORTS or version == "4.0"):
        return None
    if match["code"] not in _OF_CODE or version not in VERSIONS:
        return None
    return f"CC-{_OF_CODE[match['code']]}-{version}"


def _of_notice(match: re.Match[str]) -> str | None:
    """The code counts, if the words before it agree and nothing else is said."""
    if match["holder"] is not None and not _is_name(match["holder"]):
        return None
    licence = _id(licence_forms.table().get(squeeze(match["code"])))
    rights = squeeze(match["rights"])
    if rights in _SOME_RIGHTS and licence in _ALL_CC:
        return licence
    if rights in _NO_RIGHTS and licence in _PUBLIC_DOMAIN:
        return licence
    return None


def _is_name(holder: str) -> bool:
    words = holder.split()
    return 0 < len(words) <= _MOST_WORDS and all(
        _NAME_WORD.fullmatch(word) and squeeze(word) not in _NOT_IN_NAMES
        for word in words
    )


def _of_words(squeezed: str) -> Licence | None:
    """A known spelling, or two in "X (Y)" that say the same."""
    known = licence_forms.table()
    for start in ("", *_LICENSED):
        rest = squeezed.removeprefix(start)
        if start and rest == squeezed:
            continue
        if rest in known:
            return known[rest]
        if match := re.fullmatch(r"([^()]+)\(([^()]+)\)([^()]*)", rest):
            outer, inner = known.get(match[1] + match[3]), known.get(match[2])
            if outer and inner and (both := _agreed(outer, inner)):
                return both
    return None


def _agreed(one: Licence, other: Licence) -> Licence | None:
    """What both say; one of them may leave the version open."""
    versions = {one.version, other.version} - {""}
    if one.name != other.name or len(versions) > 1:
        return None
    return Licence(one.name, "".join(versions))


def _id(licence: Licence | None) -> str | None:
    if licence is None or licence.name in PROFILES["experimental"]:
        return licence and licence.name
    return f"{licence.name}-{licence.version or '4.0'}"
