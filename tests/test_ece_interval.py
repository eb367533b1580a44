import numpy as np
import pytest

from aplantida_jax.evaluate import calibration, intervals
from aplantida_jax.evaluate.ece_interval import ece_interval
from aplantida_jax.evaluate.intervals import Groups

BINS = 15


def drawn(n, over, rng, *, per_group=1):
    """(confidence, correct, groups); right as often as (1 - over) * confidence."""
    key = np.arange(n) // per_group
    confidence = rng.beta(3, 1, n).astype(np.float32)[key]
    correct = rng.random(n)[key] < confidence * (1 - over)
    return confidence, correct, Groups.of(key)


def scaled(over):
    return lambda rng, n: (c := rng.beta(3, 1, n), c * (1 - over))


def sure(rng, n):
    """Says 0.9 to 1 and is right in 0.6: answers vary more than it believes."""
    return rng.uniform(0.9, 1, n), np.full(n, 0.6)


def sharpened(rng, n):
    """Logits 2.5 times too large, of two classes."""
    logit = np.abs(rng.normal(1.5, 2, n))
    return 1 / (1 + np.exp(-2.5 * logit)), 1 / (1 + np.exp(-logit))


def modest(rng, n):
    """Right more often than it says; bins at both ends are nearly empty."""
    confidence = rng.beta(3, 3, n)
    return confidence, np.minimum(confidence + 0.2, 1)


def true_ece(draw):
    confidence, chance = draw(np.random.default_rng(0), 500_000)
    bin_of = calibration.equal_width_bin(confidence, BINS)
    return np.abs(np.bincount(bin_of, confidence - chance)).sum() / len(confidence)


@pytest.mark.parametrize(
    "draw", [scaled(0.0), scaled(0.05), scaled(0.12), sure, sharpened, modest]
)
@pytest.mark.parametrize("per_group", [1, 3])
def test_the_true_error_is_inside(draw, per_group):
    rng, truth = np.random.default_rng(1), true_ece(draw)
    missed = np.zeros((100, 2))
    for trial in range(len(missed)):
        confidence, chance = draw(rng, 240 // per_group)
        correct = np.repeat(rng.random(len(chance)) < chance, per_group)
        low, high = ece_interval(
            np.repeat(confidence, per_group),
            correct,
            Groups.of(np.arange(240) // per_group),
            bins=BINS,
            resamples=100,
            seed=trial,
        )
        missed[trial] = low > truth + 1e-3, high < truth
    assert missed[:, 0].mean() <= 0.05
    assert missed.sum(axis=1).mean() <= 0.08


@pytest.mark.parametrize("over", [0.0, 0.05])
def test_plain_percentiles_miss_it(over):
    rng = np.random.default_rng(1)
    inside = np.zeros(40)
    for trial in range(len(inside)):
        confidence, correct, groups = drawn(240, over, rng)
        bin_of = calibration.equal_width_bin(confidence, BINS)
        gap = intervals.absolute_sum_of(confidence - correct, bin_of, groups)
        ends = intervals.bootstrap({"": gap}, groups, resamples=150, seed=trial)
        low, high = ends[""]
        inside[trial] = low <= over * 3 / 4 <= high  # the mean confidence is 3 / 4
    assert inside.mean() < 0.1


def test_a_calibrated_model_may_have_no_error_at_all():
    found = ece_interval(
        *drawn(3000, 0.0, np.random.default_rng(2), per_group=3),
        bins=BINS,
        resamples=200,
        seed=0,
    )
    assert found[0] == 0.0
    assert 0.0 < found[1] < 0.1


def test_it_holds_what_was_measured_and_is_reproducible():
    photos = drawn(400, 0.3, np.random.default_rng(3))
    one, same = (
        ece_interval(*photos, bins=BINS, resamples=100, seed=5) for _ in range(2)
    )
    measured = calibration.reliability(*photos[:2], bins=BINS).ece
    assert one == same
    assert 0.05 < one[0] <= measured <= one[1]


def test_one_group_has_no_interval():
    confidence, correct = np.ones(3, np.float32), np.ones(3, bool)
    groups = Groups.of(np.zeros(3))
    found = ece_interval(confidence, correct, groups, bins=BINS, resamples=9, seed=0)
    assert found is None
