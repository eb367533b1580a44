"""Scores that tell known from unknown, against hand-computed cases."""

import numpy as np
import pytest
from scipy.stats import norm

from aplantida_jax.evaluate import detection, intervals
from aplantida_jax.evaluate.intervals import Groups


def test_hand_computed_auroc():
    # Pairs (known, unknown) won: .9 beats both, .4 beats .3 only: 3 of 4.
    known, unknown = np.array([0.9, 0.4]), np.array([0.5, 0.3])
    assert detection.auroc(known, unknown) == 0.75
    assert detection.auroc(unknown, known) == 0.25


def test_ties_count_half():
    assert detection.auroc(np.array([0.5, 0.5]), np.array([0.5])) == 0.5
    # .9 wins both, .5 wins one and ties one: (2 + 1.5) / 4.
    found = detection.auroc(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
    assert found == pytest.approx(3.5 / 4)


def test_auroc_is_the_share_of_pairs_that_are_won():
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 9, 50) + 2.0, rng.integers(0, 9, 70) * 1.0
    won = known[:, None] > unknown
    tied = known[:, None] == unknown
    expected = (won + 0.5 * tied).mean()
    assert detection.auroc(known, unknown) == pytest.approx(expected)


def test_hand_computed_fpr():
    # 19 of 20 known pictures pass at 2, where 3 of the 4 unknown ones do.
    known = np.arange(1, 21)
    unknown = np.array([1.5, 2.0, 7.0, 30.0])
    assert detection.fpr_at_tpr(known, unknown) == 0.75
    assert detection.fpr_at_tpr(known, unknown, tpr=1.0) == 1.0
    assert detection.fpr_at_tpr(known, unknown, tpr=0.5) == 0.25


def test_ties_at_the_bar_pass_on_both_sides():
    known = np.array([5.0, 5.0, 5.0, 1.0])
    assert detection.fpr_at_tpr(known, np.array([5.0, 4.9]), tpr=0.5) == 0.5


def test_of_nothing_nothing_is_said():
    some, none = np.ones(3), np.ones(0)
    assert detection.auroc(some, none) is None
    assert detection.fpr_at_tpr(none, some) is None


def test_hand_computed_scores():
    logits = np.log([[1.0, 2.0, 5.0], [4.0, 4.0, 90.0]])
    mask = np.array([True, True, False])
    found = detection.scores_of(logits, np.array([0.7, 0.5]), mask)
    np.testing.assert_array_equal(found["confidence"], [0.7, 0.5])
    np.testing.assert_allclose(found["max_logit"], np.log([2, 4]))
    np.testing.assert_allclose(found["energy"], np.log([3, 8]))
    two = Groups.of(np.arange(2))
    assert set(detection.separate(found, found, two, two)) == set(detection.SCORES)


@pytest.mark.parametrize("species", [6, 30])
def test_auroc_and_fpr_are_inside_as_often_as_promised(species):
    # Scores of a species' 12 photos lie around its own mean, those of a test group's 3
    # around that: normal, so that both true values are known.
    rng = np.random.default_rng(7)
    known_groups = Groups.of(np.repeat(np.arange(60), 3))
    groups = Groups.of(np.repeat(np.arange(species), 12))
    spread = np.sqrt(0.5 + 0.5)  # of a photo, in and between groups, on either side
    auroc = norm.cdf(1.2 / np.sqrt(2 * spread**2))
    bar = 1.2 + norm.ppf(0.05) * spread
    fpr = norm.sf(bar / spread)

    def scores(of: Groups, mean: float) -> dict[str, np.ndarray]:
        drawn = rng.normal(mean, np.sqrt(0.5), of.count)[of.of_image]
        drawn = drawn + rng.normal(0, np.sqrt(0.5), len(drawn))
        return dict.fromkeys(detection.SCORES, drawn)

    inside = []
    for _ in range(200):
        found = detection.separate(
            scores(known_groups, 1.2), scores(groups, 0.0), known_groups, groups
        )["energy"]
        (low, high), (lowest, highest) = found["auroc_interval"], found["fpr_interval"]
        inside.append([low <= auroc <= high, lowest <= fpr <= highest])
    assert (np.mean(inside, axis=0) >= 0.91).all(), np.mean(inside, axis=0)
    assert (np.mean(inside, axis=0) <= 0.99).all(), np.mean(inside, axis=0)


def test_of_one_species_there_is_no_interval():
    one, many = Groups.of(np.zeros(4)), Groups.of(np.arange(20))
    scores = [dict.fromkeys(detection.SCORES, np.arange(n) * 1.0) for n in (20, 4)]
    found = detection.separate(*scores, many, one)["energy"]
    assert found["auroc"] is not None
    assert found["auroc_interval"] is None
    assert found["fpr_interval"] is None


def test_where_all_are_told_apart_each_species_is_one_trial():
    groups = Groups.of(np.repeat(np.arange(5), 8))
    known = dict.fromkeys(detection.SCORES, np.arange(10.0, 50.0))
    unknown = dict.fromkeys(detection.SCORES, np.zeros(40))
    alone = Groups.of(np.arange(40))
    found = detection.separate(known, unknown, alone, groups)["energy"]
    assert found["auroc_interval"] == intervals.wilson(5, 5)
    assert found["fpr_interval"] == intervals.wilson(0, 5)
