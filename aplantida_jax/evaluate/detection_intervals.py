"""95 % intervals of AUROC and FPR where pictures of one species resemble each other.

In: scores of the known pictures [n] and of the unknown ones [m], and which of each
belong together (`Groups`). The variance is that of clustered ROC data: each unknown
picture's share of known ones above it, and each known one's of unknown ones below it,
summed by group (Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data";
known and unknown pictures have no group in common). What the bar of the FPR adds is its
change where the true positive rate is a standard error off (Woodruff 1952, "Confidence
intervals for medians and other position measures"). The interval is Wilson's, which
stays within 0 to 1, with as many trials as have that variance, and Student's t for few
groups with Satterthwaite's degrees of freedom; see `intervals.wilson_by_group`. None
where either side is a single group: nothing tells then how much groups differ.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from aplantida_jax.evaluate import intervals
from aplantida_jax.evaluate.intervals import LEVEL, Groups


class _Spread(NamedTuple):
    """The variance of a mean, and what it was computed from."""

    variance: float
    groups: int

    @classmethod
    def of(cls, values: np.ndarray, groups: Groups) -> "_Spread":
        """Of mean(values), values [n]: that of a ratio of two sums over groups."""
        if groups.count < 2:
            return cls(0.0, groups.count)
        total = np.bincount(groups.of_image, weights=values - values.mean())
        few = groups.count / (groups.count - 1)
        return cls(float(few * (total**2).sum() / len(values) ** 2), groups.count)


def of_auroc(
    known: np.ndarray, unknown: np.ndarray, known_groups: Groups, groups: Groups
) -> list[float] | None:
    """Of the chance that a known picture scores higher than an unknown one."""
    if not len(known) or not len(unknown):
        return None
    above = 1.0 - _below(np.sort(known), unknown)
    return _interval(
        float(above.mean()),
        _Spread.of(above, groups),
        _Spread.of(_below(np.sort(unknown), known), known_groups),
    )


def of_fpr(
    known: np.ndarray,
    unknown: np.ndarray,
    known_groups: Groups,
    groups: Groups,
    *,
    bar_at: Callable[[float], float],
    tpr: float,
) -> list[float] | None:
    """Of the share of unknown pictures that pass the bar at `tpr`.

    `bar_at` gives the bar for a true positive rate; see `detection.fpr_at_tpr`.
    """
    if not len(known) or not len(unknown):
        return None
    passed = unknown >= bar_at(tpr)
    of_tpr = _Spread.of(known >= bar_at(tpr), known_groups)
    off = np.sqrt(of_tpr.variance)
    fewer, more = (
        float((unknown >= bar_at(float(np.clip(rate, 0.0, 1.0)))).mean())
        for rate in (tpr - off, tpr + off)
    )
    return _interval(
        float(passed.mean()),
        _Spread.of(passed, groups),
        _Spread(((more - fewer) / 2) ** 2, of_tpr.groups),
    )


def _below(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of the ordered ones below each value; ties count half."""
    fewer = np.searchsorted(ordered, values, "left")
    or_equal = np.searchsorted(ordered, values, "right")
    return (fewer + or_equal) / (2.0 * len(ordered))


def _interval(mean: float, *spreads: _Spread) -> list[float] | None:
    """Wilson's of a mean between 0 and 1 with that much spread."""
    fewest = min(spread.groups for spread in spreads)
    if fewest < 2:
        return None
    variance = sum(spread.variance for spread in spreads)
    if not variance:
        return intervals.wilson(mean * fewest, fewest)
    parts = ((s.variance / variance) ** 2 / (s.groups - 1) for s in spreads)
    tail = special.stdtrit(1 / sum(parts), (1 + LEVEL) / 2)
    normal = special.ndtri((1 + LEVEL) / 2)
    trials = max(1.0, mean * (1 - mean) / variance * (normal / tail) ** 2)
    return intervals.wilson(mean * trials, trials)
