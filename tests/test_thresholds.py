"""Tables of thresholds, the one that is chosen, and the one that is proven."""

import numpy as np
import pytest

from aplantida_jax.evaluate import intervals, thresholds

GRID = thresholds.grid(0.40, 0.95, 0.01)


def test_the_grid_has_both_ends():
    grid = thresholds.grid(0.40, 0.95, 0.01)
    assert len(grid) == 56
    assert grid[0] == 0.4
    assert grid[-1] == 0.95
    assert 0.7 in grid


def test_the_smallest_threshold_that_reaches_the_target():
    confidence = np.array([0.45, 0.55, 0.65, 0.75, 0.85, 0.95])
    correct = np.array([0, 1, 0, 1, 1, 1], bool)
    grid = thresholds.grid(0.4, 0.9, 0.1)
    table = thresholds.table(confidence, correct, grid=grid, total=6)
    assert [row["answered"] for row in table] == [6, 5, 4, 3, 2, 1]
    assert table[2]["accuracy"] == 0.75
    row = thresholds.choose(table, target=0.95)
    low, high = row.pop("accuracy_interval")
    assert (low, high) == (pytest.approx(0.4385, abs=1e-4), 1.0)  # Wilson, 3 of 3
    assert row == {
        "threshold": 0.7,
        "answered": 3,
        "groups": 3,
        "coverage": 0.5,
        "accuracy": 1.0,
    }
    assert thresholds.choose(table, target=0.75)["threshold"] == 0.5


def test_a_confidence_at_the_threshold_is_answered():
    table = thresholds.table(
        np.array([0.5]), np.array([True]), grid=np.array([0.5]), total=1
    )
    assert table[0]["answered"] == 1


def test_no_threshold_is_none_and_the_best_is_told():
    confidence = np.array([0.5, 0.6, 0.9, 0.9])
    correct = np.array([1, 0, 1, 0], bool)
    grid = thresholds.grid(0.4, 0.95, 0.05)
    table = thresholds.table(confidence, correct, grid=grid, total=4)
    assert thresholds.choose(table, target=0.95) is None
    best = thresholds.best_available(table)
    assert best["accuracy"] == 0.5
    assert best["answered"] == 4  # of equally accurate ones, that which answers more
    assert table[-1] == {
        "threshold": 0.95,
        "answered": 0,
        "groups": 0,
        "coverage": 0.0,
        "accuracy": None,
        "accuracy_interval": None,
    }
    nothing = thresholds.table(confidence[:0], correct[:0], grid=grid, total=0)
    assert thresholds.best_available(nothing) is None


def test_accuracies_are_by_group():
    confidence, group = np.full(120, 0.8), np.arange(120) // 4
    correct = group % 10 > 0  # groups are right, or wrong, as a whole
    options = {"grid": np.array([0.5]), "total": 120}
    by_photo = thresholds.table(confidence, correct, **options)[0]
    by_group = thresholds.table(confidence, correct, group=group, **options)[0]
    assert by_group["groups"] == 30
    assert by_group["accuracy"] == by_photo["accuracy"] == 0.9
    assert by_group["accuracy_interval"] == pytest.approx(
        intervals.wilson(27, 30), abs=0.011
    )
    assert by_photo["accuracy_interval"] == intervals.wilson(108, 120)


@pytest.mark.parametrize("copies", [1, 3])
def test_a_threshold_is_rarely_assured_where_none_is_good_enough(copies):
    # Right in 94.9 % at every threshold: the target is reached by none.
    rng, found = np.random.default_rng(0), 0
    for _ in range(150):
        group = np.arange(1500) // copies
        table = thresholds.table(
            rng.uniform(0.3, 1, 1500),
            (rng.random(1500) < 0.949)[group],
            grid=GRID,
            total=1500,
            group=group,
        )
        found += thresholds.assured(table, target=0.95) is not None
    assert found / 150 <= 0.045  # 2.5 % and its chance


def test_an_assured_threshold_is_found_from_the_top_down():
    # As often right as it says: 95 % of those above .86 are, in truth.
    rng = np.random.default_rng(1)
    confidence = rng.beta(4, 0.6, 4000)
    correct = rng.random(4000) < confidence
    table = thresholds.table(confidence, correct, grid=GRID, total=4000)
    found = thresholds.assured(table, target=0.95)
    assert 0.86 <= found["threshold"] <= 0.92
    above = [row for row in table if row["threshold"] >= found["threshold"]]
    assert all(row["accuracy_interval"][0] >= 0.95 for row in above)
    # A gap in the sequence ends it, whatever comes below.
    table[-2]["accuracy_interval"] = [0.9, 1.0]
    assert thresholds.assured(table, target=0.95) == table[-1]


def test_too_few_answers_assure_nothing():
    table = thresholds.table(np.ones(50), np.ones(50, bool), grid=GRID, total=50)
    assert thresholds.choose(table, target=0.95)["threshold"] == 0.4
    assert thresholds.assured(table, target=0.95) is None
