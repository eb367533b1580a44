import random
import unicodedata

import pytest

from aplantida_jax.data import names

# "as written -> the one spelling"; "-" is no name.
TABLE = """
# plain, case, blanks
Quercus robur -> Quercus robur
quercus robur -> Quercus robur
QUERCUS ROBUR -> Quercus robur
Quercus Robur -> Quercus robur
qUERCUS rOBUR -> Quercus robur
Quercus_robur -> Quercus robur
quercus_robur_l. -> Quercus robur
Quercus   robur -> Quercus robur
Quercus robur. -> Quercus robur
Quercus robur, -> Quercus robur
Quercus robur; -> Quercus robur
Quercus ilex. -> Quercus ilex
QUERCUS ROBUR. -> Quercus robur
Quercus -> Quercus
ROSA -> Rosa
# authors
Quercus robur L. -> Quercus robur
QUERCUS ROBUR L. -> Quercus robur
Quercus robur L., 1753 -> Quercus robur
Quercus robur, L. 1753 -> Quercus robur
Quercus robur Linnaeus -> Quercus robur
Rosa canina L. -> Rosa canina
Pinus nigra J.F.Arnold -> Pinus nigra
Pinus nigra J. F. Arnold -> Pinus nigra
Malus domestica (Suckow) Borkh. -> Malus domestica
Malus domestica Borkh., nom. cons. -> Malus domestica
Citrus limon (L.) Osbeck -> Citrus limon
Abies alba Mill. -> Abies alba
Rosmarinus officinalis L. [1753] -> Rosmarinus officinalis
Rubus ellipticus Hook. f. -> Rubus ellipticus
Rubus ellipticus Hook.f. -> Rubus ellipticus
Rubus ellipticus Hook. fil. -> Rubus ellipticus
Rubus ellipticus Hook. f. ex Benth. -> Rubus ellipticus
Rubus ellipticus Hook. f. & Thomson -> Rubus ellipticus
Rubus ellipticus Hook. f. et Thomson -> Rubus ellipticus
Rubus ellipticus (Hook. f.) Smith -> Rubus ellipticus
Rubus ellipticus Smith filius -> Rubus ellipticus
Digitalis purpurea L. f. Alba -> Digitalis purpurea
Thymus vulgaris auct. non L. -> Thymus vulgaris
Phalaris arundinacea L. emend. Foo -> Phalaris arundinacea
Cistus ladanifer Thunb. ex Murray & Sweet -> Cistus ladanifer
Rosa L. -> Rosa
Rosa Mill. -> Rosa
Rosa L -> Rosa
Quercus robur L -> Quercus robur
Quercus robur f. L. -> Quercus robur
Rosa (L.) Tourn. -> Rosa
Rosa Linnaeus -> Rosa
Rosa Linné -> Rosa
ROSA LINNAEUS -> Rosa
Acer Mill -> Acer
Acer Miller, 1754 -> Acer
Abies Hill -> Abies
# hyphens, apostrophes, ligatures, accents
Capsella bursa-pastoris (L.) Medik. -> Capsella bursa-pastoris
Capsella Bursa-Pastoris -> Capsella bursa-pastoris
Capsella bursa\u2010pastoris -> Capsella bursa-pastoris
Capsella bursa\u2011pastoris -> Capsella bursa-pastoris
Capsella bursa\u2013pastoris -> Capsella bursa-pastoris
Quercus ilex-aquifolium -> Quercus ilex-aquifolium
Arctostaphylos uva-ursi -> Arctostaphylos uva-ursi
Uva-ursi buxifolia -> Uva-ursi buxifolia
Cirsium o'brienii -> Cirsium obrienii
Cirsium o\u2019brienii -> Cirsium obrienii
Crataegus lævigata -> Crataegus laevigata
Cratægus lævigata -> Crataegus laevigata
Œnothera biennis -> Oenothera biennis
Salix \ufb01nmarchica -> Salix finmarchica
Isoëtes lacustris -> Isoetes lacustris
Isoetes lacustris -> Isoetes lacustris
Hippophaë rhamnoides -> Hippophae rhamnoides
HIPPOPHAË RHAMNOIDES -> Hippophae rhamnoides
Kalanchoë daigremontiana -> Kalanchoe daigremontiana
Narcissus minor nuñez -> Narcissus minor
Saxifraga münsteri -> Saxifraga muensteri
Carex østerbyi -> Carex oesterbyi
Verbascum pérezii -> Verbascum perezii
# hybrids
Mentha × piperita -> Mentha × piperita
Mentha x piperita L. -> Mentha × piperita
Mentha X piperita -> Mentha × piperita
MENTHA X PIPERITA -> Mentha × piperita
mentha ×piperita -> Mentha × piperita
Mentha×piperita -> Mentha × piperita
Mentha ✕ piperita -> Mentha × piperita
Mentha \u0445 piperita -> Mentha × piperita
Mentha &times; piperita -> Mentha × piperita
Mentha\u00a0×\u00a0piperita -> Mentha × piperita
×Cuprocyparis leylandii -> × Cuprocyparis leylandii
x Cuprocyparis leylandii -> × Cuprocyparis leylandii
xCuprocyparis leylandii -> × Cuprocyparis leylandii
×Triticosecale -> × Triticosecale
Lonicera xylosteum -> Lonicera xylosteum
Taxus baccata -> Taxus baccata
Rosa xanthina -> Rosa xanthina
Xanthium spinosum -> Xanthium spinosum
Quercus robur x Quercus petraea -> Quercus robur × petraea
Quercus robur × Q. petraea -> Quercus robur × petraea
Quercus robur × petraea -> Quercus robur × petraea
Quercus robur L. × Q. petraea (Matt.) Liebl. -> Quercus robur × petraea
Salix alba × Populus nigra -> Salix alba × Populus nigra
Quercus × -> Quercus
Salix × Salix alba -> Salix
SALIX X SALIX ALBA -> Salix
+ Laburnocytisus adamii -> + Laburnocytisus adamii
+Laburnocytisus adamii -> + Laburnocytisus adamii
+ Crataegomespilus dardarii Simon-Louis -> + Crataegomespilus dardarii
# below species
Pinus nigra subsp. salzmannii -> Pinus nigra subsp. salzmannii
Pinus nigra subsp salzmannii -> Pinus nigra subsp. salzmannii
Pinus nigra ssp. salzmannii -> Pinus nigra subsp. salzmannii
Pinus nigra ssp salzmannii (Dunal) Franco -> Pinus nigra subsp. salzmannii
PINUS NIGRA SSP. SALZMANNII -> Pinus nigra subsp. salzmannii
Pinus nigra J.F.Arnold subsp. salzmannii (Dunal) Franco -> Pinus nigra subsp. salzmannii
Pinus nigra subsp. nigra -> Pinus nigra subsp. nigra
Pinus nigra salzmannii -> Pinus nigra
Mentha × piperita nothosubsp. citrata -> Mentha × piperita nothosubsp. citrata
Brassica oleracea L. var. italica Plenck -> Brassica oleracea var. italica
Brassica oleracea var italica -> Brassica oleracea var. italica
Brassica oleracea Var. Italica -> Brassica oleracea var. italica
Brassica oleracea subsp. oleracea var. capitata L. -> Brassica oleracea var. capitata
Hedera helix f. poetarum -> Hedera helix f. poetarum
Hedera helix forma poetarum -> Hedera helix f. poetarum
QUERCUS ROBUR F. FASTIGIATA -> Quercus robur f. fastigiata
# cultivars
Brassica oleracea 'Capitata' -> Brassica oleracea
Brassica oleracea \u2018Capitata\u2019 -> Brassica oleracea
Brassica oleracea "Capitata" -> Brassica oleracea
Brassica oleracea cv. Capitata -> Brassica oleracea
Brassica oleracea (Capitata Group) -> Brassica oleracea
Acer palmatum var. dissectum 'Garnet' -> Acer palmatum var. dissectum
Rosa 'Peace' -> Rosa
Rosa cv. Peace -> Rosa
# not known to the species
Rosa sp. -> Rosa
Rosa sp -> Rosa
Rosa spp. -> Rosa
ROSA SPP. -> Rosa
Rosa ssp. -> Rosa
Rosa sp. 1 -> Rosa
Rosa species -> Rosa
Rosa indet. -> Rosa
Rosa cf. canina -> Rosa
Rosa cf canina -> Rosa
Rosa aff. canina -> Rosa
Rosa sect. Caninae -> Rosa
Rosa subg. Rosa -> Rosa
Rosa hybrid -> Rosa
Rosa canina? -> Rosa
Rosa var. alba -> Rosa
Rosa 123 -> Rosa
Rosa rosa -> Rosa
Rosa de Castilla -> Rosa
ROSA DEL SUR -> Rosa
Rosa von Bar -> Rosa
Rose of Sharon -> Rose
# groups around a species
Rubus fruticosus agg. -> Rubus fruticosus
Taraxacum officinale s.l. -> Taraxacum officinale
Taraxacum officinale sensu lato -> Taraxacum officinale
# markup and other people's words
<i>Quercus robur</i> -> Quercus robur
<i>Quercus robur</i> L. -> Quercus robur
<em>Quercus</em> <em>robur</em> -> Quercus robur
<b class="name">Quercus robur</b> -> Quercus robur
Quercus&nbsp;robur -> Quercus robur
Quercus robur (roble común) -> Quercus robur
Quercus robur [roble] -> Quercus robur
Quercus (Quercus) robur -> Quercus robur
Quercus robur - English oak -> Quercus robur
Quercus robur | roble -> Quercus robur
Quercus robur 2 -> Quercus robur
# no names
? -> -
× -> -
+ -> -
123 -> -
Q7 x -> -
Q. robur -> -
Q robur -> -
Indet. -> -
indeterminada -> -
unknown -> -
Unknown plant -> -
Unidentified -> -
Plantae -> -
Magnoliopsida -> -
Rosaceae -> -
Rosaceae sp. -> -
Rosoideae -> -
Compositae -> -
cf. Quercus robur -> -
(Quercus robur) -> -
null -> -
N/A -> -
sp. -> -
Дуб черешчатый -> -
Qu\u0435rcus robur -> -
夏栎 -> -
http://example.org/quercus -> -
"""

UNSEEN = [
    ("  QUERCUS   ROBUR\tL. ", "Quercus robur"),
    ("quercus\u00a0robur", "Quercus robur"),
    ("Quercus\u2003robur\r\n", "Quercus robur"),
    ("\ufeffQuercus robur", "Quercus robur"),
    ("Quercus\u200b robur", "Quercus robur"),
    ("Quer\u00adcus robur", "Quercus robur"),
    ("Quercus robur\x00", "Quercus robur"),
    ("\ud800Quercus robur", ""),
    ("&#" + "9" * 5000 + ";", ""),
    ("<" * 100_000, ""),
    ("", ""),
    ("  ", ""),
]


def rows() -> list[tuple[str, str]]:
    found = list(UNSEEN)
    for line in TABLE.splitlines():
        if line and not line.startswith("# "):
            raw, name = line.split(" -> ")
            found.append((raw, "" if name == "-" else name))
    return found


@pytest.mark.parametrize(("raw", "expected"), rows())
def test_golden_table(raw, expected):
    assert names.normalise(raw) == expected
    assert names.normalise(unicodedata.normalize("NFD", raw)) == expected
    # A name in its one spelling stays as it is.
    assert names.normalise(expected) == expected


def test_the_golden_table_is_worth_its_name():
    assert len({raw for raw, _ in rows()}) == len(rows()) >= 150


@pytest.mark.parametrize(
    "raw", [None, 3, ["Rosa"], {"name": "Rosa"}, float("nan"), b"Rosa"]
)
def test_what_is_no_text_is_no_name(raw):
    assert names.normalise(raw) == ""


def fuzzed(rng: random.Random) -> str:
    """Rows of the table cut, joined and spoilt, and words of names in any order."""
    raws = [raw[:80] for raw, _ in rows()]
    words = " ".join(raws).split()
    kind = rng.randrange(4)
    if kind == 0:
        return "".join(chr(rng.randint(0, 0xFFFF)) for _ in range(rng.randint(0, 30)))
    if kind == 1:
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 8)))
    text = list(rng.choice(raws) + (" " + rng.choice(raws) if kind == 2 else ""))
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(text) + 1)
        text[place : place + rng.randint(0, 2)] = rng.choice("xX×+. &;<>()'-_éÉßfL1")
    return "".join(text)


def test_normalising_twice_changes_nothing():
    rng = random.Random(11)
    some = 0
    for _ in range(10_000):
        raw = fuzzed(rng)
        name = names.normalise(raw)
        assert names.normalise(name) == name, raw
        assert name.replace("×", "x").isascii(), raw
        assert not name or names.genus_of(name)[0].isupper(), raw
        some += bool(name)
    assert some > 3000


@pytest.mark.parametrize(
    ("name", "genus"),
    [
        ("Quercus robur", "Quercus"),
        ("Mentha × piperita", "Mentha"),
        ("× Cuprocyparis leylandii", "Cuprocyparis"),
        ("+ Laburnocytisus adamii", "Laburnocytisus"),
        ("", ""),
    ],
)
def test_genus_of(name, genus):
    assert names.genus_of(name) == genus
