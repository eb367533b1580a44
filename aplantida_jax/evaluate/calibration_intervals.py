"""95 % intervals of calibration errors on a split, before and after the temperature.

By bootstrap over groups of photos that resemble each other (see `intervals.py`), that
of the ECE as in `ece_interval.py`. The temperature is taken as given: its uncertainty,
from val, is not in them. The largest gap of a bin (MCE) has none: a resample's maximum
lies above the sample's, and by how much depends on the emptiest bin.
"""

from collections.abc import Mapping

import numpy as np

from aplantida_jax.evaluate import calibration, intervals
from aplantida_jax.evaluate.answers import Answers
from aplantida_jax.evaluate.ece_interval import ece_interval
from aplantida_jax.evaluate.intervals import Groups, Statistic


def of(
    before: Answers, after: Answers, *, bins: int, resamples: int, seed: int
) -> dict[str, list[float] | None]:
    """[low, high] of each; None where there are fewer than two groups.

    Args:
        before, after: answers about the same images, without and with the temperature.
        bins: of the ECE.
        resamples, seed: as in `intervals.bootstrap`.

    Returns:
        loss_before, loss_after, ece_before, ece_after; loss_change and ece_change,
        after - before on the same photos, so below 0 where the temperature helps; aurc.
    """
    groups = Groups.of(after.group)
    drawn = {"resamples": resamples, "seed": seed}
    both = {"before": before, "after": after}
    statistics = {
        f"loss_{name}": intervals.mean_of(a.nll, groups) for name, a in both.items()
    }
    statistics["loss_change"] = intervals.mean_of(after.nll - before.nll, groups)
    statistics["aurc"] = _aurc_of(after, groups)
    found = intervals.bootstrap(statistics, groups, **drawn)
    return found | _of_ece(both, groups, bins=bins, **drawn)


def _of_ece(
    both: Mapping[str, Answers],
    groups: Groups,
    *,
    bins: int,
    resamples: int,
    seed: int,
) -> dict[str, list[float] | None]:
    """ece_before, ece_after, and ece_change, which is paired.

    Chance adds to an ECE, by the triangle inequality from nothing to what sum over bins
    |measured gap - true gap| is on average, and to the smaller one of two more. So the
    resamples show how the change varies, not where its truth is: that lies anywhere
    between the change less all that chance may add after, and plus all it may before.
    """
    drawn = {"resamples": resamples, "seed": seed}
    found, statistics, added = {}, {}, []
    for name, a in both.items():
        bin_of = calibration.equal_width_bin(a.confidence, bins)
        gap = a.confidence - a.correct
        statistics[name] = intervals.absolute_sum_of(gap, bin_of, groups)
        added.append(_mean_noise(gap, bin_of, groups))
        found[f"ece_{name}"] = ece_interval(
            a.confidence, a.correct, groups, bins=bins, **drawn
        )
    if groups.count < 2 or resamples == 0:
        return found | {"ece_change": None}
    once = np.ones((1, groups.count), np.float32)
    change = float(statistics["after"](once)[0] - statistics["before"](once)[0])
    replicates = intervals.replicates(statistics, groups, **drawn)
    changes = replicates["after"] - replicates["before"]
    tails = [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2]
    low, high = (change + np.quantile(changes, tails) - changes.mean()).tolist()
    return found | {"ece_change": [low - added[1], high + added[0]]}


def _mean_noise(gap: np.ndarray, bin_of: np.ndarray, groups: Groups) -> float:
    """Mean of sum over bins |measured gap - true gap|, of gaps with normal errors.

    The variance of a bin's sum is estimated by the squares of its groups' sums.
    """
    variance = groups.totals_by(gap, bin_of).power(2).sum(axis=1)
    return float(np.sqrt(2 / np.pi * variance).sum() / len(gap))


def _aurc_of(answers: Answers, groups: Groups) -> Statistic:
    """The statistic AURC (see `calibration.risk_coverage`); copies of a photo follow
    each other in a resample, and count at the middle one's coverage."""
    order = np.argsort(-answers.confidence, kind="stable")
    group = groups.of_image[order]
    wrong = ~answers.correct[order]

    def statistic(counts: np.ndarray) -> np.ndarray:
        times = counts[:, group].astype(np.float64)  # [b, n]
        middle = (times - 1) / 2
        errors = np.cumsum(times * wrong, axis=1) - middle * wrong
        risk = errors / (np.cumsum(times, axis=1) - middle)
        return (times * risk).sum(axis=1) / times.sum(axis=1)

    return statistic
