"""The spellings of licences that are known, each an entry of one table.

`table` maps a spelling, as `squeeze` leaves it, to a `Licence`. It is filled from the
templates below: the codes ("CC BY-NC 4.0", "cc-by-nc", "CC_BY_NC_4_0") and the names
in seven languages, with the versions, ports and suffixes that go with each version. A
spelling that no template gives is in no table, and what is in no table is denied.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from aplantida_jax.data import licence_phrases

VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")
# SPDX's order, and the other one that is met ("by-nd-nc" is version 1.0's own).
COMBINATIONS = {
    "BY": ("by",),
    "BY-SA": ("by-sa",),
    "BY-ND": ("by-nd",),
    "BY-NC": ("by-nc",),
    "BY-NC-SA": ("by-nc-sa", "by-sa-nc"),
    "BY-NC-ND": ("by-nc-nd", "by-nd-nc"),
}
# Jurisdictions to which Creative Commons ported versions up to 3.0; 4.0 has no ports.
_PORTS = """
    ar at au az be bg br ca ch cl cn co cr cz de dk ec ee eg es fi fr ge gr gt hk hr hu
    ie igo il in it jp kr lu mk mt mx my nl no nz pe ph pl pr pt ro rs scotland se sg si
    th tw ua ug uk us ve vn za"""
PORTS = frozenset(_PORTS.split())
_PREFIXES = ("cc", "creativecommons")


class Licence(NamedTuple):
    """What a spelling says.

    Attributes:
        name: SPDX id without its version, e.g. "CC-BY-NC"; a whole id when `version`
            is no part of the spelling's grammar, e.g. "CC-PDM-1.0".
        version: "4.0"; "" when the spelling gives none.
    """

    name: str
    version: str


class _Language(NamedTuple):
    """How the elements, and what stands around them, are called; all squeezed."""

    by: tuple[str, ...]
    nc: tuple[str, ...]
    sa: tuple[str, ...]
    nd: tuple[str, ...]
    licence: tuple[str, ...]  # before or after the name
    international: tuple[str, ...]  # after 4.0
    unported: tuple[str, ...]  # after 3.0
    generic: tuple[str, ...]  # after 1.0 to 2.5
    ported: tuple[str, ...]  # after 1.0 to 3.0

    def suffixes(self, version: str) -> tuple[str, ...]:
        """What may follow a version, "" being nothing."""
        if version == "4.0":
            return ("", *self.international)
        plain = self.unported if version == "3.0" else self.generic
        return ("", *plain, *self.ported)

    def names(self, combination: str) -> Iterator[str]:
        """The spellings of "BY-NC-SA", with the elements in that order."""
        elements = [
            getattr(self, element.lower()) for element in combination.split("-")
        ]
        return map("".join, itertools.product(*elements))


_ENGLISH = _Language(
    by=("attribution",),
    nc=("noncommercial",),
    sa=("sharealike",),
    nd=("noderivatives", "noderivs", "noderivativeworks"),
    licence=("license", "licence", "publiclicense", "publiclicence", "deed"),
    international=("international",),
    unported=("unported",),
    generic=("generic",),
    ported=("spain", "germany", "france", "italy", "portugal", "austria", "brazil")
    + ("netherlands", "australia", "switzerland", "unitedstates", "us"),
)
_LANGUAGES = (
    _ENGLISH,
    _Language(  # Spanish
        by=("reconocimiento", "atribucion"),
        nc=("nocomercial",),
        sa=("compartirigual",),
        nd=("sinobraderivada", "sinobrasderivadas", "sinderivadas", "sinderivar"),
        licence=("licencia", "license"),
        international=("internacional",),
        unported=("noportada", "unported"),
        generic=("generica", "generico"),
        ported=("espana", "argentina", "chile", "colombia", "mexico"),
    ),
    _Language(  # Catalan
        by=("reconeixement", "atribucio"),
        nc=("nocomercial",),
        sa=("compartirigual",),
        nd=("senseobraderivada", "senseobresderivades", "sensederivades"),
        licence=("llicencia",),
        international=("internacional",),
        unported=("noadaptada", "unported"),
        generic=("generica",),
        ported=("espanya",),
    ),
    _Language(  # Portuguese
        by=("atribuicao",),
        nc=("naocomercial", "usonaocomercial"),
        sa=("compartilhaigual", "partilhaigual", "partilhanosmesmostermos"),
        nd=("semderivacoes", "semderivados"),
        licence=("licenca",),
        international=("internacional",),
        unported=("naoadaptada",),
        generic=("generica",),
        ported=("portugal", "brasil"),
    ),
    _Language(  # French
        by=("attribution", "paternite"),
        nc=("pasdutilisationcommerciale",),
        sa=("partagedanslesmemesconditions", "partagealidentique"),
        nd=("pasdemodification", "pasdemodifications"),
        licence=("licence", "license"),
        international=("international",),
        unported=("nontranspose",),
        generic=("generique",),
        ported=("france",),
    ),
    _Language(  # German
        by=("namensnennung",),
        nc=("nichtkommerziell", "keinekommerziellenutzung"),
        sa=("weitergabeuntergleichenbedingungen",),
        nd=("keinebearbeitung", "keinebearbeitungen"),
        licence=("lizenz",),
        international=("international",),
        unported=("nichtportiert",),
        generic=("generisch",),
        ported=("deutschland", "osterreich", "schweiz"),
    ),
    _Language(  # Italian
        by=("attribuzione",),
        nc=("noncommerciale",),
        sa=("condividiallostessomodo",),
        nd=("nonoperederivate",),
        licence=("licenza",),
        international=("internazionale",),
        unported=("nonportata", "unported"),
        generic=("generico",),
        ported=("italia",),
    ),
)

_DASHES = "_\\u2010-\\u2015-"
# Only between words: "CC-BY-" may have been cut off before its "NC".
_SEPARATORS = re.compile(rf"(?<=\S)[\s{_DASHES}]+(?=\S)|(?<=[a-z])['\u2019](?=[a-z])")
_ENUMERATED = re.compile(r"_(\d)_(\d)$")  # GBIF's CC_BY_4_0
_VERSION_WORD = re.compile(r"(?:version|v)(?=\d\.\d)")
# The accents that the languages above need; a mark outside this set (a stroke through
# the letters, say) stays, and makes the spelling unknown.
_ACCENTS = re.compile("[\u0300-\u0303\u0308\u0327]")


def squeeze(raw: str) -> str:
    """Lower case, without accents, spaces, hyphens, underscores and apostrophes.

    Nothing else is forgiven: look-alike letters of other scripts and invisible
    characters stay, and are in no table.
    """
    text = _ENUMERATED.sub(r"_\1.\2", raw.strip().lower())
    text = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
    text = _SEPARATORS.sub("", text).removesuffix(".")
    return _VERSION_WORD.sub("", text)


@functools.cache
def table() -> dict[str, Licence]:
    """Every known spelling, squeezed, and what it says."""
    found = dict(itertools.chain(_codes(), *map(_names, _LANGUAGES)))
    for combination, name in licence_phrases.FLICKR.items():
        found[squeeze(name)] = Licence(f"CC-{combination}", "2.0")
    for licence, phrases in licence_phrases.PHRASES.items():
        for phrase in re.split(r"[|\n]", phrases.strip()):
            found[squeeze(phrase)] = Licence(licence, "")
    return found


def _codes() -> Iterator[tuple[str, Licence]]:
    """ "CC BY-NC 4.0 International", "cc-by-sa-3.0-de", "by-nc"."""
    words = tuple({word for language in _LANGUAGES for word in language.licence})
    for combination, codes in COMBINATIONS.items():
        for code, prefix in itertools.product(codes, ("", *_PREFIXES)):
            if code == "by" and not prefix:
                continue  # a word of English
            start = prefix + code.replace("-", "")
            for version in ("", *VERSIONS):
                licence = Licence(f"CC-{combination}", version)
                suffixes = _ENGLISH.suffixes(version) if version else ("",)
                for suffix in suffixes:
                    for spelling in _around(start + version + suffix, words):
                        yield spelling, licence
                if version not in ("", "4.0"):
                    # Norway's code is a word that denies.
                    for port in PORTS - {"no"}:
                        yield start + version + port, licence


def _names(language: _Language) -> Iterator[tuple[str, Licence]]:
    """ "Creative Commons Attribution-NonCommercial 4.0 International License"."""
    for combination in COMBINATIONS:
        for name in language.names(combination):
            for version in ("", *VERSIONS):
                licence = Licence(f"CC-{combination}", version)
                # Without Creative Commons and without a version it is only words.
                prefixes = ("", *_PREFIXES) if version else _PREFIXES
                suffixes = language.suffixes(version) if version else ("",)
                for prefix, suffix in itertools.product(prefixes, suffixes):
                    core = prefix + name + version + suffix
                    for spelling in _around(core, language.licence):
                        yield spelling, licence


def _around(spelling: str, words: tuple[str, ...]) -> Iterator[str]:
    """The spelling, and with the word for a licence before or after it."""
    yield spelling
    for word in words:
        yield word + spelling
        yield spelling + word
