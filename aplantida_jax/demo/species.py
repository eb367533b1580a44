"""The invented flora of the demo: what its species are called and where they live.

No such plants exist; the names are well-formed Latin. Most genera hold species of
different regions, so that knowing where one stands helps to tell them apart.
"""

import dataclasses

from aplantida_jax.demo.traits import DIFFERENCES, GENERA, Traits


@dataclasses.dataclass(frozen=True)
class Species:
    """One species; `countries` are ISO-2 codes, sorted."""

    latin_name: str
    spanish_name: str
    english_name: str
    genus: str
    family: str
    countries: tuple[str, ...]
    traits: Traits


@dataclasses.dataclass(frozen=True)
class _Genus:
    """A genus; a species is its epithet, Spanish name, English name and countries."""

    name: str
    family: str
    species: tuple[tuple[str, str, str, str], ...]


_FLORA = (
    _Genus(
        "Aurelina",
        "Aurelinaceae",
        (
            ("montana", "Aurelina de monte", "Mountain aurelina", "ES FR PT"),
            ("litoralis", "Aurelina de playa", "Shore aurelina", "DE DK PL SE"),
            ("pallida", "Aurelina blanca", "Pale aurelina", "DE ES FR IT PL"),
        ),
    ),
    _Genus(
        "Nolabella",
        "Nolabellaceae",
        (
            ("caerulea", "Nolabella azul", "Blue nolabella", "CZ DE PL RO"),
            ("aërea", "Nolabella blanca", "Airy nolabella", "AD ES FR"),
            ("gracilis", "Nolabella fina", "Slender nolabella", "ES IT PT"),
        ),
    ),
    _Genus(
        "Umbrasela",
        "Umbraselaceae",
        (
            ("alba", "Sombrilla blanca", "White umbrasel", "DE FI NO SE"),
            ("rosea", "Sombrilla rosa", "Rosy umbrasel", "ES PT"),
            ("flavescens", "Sombrilla hinojera", "Yellow umbrasel", "ES FR IT"),
            ("gigantea", "Sombrilla gigante", "Giant umbrasel", "EE LT LV PL"),
        ),
    ),
    _Genus(
        "Tetrastrella",
        "Tetrastrellaceae",
        (
            ("lutea", "Cruceta amarilla", "Yellow crosslet", "BG HU RO"),
            ("lilacina", "Cruceta lila", "Lilac crosslet", "ES FR MA PT"),
        ),
    ),
    _Genus(
        "Spicarda",
        "Spicardaceae",
        (
            ("purpurea", "Espigarda morada", "Purple spicard", "AT CZ DE SK"),
            ("candida", "Espigarda blanca", "White spicard", "ES IT"),
            ("coccinea", "Espigarda roja", "Scarlet spicard", "ES FR PT US"),
        ),
    ),
    _Genus(
        "Rosarvia",
        "Rosarviaceae",
        (
            ("canescens", "Rosarvia gris", "Hoary rosarvia", "ES FR"),
            ("rubra", "Rosarvia roja", "Red rosarvia", "BY LT PL UA"),
            ("alpina", "Rosarvia alpina", "Alpine rosarvia", "AT CH FR IT"),
            ("× aurata", "Rosarvia dorada", "Golden rosarvia", "DE ES FR GB"),
        ),
    ),
    _Genus(
        "Gramentia",
        "Gramentiaceae",
        (
            ("aurea", "Gramencia dorada", "Golden gramentia", "ES IT MA PT"),
            ("purpurascens", "Gramencia morada", "Purple gramentia", "DE NL SE"),
            ("glauca", "Gramencia azul", "Blue gramentia", "ES HU PL RO"),
        ),
    ),
    _Genus(
        "Ederina",
        "Ederinaceae",
        (
            ("umbrosa", "Ederina de sombra", "Shade ederina", "DE FR GB SE"),
            ("rubella", "Ederina roja", "Red ederina", "ES IT"),
        ),
    ),
    _Genus(
        "Trifolanda",
        "Trifolandaceae",
        (
            ("agrestis", "Trifolanda rosa", "Field trifoland", "DE ES PL US"),
            ("nivalis", "Trifolanda nevada", "Snow trifoland", "FI NO SE"),
            ("crocea", "Trifolanda dorada", "Golden trifoland", "ES FR PT"),
        ),
    ),
    _Genus(
        "Convelia",
        "Conveliaceae",
        (
            ("sepincola", "Convelia de seto", "Hedge convelia", "DE DK FR GB"),
            ("azurea", "Convelia azul", "Azure convelia", "ES MA PT"),
            ("rosacea", "Convelia rosada", "Pink convelia", "BG GR IT RO"),
        ),
    ),
    _Genus(
        "Cardorina",
        "Cardorinaceae",
        (
            ("vulgata", "Cardorina común", "Common cardorine", "CZ DE FR PL"),
            ("lactea", "Cardorina lechosa", "Milky cardorine", "ES IT PT"),
            ("citrina", "Cardorina amarilla", "Lemon cardorine", "ES FR"),
            ("cinerea", "Cardorina ceniza", "Ashen cardorine", "HU MD RO UA"),
        ),
    ),
    _Genus(
        "Liriastra",
        "Liriastraceae",
        (
            ("ignea", "Liriastra de fuego", "Fire liriaster", "AT HU PL SK"),
            ("virginea", "Liriastra blanca", "White liriaster", "ES FR IT"),
        ),
    ),
)


def _species(genus: _Genus, row: tuple[str, str, str, str]) -> Species:
    epithet, spanish, english, countries = row
    latin = f"{genus.name} {epithet}"
    traits = dataclasses.replace(GENERA[genus.name], **DIFFERENCES.get(latin, {}))
    return Species(
        latin,
        spanish,
        english,
        genus.name,
        genus.family,
        tuple(countries.split()),
        traits,
    )


# Genus by genus: the first N species hold whole genera, but for the last one.
SPECIES = tuple(_species(genus, row) for genus in _FLORA for row in genus.species)
