import dataclasses
import itertools
import re

import pytest

from aplantida_jax.data import names, regions
from aplantida_jax.demo.documents import respell
from aplantida_jax.demo.species import SPECIES
from aplantida_jax.demo.traits import DIFFERENCES, GENERA


def of_genus(genus: str):
    return [species for species in SPECIES if species.genus == genus]


def test_there_are_36_species_of_12_genera():
    assert len(SPECIES) == 36
    assert len({species.latin_name for species in SPECIES}) == 36
    assert {species.genus for species in SPECIES} == set(GENERA)
    assert len(GENERA) == 12


def test_names_are_binomials_in_the_accepted_spelling_but_for_a_diaeresis():
    for species in SPECIES:
        assert re.fullmatch(r"[A-Z][a-z]+ (× )?[a-zë]{4,}", species.latin_name)
        accepted = species.latin_name.replace("ë", "e")
        assert names.normalise(species.latin_name) == accepted
        assert names.genus_of(species.latin_name) == species.genus
        assert species.family.endswith("aceae")


def test_common_names_are_given_and_unique():
    for field in ("spanish_name", "english_name"):
        given = {getattr(species, field) for species in SPECIES}
        assert len(given) == 36
        assert "" not in given


def test_another_spelling_is_another_string_of_the_same_name():
    for species in SPECIES:
        other = respell(species.latin_name)
        assert other != species.latin_name
        assert names.normalise(other) == names.normalise(species.latin_name)


def test_the_other_spelling_differs_in_all_that_is_often_different():
    assert respell("Rosarvia × aurata") == "ROSARVIA\u00a0x\u00a0AURATA"
    assert respell("Nolabella aërea") == "NOLABELLA\u00a0AE\u0308REA"


def test_a_genus_stays_together_so_that_the_first_n_hold_whole_genera():
    runs = [genus for genus, _ in itertools.groupby(s.genus for s in SPECIES)]
    assert len(runs) == len(set(runs))
    assert [species.genus for species in SPECIES[:6]] == [SPECIES[0].genus] * 3 + [
        SPECIES[3].genus
    ] * 3


def test_differences_name_species_and_change_something():
    known = {species.latin_name: species for species in SPECIES}
    for name, changes in DIFFERENCES.items():
        genus = GENERA[known[name].genus]
        assert 1 <= len(changes) <= 3, name
        for trait, value in changes.items():
            assert getattr(genus, trait) != value, (name, trait)


@pytest.mark.parametrize("genus", GENERA)
def test_species_of_a_genus_share_the_habit_and_differ_in_something(genus):
    looks = [dataclasses.astuple(species.traits) for species in of_genus(genus)]
    assert len(set(looks)) == len(looks) >= 2
    assert {species.traits.habit for species in of_genus(genus)} == {
        GENERA[genus].habit
    }


def test_genera_differ_in_habit_flower_or_leaf():
    kinds = {(t.habit, t.flower, t.leaf) for t in GENERA.values()}
    assert len(kinds) == len(GENERA)


def test_species_are_spread_over_the_regions():
    where = {s.latin_name: regions.regions_of(s.countries) for s in SPECIES}
    south_west = [name for name, found in where.items() if found == ("EU_SW",)]
    elsewhere = [name for name, found in where.items() if "EU_SW" not in found]
    assert len(south_west) >= 11
    assert len(elsewhere) >= 10
    assert 36 - len(south_west) - len(elsewhere) >= 6
    for species in SPECIES:
        assert list(species.countries) == sorted(set(species.countries))
        assert all(regions.country_code(c) == c for c in species.countries)


def test_most_genera_can_be_narrowed_down_by_region():
    narrowed = [
        genus
        for genus in GENERA
        if len({regions.regions_of(s.countries) for s in of_genus(genus)}) > 1
    ]
    assert len(narrowed) >= 10
