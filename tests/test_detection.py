"""Scores that tell known from unknown, against hand-computed cases."""

import numpy as np
import pytest

from aplantida_jax.evaluate import detection


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
    assert set(detection.separate(found, found)) == set(detection.SCORES)
