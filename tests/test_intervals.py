import numpy as np
import pytest

from aplantida_jax.evaluate import intervals


def test_the_mean_of_coin_flips_matches_the_binomial():
    # 400 flips, 100 heads: standard error sqrt(.25 * .75 / 400) = 0.02165.
    values = np.repeat([1.0, 0.0], [100, 300])
    found = intervals.bootstrap(
        {"mean": intervals.mean_of(values)}, 400, resamples=4000, seed=1
    )
    np.testing.assert_allclose(found["mean"], [0.2076, 0.2924], atol=0.004)


def test_same_seed_same_interval():
    values = np.random.default_rng(0).random(50)
    runs = [
        intervals.bootstrap(
            {"mean": intervals.mean_of(values)}, 50, resamples=100, seed=seed
        )["mean"]
        for seed in (7, 7, 8)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_chunks_hold_all_resamples(monkeypatch):
    monkeypatch.setattr(intervals, "_CHUNK", 120)  # three rows of forty
    values = np.arange(40.0)
    parts = []
    intervals.bootstrap(
        {"rows": lambda counts: parts.append(counts) or counts @ values},
        40,
        resamples=10,
        seed=0,
    )
    counts = np.concatenate(parts)
    assert counts.shape == (10, 40)
    np.testing.assert_array_equal(counts.sum(axis=1), 40)


def test_grouped_statistics_equal_the_plain_formula():
    rng = np.random.default_rng(2)
    values, group = rng.random(30), rng.integers(5, size=30)
    drawn = rng.integers(30, size=30)
    counts = np.bincount(drawn, minlength=30)[None].astype(np.float32)
    groups = np.unique(group[drawn])
    mean = np.mean([values[drawn][group[drawn] == g].mean() for g in groups])
    found = intervals.macro_mean_of(values, group)(counts)
    np.testing.assert_allclose(found, [mean], rtol=1e-5)
    total = [abs(values[drawn][group[drawn] == g].sum()) for g in range(5)]
    found = intervals.absolute_sum_of(values, group)(counts)
    np.testing.assert_allclose(found, [np.sum(total) / 30], rtol=1e-5)


def test_wilson_is_the_textbook_one():
    # Wilson 1927, as computed by R's prop.test(95, 100, correct=FALSE).
    np.testing.assert_allclose(intervals.wilson(95, 100), [0.8882, 0.9785], atol=5e-5)
    low, high = intervals.wilson(3, 3)
    assert low == pytest.approx(0.4385, abs=1e-4)
    assert high == 1.0
    assert intervals.wilson(0, 0) is None
