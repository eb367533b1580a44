"""Latin names in one spelling, so that one species is one class.

"QUERCUS  ROBUR L.", "<i>Quercus robur</i>" and "quercus\\u00a0robur" are "Quercus
robur"; "Mentha x piperita" and "mentha ×piperita" are "Mentha × piperita". The rules
are those of the International Code of Nomenclature for algae, fungi, and plants
(Shenzhen Code):

- hybrids have the sign ×, graft-chimaeras + (Art. H.1, H.3; ICNCP Art. 24);
- letters are those of Latin: æ is ae, ü is ue, é is e, and a diaeresis, which is
  permitted but says nothing, is left out (Art. 60.7), so Isoëtes is Isoetes;
- of ranks below species only the last counts (Art. 24.1);
- nothing more than the genus is known of "Rosa sp.", "Rosa cf. canina", "Rosa sect.
  Caninae" and "Rosa 'Peace'", so that is what they are;
- an epithet never repeats its genus (Art. 23.4), so neither "Rosa rosa" nor "Salix ×
  Salix alba" names a species.

What is no name of a genus or below ("Rosaceae", "unknown", other scripts) is "".
"""

import html
import re
import unicodedata

HYBRID = "×"
GRAFT = "+"

_LONGEST = 300  # characters; no name is longer
_SIGNS = (HYBRID, GRAFT)
# The last two are Cyrillic and look like the letter that stands for the sign.
_CROSSES = ("x", "X", "\u0445", "\u0425")
_LETTERS = str.maketrans(
    {sign: f" {HYBRID} " for sign in "×✕✖⨯╳"}
    | dict.fromkeys("_\u00b7", " ")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
    | {"+": " + "}
    | {"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ß": "ss", "ı": "i", "ł": "l"}
    | {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}
    | {"ø": "oe", "Ø": "Oe", "å": "ao", "Å": "Ao"}
    | {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
)
# Zero-width characters and the soft hyphen survive copy and paste from web pages.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_PARENTHESES = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_APOSTROPHE = re.compile(r"(?<=[A-Za-z])['\u2019\u02bc](?=[A-Za-z])")
_GLUED_CROSS = re.compile(r"\bx(?=[A-Z][a-z])")  # xCuprocyparis
_WORD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")
_RANKS = {
    "subsp": "subsp.",
    "ssp": "subsp.",
    "subspecies": "subsp.",
    "nothosubsp": "nothosubsp.",
    "nothossp": "nothosubsp.",
    "var": "var.",
    "variety": "var.",
    "varietas": "var.",
    "nothovar": "nothovar.",
    "f": "f.",
    "fo": "f.",
    "forma": "f.",
}
_BELOW_SPECIES = re.compile(
    rf" (?:{'|'.join(re.escape(rank) for rank in sorted(set(_RANKS.values())))}) \S+"
)
# After "f." these say that it was the "filius" of an author: "Hook. f. ex Benth.".
_AUTHOR_WORDS = frozenset({"ex", "et", "in", "and", "non", "nec", "de", "von", "auct"})
# Authors of genera as they are written without a full stop: "Acer Mill". A capital
# alone does not tell, since "Quercus Robur" is common. None of these is an epithet.
_AUTHORS = """
    adans adanson ait aiton aubl aublet baker batsch benth bentham bernh besser bl blume
    boehm boiss boissier britton bunge burm cass cav cavanilles crantz dc desf dulac
    dumort ehrh endl engelm fabr fisch franch gaertn gay gilib godr gould gray greene
    gren griseb haller hance haw haworth heist hemsl hill hoffm hoffmanns hook hooker
    host huds hudson jacq jacquin juss jussieu koch koehne kunth kuntze lag lam lamarck
    ledeb lej less lindl lindley linn linnaeus linne loefl lour mart maxim medik medikus
    meisn michx mill miller miq moench moq nees neck nutt nuttall pall parl pav
    pers planch poepp poir raf rafin rchb rehder reichenb rich roem roth roxb ruiz rupr
    rydb salisb schltr schott schrad schrank schreb schult scop scopoli seguier sibth
    siebold sims small solander spach spreng stapf steud sweet tausch thunb thunberg
    torr tourn tournef tournefort trew trin turcz urb vahl vell vent vill wall wallr
    webb wedd wight willd willdenow zinn zucc"""
# Words of other languages that no Latin epithet is: "Rosa de Castilla", "Rosa of York".
_PARTICLES = (
    "da das de del della der di do dos du e el la las le los of the und van von y"
)
# In the place of an epithet these say that there is none, or none for certain.
_NO_EPITHET = frozenset(
    ("sp", "spp", "spec", "species", "cf", "aff", "nr", "indet", "unknown", "cv")
    + ("cultivar", "hybrid", "hybrids", "hort", "auct", "agg", "sect", "section")
    + ("subg", "subgen", "subgenus", "ser", "series", "group", "gr", "et", "ex", "in")
    + ("and", "or", "complex", "sensu", *_RANKS)
    + (*_AUTHOR_WORDS, *_AUTHORS.split(), *_PARTICLES.split())
)
_NO_GENUS = frozenset(
    (
        "unknown",
        "unidentified",
        "undetermined",
        "indet",
        "indeterminate",
        "none",
        "null",
    )
    + ("nan", "na", "plant", "plants", "planta", "plantae", "species", "sp", "spp")
    + ("desconocida", "desconocido", "indeterminada", "indeterminado", "cf", "aff")
    + ("tracheophyta", "magnoliopsida", "liliopsida", "angiospermae", "incertae", "no")
    # Families by their old names.
    + ("compositae", "cruciferae", "gramineae", "guttiferae", "labiatae")
    + ("leguminosae", "palmae", "umbelliferae", "papilionaceae")
)
_ABOVE_GENUS = ("aceae", "oideae")  # families, subfamilies (Art. 18.1, 19.1)


def normalise(raw: object) -> str:
    """The one spelling of a Latin name, "" when `raw` is not one; never raises.

    The binomial, and the lowest of subsp., var. and f. with its epithet, are kept;
    authors, years, cultivars, qualifiers and what is in brackets are dropped.
    """
    if not isinstance(raw, str):
        return ""
    words = _words(raw)
    parts = _binomial(words)
    if not parts:
        return ""
    if len(parts) - (parts[0] in _SIGNS) == 1:
        return " ".join(parts)
    return " ".join(parts + _below_species(words[len(parts) :], parts))


def genus_of(name: str) -> str:
    """The genus of a normalised name, without a sign before it."""
    return next((word for word in name.split() if word not in _SIGNS), "")


def species_of(name: str) -> str:
    """The species of a normalised name: "Rosa canina" of "Rosa canina var. alba".

    A hybrid is a species of its own; what has no epithet is not one: "".
    """
    words = _BELOW_SPECIES.sub("", name)
    return words if sum(word not in _SIGNS for word in words.split()) > 1 else ""


def _words(raw: str) -> list[str]:
    """Words of ASCII letters (others stay and are no words), and the signs."""
    # Cut first: an endless entity would be an endless number.
    text = _CONTROL.sub(" ", _TAG.sub(" ", html.unescape(raw[:_LONGEST])))
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).translate(_LETTERS)
    decomposed = unicodedata.normalize("NFD", text)
    text = "".join(c for c in decomposed if not unicodedata.combining(c))
    text = _GLUED_CROSS.sub(f" {HYBRID} ", _APOSTROPHE.sub("", text))
    text = _PARENTHESES.sub(" ", text).rstrip(" ,;:")
    if text.isupper():
        text = text.lower()
    words = [HYBRID if word in _CROSSES else word for word in text.split()]
    if words and _ends_a_sentence(words[-1]):
        words[-1] = words[-1].rstrip(".")
    return words


def _ends_a_sentence(word: str) -> bool:
    """ "robur." has its epithet whole, "Mill." and "spp." are abbreviations."""
    plain = word.rstrip(".")
    return word != plain and len(plain) > 3 and plain == plain.lower()


def _binomial(words: list[str]) -> list[str]:
    """[sign] Genus [[sign] epithet]; [] when the first word is not one."""
    parts = [word for word in words[:1] if word in _SIGNS]
    rest = words[len(parts) :]
    if not rest or not _is_genus(rest[0]):
        return []
    parts.append(rest[0].capitalize())
    sign = [word for word in rest[1:2] if word in _SIGNS]
    epithet = rest[1 + len(sign)] if len(rest) > 1 + len(sign) else ""
    epithet = epithet.rstrip(",;:")
    # "Salix × Salix alba": an epithet never repeats the genus.
    if _is_epithet(epithet) and epithet.lower() != rest[0].lower():
        parts += [*sign, epithet.lower()]
    return parts


def _is_genus(word: str) -> bool:
    lower = word.lower()
    known = lower not in _NO_GENUS and not lower.endswith(_ABOVE_GENUS)
    return known and len(word) > 1 and bool(_WORD.fullmatch(word))


def _is_epithet(word: str) -> bool:
    known = word.lower() not in _NO_EPITHET
    return known and len(word) > 1 and bool(_WORD.fullmatch(word))


def _below_species(words: list[str], first: list[str]) -> list[str]:
    """The hybrid's other parent, or the lowest rank; everything else is an author."""
    kept: list[str] = []
    for position, word in enumerate(words[:-1]):
        rank = _RANKS.get(word.rstrip(".").lower())
        epithet = words[position + 1].rstrip(",;:")
        if word in _SIGNS:
            return kept + _other_parent(words[position:], genus_of(" ".join(first)))
        if rank is None or not _is_epithet(epithet):
            continue
        # An author's "f." is followed by another author or by nothing.
        if rank == "f." and (epithet != epithet.lower() or epithet in _AUTHOR_WORDS):
            continue
        kept = [rank, epithet.lower()]
    return kept


def _other_parent(words: list[str], genus: str) -> list[str]:
    """ "× petraea" of "× petraea", "× Q. petraea" and "× Quercus petraea"."""
    sign, *rest = words
    initial = re.fullmatch(r"([A-Za-z])\.", rest[0])
    if initial and initial[1].upper() == genus[0]:
        rest = rest[1:]
    elif rest[0] != rest[0].lower():
        parent = _binomial(words)
        if len(parent) < 3 or parent[1] != genus:
            return parent
        rest = rest[1:]
    epithet = rest[0].rstrip(",;:") if rest else ""
    return [sign, epithet.lower()] if _is_epithet(epithet) else []
