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


def true_ece(over):
    return over * 3 / 4  # the mean confidence; the gap has one sign in every bin


@pytest.mark.parametrize("over", [0.0, 0.05, 0.12])
def test_the_true_error_is_inside_and_plain_percentiles_miss_it(over):
    rng = np.random.default_rng(1)
    inside = np.zeros((100, 2))
    for trial in range(len(inside)):
        confidence, correct, groups = drawn(240, over, rng)
        ours = ece_interval(
            confidence, correct, groups, bins=BINS, resamples=150, seed=trial
        )
        bin_of = calibration.equal_width_bin(confidence, BINS)
        gap = intervals.absolute_sum_of(confidence - correct, bin_of, groups)
        plain = intervals.bootstrap({"": gap}, groups, resamples=150, seed=trial)[""]
        inside[trial] = [low <= true_ece(over) <= high for low, high in (ours, plain)]
    assert inside[:, 0].mean() >= 0.93
    assert inside[:, 1].mean() < (0.1 if over < 0.1 else 0.8)


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
