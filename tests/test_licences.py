import pytest

from aplantida_jax.data import licences


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("CC-BY-SA-4.0", "CC-BY-SA-4.0"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("cc-by", "CC-BY-4.0"),
        ("cc-by-nc", "CC-BY-NC-4.0"),
        ("cc0", "CC0-1.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("CC-PDM-1.0", "CC-PDM-1.0"),
        ("CC_BY_NC_4_0", None),
        ("CC_BY_4.0", "CC-BY-4.0"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
        (" CC  BY\u00a0SA 3.0 ", "CC-BY-SA-3.0"),
        ("CC BY-NC-SA", "CC-BY-NC-SA-4.0"),
        ("by-sa", "CC-BY-SA-4.0"),
        ("CC BY 4.0 International", "CC-BY-4.0"),
        ("Creative Commons Attribution 4.0 International License", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial 2.0 Generic", "CC-BY-NC-2.0"),
        ("Attribution-ShareAlike 2.5", "CC-BY-SA-2.5"),
        ("Creative Commons Attribution Non Commercial Share Alike", "CC-BY-NC-SA-4.0"),
        ("Reconocimiento-CompartirIgual 4.0 Internacional", "CC-BY-SA-4.0"),
        ("Creative Commons Atribución-NoComercial 4.0", "CC-BY-NC-4.0"),
        ("Reconocimiento-SinObraDerivada 3.0", "CC-BY-ND-3.0"),
        ("(c) Ana Ruiz, some rights reserved (CC BY-NC)", "CC-BY-NC-4.0"),
        ("No rights reserved", "CC0-1.0"),
        ("(c) Ana, no rights reserved (CC0)", "CC0-1.0"),
        ("public domain", "CC-PDM-1.0"),
        ("Public Domain Mark 1.0", "CC-PDM-1.0"),
        ("PD", "CC-PDM-1.0"),
        ("dominio público", "CC-PDM-1.0"),
        ("http://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0", "CC-BY-NC-4.0"),
        ("http://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licenses/by/4.0/deed.es", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-sa/3.0/es/", "CC-BY-SA-3.0"),
        ("https://creativecommons.org/licenses/by-sa/3.0/es/deed.ca", "CC-BY-SA-3.0"),
        ("//www.creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/deed.es", "CC-PDM-1.0"),
    ],
)
def test_known_spellings(raw, expected):
    assert licences.spdx(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        "   ",
        7,
        {"code": "cc-by"},
        "null",
        "unknown",
        "C",
        "all rights reserved",
        "(c) Ana, all rights reserved",
        "(c) CC BY fan, all rights reserved",
        "todos los derechos reservados",
        "Attribution",
        "CC",
        "CC-SA-4.0",
        "CC-BY-9.0",
        "CC BY 3.0 or 4.0",
        "CC-BY-ND-SA-4.0",
        "CC BY, but not for machines",
        "not CC BY",
        "https://creativecommons.org.evil.example/licenses/by/4.0/",
        "https://creativecommons.org/licenses/by/9.0/",
        "http://creativecommons.org/licenses/sampling+/1.0/",
    ],
)
def test_everything_else_is_denied(raw):
    assert licences.spdx(raw) is None
    assert not licences.allowed(licences.spdx(raw), "experimental")


def test_every_id_names_itself():
    for licence in licences.PROFILES["experimental"]:
        assert licences.spdx(licence) == licence


def test_profiles():
    assert licences.PROFILES["production"] < licences.PROFILES["experimental"]
    for licence in ("CC0-1.0", "CC-PDM-1.0", "CC-BY-2.0", "CC-BY-SA-4.0"):
        assert licences.allowed(licence, "production")
    for licence in ("CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-3.0"):
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
