"""How answers about unknown pictures are counted, and their intervals."""

import collections

import numpy as np
import pytest

from aplantida_jax.data import labels
from aplantida_jax.evaluate import answered_unknown
from aplantida_jax.evaluate.answered_unknown import Said
from aplantida_jax.evaluate.asking import Model
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.unknown_images import Unknown

# Six held-out photos; genera of the label map are A, B and C.
GENERA = ["A", "B", "C"]
NAMES = ["A one", "A two", "B one", "C one"]
PHOTOS = Unknown(
    "held_out",
    [f"{i:016x}" for i in range(6)],
    ["A new", "A new", "A new", "B new", "D new", "D new"],
    ["A", "A", "A", "B", "D", "D"],
    collections.Counter({"not in the cache": 2}),
    group=["A new", "A new", "A new", "B new", "D new", "D new"],
    sampled="species",
)
ALONE = Groups.of(np.arange(6))
SAID = Said(
    species=np.array([1, 0, 0, 0, 1, 0], bool),
    genus=np.array([0, 1, 0, 1, 0, 0], bool),
    top_class=np.array([1, 0, 0, 3, 2, 2]),
    top_genus=np.array([0, 0, 0, 2, 1, 1]),
    confidence=np.array([0.9, 0.8, 0.3, 0.7, 0.95, 0.1]),
    scores={n: np.arange(6.0) for n in ("confidence", "max_logit", "energy")},
)


def test_hand_counted_answers():
    row = answered_unknown.of_kind(PHOTOS, SAID, SAID, ALONE, genus_names=GENERA)
    assert row["species"]["count"] == 2
    assert row["species_of_the_right_genus"] == 1
    assert (row["genus"]["right"], row["genus"]["wrong"]) == (1, 1)
    assert row["sampled"] == {"what": "species", "groups": 3}
    nothing = row["not_conclusive"]
    assert (nothing["count"], nothing["share"]) == (2, 2 / 6)
    low, high = nothing["interval"]
    assert low < 0.0968  # Wilson's of six that are independent
    assert high > 0.7
    assert row["left_out"] == {"not in the cache": 2}
    assert row["scores"]["energy"]["auroc"] == 0.5  # of a sample and itself


def test_held_out_species_are_parted_by_their_genus():
    parts = answered_unknown.by_genus_known(PHOTOS, SAID, GENERA)
    assert {kind: unknown.name for kind, (unknown, _) in parts.items()} == {
        "held_out_known_genus": ["A new", "A new", "A new", "B new"],
        "held_out_new_genus": ["D new", "D new"],
    }
    assert parts["held_out_new_genus"][1].species.tolist() == [True, False]


def test_a_genus_that_a_regional_model_cannot_answer_is_new():
    parts = answered_unknown.by_genus_known(PHOTOS, SAID, {"B", "C"})
    assert {kind: set(unknown.genus) for kind, (unknown, _) in parts.items()} == {
        "held_out_known_genus": {"B"},
        "held_out_new_genus": {"A", "D"},
    }


def test_a_regional_model_knows_the_genera_of_its_region():
    taxa = [
        labels.Taxon(i, name, "", "", name.split()[0], "", (), ())
        for i, name in enumerate(NAMES)
    ]
    label_map, mask = labels.LabelMap(tuple(taxa)), np.array([True, False, True, False])
    assert Model(None, label_map, {}, None).genera == {"A", "B", "C"}
    assert Model(None, label_map, {}, mask).genera == {"A", "B"}


def test_hand_counted_species():
    rows = answered_unknown.by_species(PHOTOS, SAID, NAMES, GENERA, genera=GENERA)
    assert [row["latin_name"] for row in rows] == ["D new", "A new", "B new"]
    assert rows[0] == {
        "latin_name": "D new",
        "genus_known": False,
        "images": 2,
        "species": 1,
        "genus_right": 0,
        "genus_wrong": 0,
        "taken_for": {"B one": 1},
    }
    assert (rows[1]["genus_right"], rows[2]["genus_wrong"]) == (1, 1)


def test_a_right_genus_is_no_wrong_answer():
    rows = answered_unknown.wrong_answers([(PHOTOS, SAID)], NAMES, GENERA, limit=9)
    said = [(row["name"], row["said"], row["rank"]) for row in rows]
    assert said == [
        ("D new", "B one", "species"),
        ("A new", "A two", "species"),
        ("B new", "C", "genus"),
    ]
    twice = [(PHOTOS, SAID), (PHOTOS, SAID)]
    two = answered_unknown.wrong_answers(twice, NAMES, GENERA, limit=2)
    assert [row["name"] for row in two] == ["D new", "D new"]  # one of each kind


def _said(answered: np.ndarray) -> Said:
    nothing = np.zeros(len(answered), int)
    none = np.zeros(len(answered), bool)
    return Said(answered, none, nothing, nothing, nothing * 1.0, {})


@pytest.mark.parametrize("species", [5, 16])
def test_the_share_is_inside_as_often_as_promised(species):
    # Species differ by much more than the photos of one: as in the demo, where they
    # were answered 8, 3, 1, 0 and 0 of 16 times.
    rng = np.random.default_rng(4)
    groups = Groups.of(np.repeat(np.arange(species), 16))
    inside = []
    for _ in range(300):
        rate = rng.beta(1.2, 3.0, species)  # 0.29 on average
        answered = rng.random(16 * species) < np.repeat(rate, 16)
        share = answered_unknown.shares(_said(answered), groups)["species"]
        inside.append(share["interval"][0] <= 1.2 / 4.2 <= share["interval"][1])
    assert 0.9 <= np.mean(inside) <= 1.0


def test_one_species_tells_nothing_of_others():
    groups = Groups.of(np.zeros(16))
    row = answered_unknown.shares(_said(np.arange(16) < 4), groups)
    assert row["species"] == {"count": 4, "share": 0.25, "interval": None}
