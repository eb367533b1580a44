import pytest

from aplantida_jax.data import regions


def test_every_country_is_in_exactly_one_region():
    listed = [code for codes in regions._COUNTRIES.values() for code in codes.split()]
    assert len(listed) == len(set(listed)) == len(regions.REGION_OF)
    assert tuple(regions._COUNTRIES) == regions.REGIONS
    # The 27 of the European Union, and a few that are not in it.
    union = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE"
    for code in [*union.split(), "SI", "SK", "GB", "NO", "CH", "UA", "AD", "VA", "IS"]:
        assert code in regions.REGION_OF


def test_a_plant_belongs_to_all_regions_it_touches():
    assert regions.regions_of(["ES", "PT"]) == ("EU_SW",)
    assert regions.regions_of(["PL", "ES", "DE"]) == ("EU_EAST", "EU_NORTH", "EU_SW")
    assert regions.regions_of(["BR"]) == ()
    assert regions.regions_of([]) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" , ", ()),
        ("EU_SW", ("EU_SW",)),
        ("EU_NORTH,EU_EAST", ("EU_NORTH", "EU_EAST")),
        (" EU_NORTH ,  EU_EAST ", ("EU_NORTH", "EU_EAST")),
    ],
)
def test_parse(text, expected):
    assert regions.parse(text) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("es", "ES"), (" PT ", "PT"), ("UK", "GB"), ("EL", "GR"), ("Spain", None)]
    + [("", None), ("E1", None), (None, None), (34, None), ("ñs", None)],
)
def test_country_code(raw, expected):
    assert regions.country_code(raw) == expected
