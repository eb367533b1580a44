"""Ways of training over several seeds: alarms, power, and the parts by hand."""

import math

import numpy as np
import pytest

from aplantida_jax.evaluate import estimate, significance
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.measures import Measured


def ways_of(seeds, rng, counts, *, apart, gain):
    """Runs of each way on the same photos; the second way is better by `gain`.

    Each way finds other photos hard, and each run errs on others again.
    """
    photos = counts.shape[1]
    easy = rng.beta(2, 1, photos)
    ways = []
    for number, runs in enumerate(seeds):
        own = np.clip(easy + 0.25 * rng.normal(size=photos), 0, 1)
        better = gain * (number == 1) + rng.normal(scale=apart, size=runs)
        right = (rng.random((runs, photos)) < own + better[:, None]).astype(np.float32)
        drawn = right @ counts.T
        ways.append(list(map(Measured, right.mean(axis=1).tolist(), drawn)))
    return ways


def share_found(seeds, *, trials, photos, apart, gain=0.0):
    """How often the first two ways are told apart at 5 %."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(photos, np.full(photos, 1 / photos), size=60)
    counts = (counts / photos).astype(np.float32)
    groups = Groups.of(np.arange(photos))
    found = np.zeros(trials)
    for trial in range(trials):
        ways = ways_of(seeds, rng, counts, apart=apart, gain=gain)
        ends = estimate.estimate(ways[:2], groups, estimate.spread_of(ways))
        found[trial] = ends.p < 0.05
        assert found[trial] == (not ends.interval[0] <= 0 <= ends.interval[1])
    return found.mean()


@pytest.mark.parametrize(
    ("seeds", "apart"),
    [
        ((3, 3, 3), 0.0),
        ((3, 3, 3), 0.02),
        ((2,) * 9, 0.0),
        ((2,) * 9, 0.05),
        ((5, 5), 0.02),
        ((1, 2, 2, 3), 0.02),
    ],
)
def test_equal_ways_are_told_apart_about_once_in_twenty(seeds, apart):
    # Neither blind (with the photos counted twice: 0 to 1 %) nor fooled (one run as if
    # it were its way: 20 %).
    assert 0.02 <= share_found(seeds, trials=400, photos=300, apart=apart) <= 0.09


@pytest.mark.parametrize(("seeds", "least"), [((3, 3, 3), 0.8), ((2,) * 9, 0.7)])
def test_a_gain_of_five_points_is_found(seeds, least):
    # Six points of each photo that is not sure to be right anyway, five in all.
    found = share_found(seeds, trials=100, photos=1000, apart=0.01, gain=0.06)
    assert found >= least


def test_the_photos_part_is_taken_off_the_seeds():
    # Accuracies of seeds 0.50 and 0.54: variance 0.0008. The difference of two numbers
    # has twice the variance of each.
    replicates = np.array([[0.50, 0.52, 0.48, 0.50], [0.54, 0.54, 0.54, 0.52]])
    way = [Measured(v, r) for v, r in zip((0.50, 0.54), replicates, strict=True)]
    gaps = np.diff(replicates, axis=0)[0]
    found = estimate.spread_of([way, [Measured(0.9, replicates[0])]])
    assert found.measured == pytest.approx(0.0008)
    assert found.photos == pytest.approx(gaps.var(ddof=1) / 2)
    assert found.freedom == 1
    assert found.deviation == pytest.approx(math.sqrt(0.0008 - found.photos))
    assert estimate.spread_of([[Measured(0.9, replicates[0])]]) is None
    other = [Measured(v, r) for v, r in zip((0.7, 0.7), replicates, strict=True)]
    pooled = estimate.spread_of([way, other])
    assert (pooled.measured, pooled.freedom) == (pytest.approx(0.0004), 2)


def test_a_part_taken_off_lessens_the_variance_and_the_freedom():
    # Of 4 - 1 = 3, where the 4 has 2 degrees of freedom: 3^2 / (4^2 / 2) of them.
    ends, p = significance.welch(1.0, [(4.0, 2), (-1.0, math.inf)])
    same, same_p = significance.welch(1.0, [(3.0, 9 / 8)])
    assert (ends, p) == (pytest.approx(same), pytest.approx(same_p))
