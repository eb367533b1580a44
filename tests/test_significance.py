import itertools

import numpy as np
import pytest

from aplantida_jax.evaluate import significance


def test_mcnemar_is_the_textbook_one():
    # 2 * sum(C(14, k), k <= 2) / 2^14 = 2 * (1 + 14 + 91) / 16384.
    assert significance.mcnemar(2, 12) == pytest.approx(212 / 16384)
    assert significance.mcnemar(12, 2) == pytest.approx(212 / 16384)
    # Agresti, Categorical Data Analysis, table 10.1 (approval of the prime minister):
    # 86 and 150 discordant; z = -4.17, so p is about 3.1e-5 (exact: 3.7e-5).
    assert significance.mcnemar(86, 150) == pytest.approx(3.72e-5, rel=0.01)
    assert significance.mcnemar(0, 0) == 1.0
    assert significance.mcnemar(5, 5) == 1.0


@pytest.mark.parametrize(("first", "second"), [(2, 12), (86, 150), (7, 7), (0, 1)])
def test_groups_of_one_photo_give_mcnemar(first, second):
    totals = np.repeat([-1, 1, 0], [first, second, 40])
    found = significance.mcnemar_by_group(totals)
    assert found == pytest.approx(significance.mcnemar(first, second), rel=1e-9)


@pytest.mark.parametrize(
    "totals", [[3, 1, -1, 2, 2, 0], [1], [4, 4, 4, -1], [5, -3, 2, 1, 1, 1, -2], []]
)
def test_groups_match_every_flip_of_their_signs(totals):
    totals = np.array(totals, np.int64)
    sums = [
        np.dot(signs, totals)
        for signs in itertools.product([-1, 1], repeat=len(totals))
    ]
    share = np.mean(np.abs(sums) >= abs(totals.sum()))
    assert significance.mcnemar_by_group(totals) == pytest.approx(share)


def test_false_alarms_come_as_often_as_promised_and_groups_are_why():
    # Models that are equally good, on 60 groups of 6 photos that are right together.
    rng = np.random.default_rng(3)
    alarms = np.zeros((2, 400))
    for trial in range(400):
        won = rng.integers(-1, 2, size=60)  # which model a group belongs to, if any
        totals = np.where(rng.random(60) < 0.5, 6, 2) * won
        first, second = -totals[totals < 0].sum(), totals[totals > 0].sum()
        alarms[0, trial] = significance.mcnemar_by_group(totals) < 0.05
        alarms[1, trial] = significance.mcnemar(int(first), int(second)) < 0.05
    by_group, by_photo = alarms.mean(axis=1)
    assert 0.02 <= by_group <= 0.075
    assert by_photo > 0.25


def test_holm_by_hand():
    # 0.01 * 4, 0.02 * 3, 0.03 * 2 (not below 0.06), 0.5.
    found = significance.holm([0.5, 0.02, 0.01, 0.03])
    np.testing.assert_allclose(found, [0.5, 0.06, 0.04, 0.06])
    assert significance.holm([0.4, 0.9]) == [0.8, 0.9]
    assert significance.holm([0.7, 0.8]) == [1.0, 1.0]
    assert significance.holm([]) == []


def test_welch_is_the_textbook_one():
    # Two samples of five, as scipy.stats.ttest_ind(equal_var=False) has it.
    from scipy import stats

    first, second = np.array([3.1, 2.7, 4.0, 3.3, 2.9]), np.array([4.1, 5.9, 3.8, 6.0])
    expected = stats.ttest_ind(second, first, equal_var=False)
    sources = [(x.var(ddof=1) / len(x), len(x) - 1) for x in (first, second)]
    difference = float(second.mean() - first.mean())
    ends, p = significance.welch(difference, sources)
    assert p == pytest.approx(expected.pvalue)
    wanted = expected.confidence_interval(0.95)
    np.testing.assert_allclose(ends, [wanted.low, wanted.high])


def test_no_spread_at_all_is_no_crash():
    assert significance.welch(0.0, [(0.0, 4)]) == ([0.0, 0.0], 1.0)
    assert significance.welch(0.1, [(0.0, 4)])[1] == 0.0
