"""Countries of Europe -> the three regions that the teachers specialise in.

A plant belongs to every region that one of its countries touches. `EU_CORE` of the plan
is EU_NORTH and EU_EAST together.
"""

from collections.abc import Iterable

REGIONS = ("EU_SW", "EU_NORTH", "EU_EAST")

# ISO 3166-1 alpha-2; every European country in exactly one. South-west is the western
# Mediterranean and the Atlantic of Iberia and France. North is the British Isles, the
# Low Countries, Germany, the Alps without France and Italy, Scandinavia and the Baltic.
_COUNTRIES = {
    "EU_SW": "AD ES FR GI IT MC MT PT SM VA",
    "EU_NORTH": "AT AX BE CH DE DK EE FI FO GB GG IE IM IS JE LI LT LU LV NL NO SE SJ",
    "EU_EAST": "AL AM AZ BA BG BY CY CZ GE GR HR HU MD ME MK PL RO RS RU SI SK TR UA "
    "XK",
}
REGION_OF = {
    country: region
    for region, countries in _COUNTRIES.items()
    for country in countries.split()
}
# What collections write for the same country.
_ALIASES = {"UK": "GB", "EL": "GR"}


def country_code(raw: object) -> str | None:
    """Two capital letters, or None when `raw` is nothing like an ISO-2 code."""
    if not isinstance(raw, str):
        return None
    code = raw.strip().upper()
    if len(code) != 2 or not code.isascii() or not code.isalpha():
        return None
    return _ALIASES.get(code, code)


def regions_of(countries: Iterable[str]) -> tuple[str, ...]:
    """The regions that `countries` touch, sorted; countries elsewhere touch none."""
    return tuple(sorted({REGION_OF[c] for c in countries if c in REGION_OF}))


def parse(text: str) -> tuple[str, ...]:
    """ "EU_NORTH, EU_EAST" -> ("EU_NORTH", "EU_EAST"); "" -> ().

    Names are not checked here, so that the caller can say which field was wrong.
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())
