"""Latin names in one spelling, so that one species is one class.

"QUERCUS  ROBUR L.", "Quercus\\u00a0robur" and "quercus robur" are "Quercus robur";
"Mentha x piperita" and "mentha ×piperita" are "Mentha × piperita". Names follow the
International Code of Nomenclature for algae, fungi, and plants (Shenzhen Code): the
hybrid sign is ×, and the ranks kept below species are subsp., var. and f.
"""

import re
import unicodedata

HYBRID = "×"

_HYBRID_SIGNS = str.maketrans(dict.fromkeys("✕✖⨯╳", HYBRID))
# Zero-width characters and the soft hyphen survive copy and paste from web pages.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_RANKS = {
    "subsp": "subsp.",
    "ssp": "subsp.",
    "subspecies": "subsp.",
    "var": "var.",
    "variety": "var.",
    "varietas": "var.",
    "f": "f.",
    "forma": "f.",
}
# After "f." these say that it was the "filius" of an author: "Hook. f. ex Benth.".
_AUTHOR_WORDS = frozenset({"ex", "et", "in", "and", "non", "de", "von", "auct"})


def normalise(raw: object) -> str:
    """The one spelling of a Latin name, "" when `raw` is not one.

    The binomial, and subsp./var./f. with their epithets, are kept; authors, cultivars
    and qualifiers are dropped. "Rosa L." and "Rosa sp." are the genus "Rosa".
    """
    if not isinstance(raw, str):
        return ""
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", raw))
    text = text.replace("_", " ").translate(_HYBRID_SIGNS).replace(HYBRID, " × ")
    words = [HYBRID if word in ("x", "X") else word for word in text.split()]
    parts = _binomial(words)
    if not parts:
        return ""
    return " ".join(parts + _below_species(words[len(parts) :]))


def genus_of(name: str) -> str:
    """The genus of a normalised name, without a hybrid sign before it."""
    return next((word for word in name.split() if word != HYBRID), "")


def _binomial(words: list[str]) -> list[str]:
    """[×] Genus [[×] epithet]; [] when the first word is not one."""
    parts: list[str] = []
    if words and words[0] == HYBRID:
        parts.append(HYBRID)
    rest = words[len(parts) :]
    if not rest or not _WORD.fullmatch(rest[0]):
        return []
    parts.append(rest[0].capitalize())
    hybrid = len(rest) > 1 and rest[1] == HYBRID
    epithet = rest[1 + hybrid] if len(rest) > 1 + hybrid else ""
    if _WORD.fullmatch(epithet) and epithet.lower() not in ("sp", "spp"):
        parts += [HYBRID] * hybrid + [epithet.lower()]
    return parts


def _below_species(words: list[str]) -> list[str]:
    """The hybrid's other parent, and the ranks; everything else is an author."""
    kept: list[str] = []
    for position, word in enumerate(words[:-1]):
        rank = _RANKS.get(word.rstrip(".").lower())
        epithet = words[position + 1]
        if word == HYBRID:
            return [*kept, *_other_parent(words[position:])]
        if rank is None or not _WORD.fullmatch(epithet):
            continue
        # An author's "f." is followed by another author or by nothing.
        if rank == "f." and (epithet != epithet.lower() or epithet in _AUTHOR_WORDS):
            continue
        kept += [rank, epithet.lower()]
    return kept


def _other_parent(words: list[str]) -> list[str]:
    """ "× robur" and "× Quercus robur" of a hybrid formula."""
    parent = _binomial(words)
    if len(parent) == 2 and words[1] == words[1].lower():
        return [HYBRID, words[1]]
    return parent
