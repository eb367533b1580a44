import unicodedata

import pytest

from aplantida_jax.data import names


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Quercus robur", "Quercus robur"),
        ("  QUERCUS   ROBUR\tL. ", "Quercus robur"),
        ("quercus\u00a0robur", "Quercus robur"),
        ("Quercus_robur", "Quercus robur"),
        ("Quercus\u200b robur", "Quercus robur"),
        ("Rosa canina L.", "Rosa canina"),
        ("Pinus nigra J.F.Arnold", "Pinus nigra"),
        ("Malus domestica (Suckow) Borkh.", "Malus domestica"),
        ("Citrus limon (L.) Osbeck", "Citrus limon"),
        ("Capsella bursa-pastoris (L.) Medik.", "Capsella bursa-pastoris"),
        ("Mentha x piperita L.", "Mentha × piperita"),
        ("Mentha X piperita", "Mentha × piperita"),
        ("mentha ×piperita", "Mentha × piperita"),
        ("Mentha\u00a0×\u00a0piperita", "Mentha × piperita"),
        ("×Cuprocyparis leylandii", "× Cuprocyparis leylandii"),
        ("x Cuprocyparis leylandii", "× Cuprocyparis leylandii"),
        ("Quercus robur x Quercus petraea", "Quercus robur × Quercus petraea"),
        ("Quercus robur × petraea", "Quercus robur × petraea"),
        ("Pinus nigra subsp. salzmannii", "Pinus nigra subsp. salzmannii"),
        ("Pinus nigra ssp salzmannii (Dunal) Franco", "Pinus nigra subsp. salzmannii"),
        (
            "Brassica oleracea L. var. italica Plenck",
            "Brassica oleracea var. italica",
        ),
        ("Hedera helix f. poetarum", "Hedera helix f. poetarum"),
        ("Rubus ellipticus Hook. f.", "Rubus ellipticus"),
        ("Rubus ellipticus Hook. f. ex Benth.", "Rubus ellipticus"),
        ("Digitalis purpurea L. f. Alba", "Digitalis purpurea"),
        ("Brassica oleracea 'Capitata'", "Brassica oleracea"),
        ("Rosa L.", "Rosa"),
        ("Rosa sp.", "Rosa"),
        ("Rosa spp", "Rosa"),
        ("Isoëtes lacustris", "Isoëtes lacustris"),
    ],
)
def test_normalise(raw, expected):
    assert names.normalise(raw) == expected
    assert names.normalise(unicodedata.normalize("NFD", raw)) == expected
    # A name in its one spelling stays as it is.
    assert names.normalise(expected) == expected


@pytest.mark.parametrize("raw", ["", "  ", None, 3, ["Rosa"], "123", "?", "× ", "Q7 x"])
def test_what_is_not_a_name(raw):
    assert names.normalise(raw) == ""


@pytest.mark.parametrize(
    ("name", "genus"),
    [
        ("Quercus robur", "Quercus"),
        ("Mentha × piperita", "Mentha"),
        ("× Cuprocyparis leylandii", "Cuprocyparis"),
        ("", ""),
    ],
)
def test_genus_of(name, genus):
    assert names.genus_of(name) == genus
