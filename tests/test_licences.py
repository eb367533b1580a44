import licence_table
import pytest

from aplantida_jax.data import licence_forms, licences


@pytest.mark.parametrize(("raw", "expected"), licence_table.rows())
def test_golden_table(raw, expected):
    assert licences.spdx(raw) == expected


def test_the_golden_table_is_worth_its_name():
    rows = licence_table.rows()
    assert len({raw for raw, _ in rows}) == len(rows) >= 350
    assert sum(licence is None for _, licence in rows) >= 120


@pytest.mark.parametrize(("raw", "expected"), licence_table.rows())
def test_what_is_counted_means_the_same(raw, expected):
    assert licences.spdx(licences.folded(raw)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("CC  BY\t4.0", "CC BY 4.0"),
        ("(c) Ana Ruiz, some rights reserved (CC BY)", "some rights reserved (CC BY)"),
        ("© Nuño, no rights reserved (CC0)", "no rights reserved (CC0)"),
        ("(C) Ana Ruiz, all rights reserved", "all rights reserved"),
        # Without this holder it would be admitted.
        ("(c) all but Ana, some rights reserved (CC BY)", None),
        ("all rights reserved (c) Ana", None),
        ("x" * 250, "x" * 199 + "…"),
        ("cc-by" + " " * 300, "cc-by…"),
        ("cc-by" + "-" * 250 + "nc", "CC-BY-NC-4.0"),
    ],
)
def test_folding(raw, expected):
    assert licences.folded(raw) == (raw if expected is None else expected)
    assert licences.spdx(licences.folded(raw)) == licences.spdx(raw)


@pytest.mark.parametrize(
    "raw", [None, 4, 0, 4.0, True, {"code": "cc-by"}, ["cc-by"], b"cc-by"]
)
def test_what_is_no_text_is_denied(raw):
    assert licences.spdx(raw) is None
    assert not licences.allowed(licences.spdx(raw), "experimental")


def test_no_form_speaks_of_two_licences():
    # A spelling that two templates gave would mean what the later one says.
    for form, licence in licence_forms.table().items():
        if licence.name.startswith("CC-BY") and "," not in form:
            versions = [v for v in licence_forms.VERSIONS if v in form]
            assert versions in ([], [licence.version], [licence.name[-3:]]), form


def test_every_id_names_itself():
    for licence in licences.PROFILES["experimental"]:
        assert licences.spdx(licence) == licence


def test_addresses_lead_back_to_the_licence():
    # Every text that Creative Commons has; it is where `spdx` would know it.
    for licence in licences.PROFILES["experimental"]:
        address = licences.address(licence)
        assert address.startswith("https://")
        if licence.startswith("CC"):
            assert licences.spdx(address) == licence
    with pytest.raises(ValueError, match="MIT is not a known licence"):
        licences.address("MIT")


def test_profiles():
    assert licences.PROFILES["production"] < licences.PROFILES["experimental"]
    for licence in ("CC0-1.0", "CC-PDM-1.0", "CC-BY-2.0", "CC-BY-SA-4.0"):
        assert licences.allowed(licence, "production")
    for licence in ("CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-3.0", "LAL-1.3"):
        assert not licences.allowed(licence, "production")
        assert licences.allowed(licence, "experimental")


def test_taint_names_its_ancestor():
    data = {"name": "photos", "kind": "data", "licences": ["CC-BY-4.0", "CC0-1.0"]}
    weights = {"name": "augreg", "kind": "weights", "licences": ["Apache-2.0"]}
    assert licences.verdict([data, weights]) == (True, [])

    tainted = {"name": "web_vit", "kind": "teacher", "licences": ["CC-BY-NC-4.0"]}
    ok, reasons = licences.verdict([data, tainted])
    assert not ok
    assert reasons == ["teacher 'web_vit': CC-BY-NC-4.0 is not for production"]

    ours = {"name": "teacher_global", "kind": "teacher", "licences": []}
    assert licences.verdict([ours, data, weights]) == (True, [])
    assert not licences.verdict([ours, data, tainted])[0]

    # A licence for images does not do for weights, nor the other way round.
    assert not licences.verdict([{**weights, "licences": ["CC-BY-4.0"]}])[0]
    assert not licences.verdict([{**data, "licences": ["MIT"]}])[0]


@pytest.mark.parametrize(
    "provenance",
    [
        [],
        [{"name": "ours", "kind": "teacher", "licences": []}],
        [{"name": "found", "kind": "weights", "licences": []}],
        [{"name": "found", "kind": "data", "licences": [None]}],
    ],
)
def test_unknown_origin_never_ships(provenance):
    ok, reasons = licences.verdict(provenance)
    assert not ok
    assert len(reasons) == 1
