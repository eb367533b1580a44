import numpy as np
import pytest

from aplantida_jax.evaluate import intervals
from aplantida_jax.evaluate.intervals import Groups


def alone(n: int) -> Groups:
    """Every image by itself."""
    return Groups.of(np.arange(n))


def of_mean(values: np.ndarray, groups: Groups, **options) -> list[float]:
    statistics = {"mean": intervals.mean_of(values, groups)}
    return intervals.bootstrap(statistics, groups, **options)["mean"]


def test_the_mean_of_coin_flips_matches_the_binomial():
    # 400 flips, 100 heads: standard error sqrt(.25 * .75 / 400) = 0.02165.
    values = np.repeat([1.0, 0.0], [100, 300])
    found = of_mean(values, alone(400), resamples=4000, seed=1)
    np.testing.assert_allclose(found, [0.2076, 0.2924], atol=0.004)


@pytest.mark.parametrize("copies", [4, 9])
def test_copies_of_photos_do_not_narrow_the_interval(copies):
    values = np.random.default_rng(5).random(300)
    key = np.repeat(np.arange(300), copies)
    many = np.repeat(values, copies)
    once = of_mean(values, alone(300), resamples=4000, seed=1)
    grouped = of_mean(many, Groups.of(key), resamples=4000, seed=1)
    fooled = of_mean(many, alone(300 * copies), resamples=2000, seed=1)
    np.testing.assert_allclose(grouped, once, rtol=1e-6)
    widths = [high - low for low, high in (grouped, fooled)]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(copies), rel=0.05)


def test_groups_of_different_sizes_match_the_variance_of_a_ratio():
    # Linearised: var(sum / size) = sum_g (total_g - mean * size_g)^2 / size^2.
    rng = np.random.default_rng(6)
    key = np.repeat(np.arange(400), rng.integers(1, 8, 400))
    values = rng.random(len(key)) + np.repeat(rng.normal(size=400), np.bincount(key))
    groups = Groups.of(rng.permutation(400)[key])
    residual = values - values.mean()
    expected = np.sqrt((np.bincount(key, weights=residual) ** 2).sum()) / len(key)
    found = intervals.replicates(
        {"mean": intervals.mean_of(values, groups)}, groups, resamples=4000, seed=2
    )["mean"]
    assert found.std() == pytest.approx(expected, rel=0.04)
    assert found.mean() == pytest.approx(values.mean(), abs=0.01)


def test_groups_are_numbered_as_they_first_occur():
    groups = Groups.of(np.array([7, 3, 7, 9], np.uint64))
    np.testing.assert_array_equal(groups.of_image, [0, 1, 0, 2])
    assert groups.count == 3


def test_same_seed_same_interval():
    values = np.random.default_rng(0).random(50)
    runs = [of_mean(values, alone(50), resamples=100, seed=seed) for seed in (7, 7, 8)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_chunks_hold_all_resamples(monkeypatch):
    monkeypatch.setattr(intervals, "_CHUNK", 120)  # three rows of forty
    values = np.arange(40.0)
    parts = []
    intervals.bootstrap(
        {"rows": lambda counts: parts.append(counts) or counts @ values},
        alone(40),
        resamples=10,
        seed=0,
    )
    counts = np.concatenate(parts)
    assert counts.shape == (10, 40)
    np.testing.assert_array_equal(counts.sum(axis=1), 40)


def test_statistics_equal_the_plain_formulas_on_the_drawn_images():
    rng = np.random.default_rng(2)
    values, cell, key = rng.random(30), rng.integers(5, size=30), np.arange(30) // 3
    groups = Groups.of(key)
    chosen = rng.integers(10, size=10)  # groups, some of them twice
    drawn = np.concatenate([np.flatnonzero(key == g) for g in chosen])
    counts = np.bincount(chosen, minlength=10)[None].astype(np.float32)
    found = intervals.mean_of(values, groups)(counts)
    np.testing.assert_allclose(found, [values[drawn].mean()], rtol=1e-5)
    total = [abs(values[drawn][cell[drawn] == c].sum()) for c in range(5)]
    found = intervals.absolute_sum_of(values, cell, groups)(counts)
    np.testing.assert_allclose(found, [np.sum(total) / len(drawn)], rtol=1e-5)


@pytest.mark.parametrize("per_group", [1, 3])
@pytest.mark.parametrize("images", [[40, 30, 20, 9, 5, 3, 2] + [1] * 14, [30, 40, 50]])
def test_the_macro_recall_is_inside_as_often_as_promised(images, per_group):
    # Of classes whose recall is known; many have a single group.
    rng = np.random.default_rng(8)
    recall = rng.uniform(0.2, 1.0, len(images))
    label = np.repeat(np.arange(len(images)), images)
    groups = Groups.of(np.repeat(np.arange(len(label)), per_group))
    label = np.repeat(label, per_group)
    inside = np.zeros(200)
    for trial in range(len(inside)):
        right = (rng.random(groups.count) < recall[label[::per_group]])[groups.of_image]
        drawn = intervals.macro_replicates(
            right, label, groups, resamples=200, seed=trial
        )
        low, high = intervals.percentiles(drawn)
        inside[trial] = low <= recall.mean() <= high
    assert 0.89 <= inside.mean() <= 0.99


def test_the_macro_mean_has_the_variance_of_its_strata():
    # Class 0: groups with means 0, 1, 1; class 1: 0, 1; classes 2, 3, 4 of one group
    # each: 0, 1, 1. Variances s^2 / m, those of the single ones pooled: of a sum of 3.
    values = np.array([0, 1, 1, 0, 1, 0, 1, 1])
    label = np.array([0, 0, 0, 1, 1, 2, 3, 4])
    drawn = intervals.macro_replicates(
        values, label, alone(8), resamples=40_000, seed=0
    )
    expected = (1 / 3 / 3 + 1 / 2 / 2 + 9 * 1 / 3 / 3) / 5**2
    assert drawn.var() == pytest.approx(expected, rel=0.03)
    assert drawn.mean() == pytest.approx((2 / 3 + 1 / 2 + 2) / 5, abs=0.01)


def test_chunks_hold_all_macro_resamples(monkeypatch):
    monkeypatch.setattr(intervals, "_CHUNK", 100)
    values, label = np.arange(40.0), np.arange(40) // 5
    drawn = intervals.macro_replicates(values, label, alone(40), resamples=11, seed=0)
    assert len(drawn) == 11
    assert np.abs(drawn - values.mean()).max() < 3


@pytest.mark.parametrize("images", [0, 1, 3])
def test_one_group_tells_nothing_of_the_spread(images):
    groups = Groups.of(np.zeros(images))
    assert of_mean(np.ones(images), groups, resamples=10, seed=0) is None


def test_wilson_is_the_textbook_one():
    # Wilson 1927, as computed by R's prop.test(95, 100, correct=FALSE).
    np.testing.assert_allclose(intervals.wilson(95, 100), [0.8882, 0.9785], atol=5e-5)
    low, high = intervals.wilson(3, 3)
    assert low == pytest.approx(0.4385, abs=1e-4)
    assert high == 1.0
    assert intervals.wilson(0, 0) is None


def test_wilson_ends_exactly_where_nothing_or_all_is_right():
    # Rounding made the low end of 0 of 72 larger than 0.
    for n in range(1, 200):
        assert intervals.wilson(0, n)[0] == 0.0
        assert intervals.wilson(n, n)[1] == 1.0


@pytest.mark.parametrize("n", [0, 1, 40])
def test_wilson_by_groups_of_one_is_wilson(n):
    right = np.arange(n) % 5 > 0
    found = intervals.wilson_by_group(right, np.arange(n))
    assert found == intervals.wilson(int(right.sum()), n)


def test_groups_that_are_all_right_are_a_trial_each():
    found = intervals.wilson_by_group(np.ones(12, bool), np.arange(12) // 3)
    assert found == intervals.wilson(4, 4)
    assert intervals.wilson_by_group(np.ones(3, bool), np.zeros(3)) == (
        intervals.wilson(1, 1)
    )


def test_the_design_effect_is_that_of_the_textbook():
    # Kish 1965: 1 + (m - 1) * correlation; groups of 4, each alike with chance .6.
    rng = np.random.default_rng(0)
    group = np.arange(40_000) // 4
    alike = (rng.random(10_000) < 0.6)[group]
    right = np.where(alike, (rng.random(10_000) < 0.7)[group], rng.random(40_000) < 0.7)
    low, high = intervals.wilson_by_group(right, group)
    once = np.diff(intervals.wilson(int(right.sum()), 40_000))[0]
    assert ((high - low) / once) ** 2 == pytest.approx(1 + 3 * 0.6, rel=0.05)


@pytest.mark.parametrize(("groups", "share"), [(10, 0.5), (80, 0.85)])
def test_wilson_by_group_holds_the_truth(groups, share):
    rng = np.random.default_rng(1)
    inside = np.zeros((300, 2))
    for trial in range(len(inside)):
        key = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
        right = (rng.random(groups) < share)[key]
        by_group = intervals.wilson_by_group(right, key)
        by_photo = intervals.wilson(int(right.sum()), len(right))
        inside[trial] = [a <= share <= b for a, b in (by_group, by_photo)]
    assert inside[:, 0].mean() >= 0.91
    assert inside[:, 1].mean() < 0.85
