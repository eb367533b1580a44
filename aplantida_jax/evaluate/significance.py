"""Could a difference between two models be chance? Exact tests, and their correction.

In: what two models did on the same photos. Out: two-sided p-values, 0 to 1.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05  # below it a (corrected) p is called significant
_LEAST = 1e-60  # chances below it are not told apart


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact McNemar test (McNemar 1947): two models on the same photos.

    Of the photos that only one model gets right, each is as likely to be the first's
    as the second's when they are equally good: a binomial test with 1/2.

    Args:
        only_first: photos that the first gets right and the second does not.
        only_second: the other way about.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    return float(stats.binomtest(only_first, discordant).pvalue)


def mcnemar_by_group(difference: np.ndarray) -> float:
    """The exact McNemar test where photos come in groups: the sign test of totals.

    Photos of a group are not independent, and mcnemar would take one lucky observation
    of ten photos for ten successes. When both models are equally good, a group's total
    is as likely to be +d as -d, whatever happens within it; the distribution of the sum
    over all groups under these sign flips (Fisher 1935, section 21) is computed
    exactly. With groups of one photo it is `mcnemar`.

    Args:
        difference: int [groups], how many more photos of each the second gets right.
    """
    observed = abs(int(difference.sum()))
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    chance = np.ones(1)  # of each sum, from -reach to reach
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        chance = _flipped(chance, size, count)
    reach = len(chance) // 2
    if observed == 0:
        return 1.0
    tail = chance[: max(0, reach - observed + 1)].sum()  # both tails are alike
    return float(min(1.0, max(2 * tail, _LEAST)))


def _flipped(chance: np.ndarray, size: int, count: int) -> np.ndarray:
    """The chance of each sum after `count` more terms of +size or -size."""
    positive = stats.binom.pmf(np.arange(count + 1), count, 0.5)
    kept = positive[positive > _LEAST]  # symmetric about count / 2, like the sums
    found = np.zeros(len(chance) + 2 * size * (len(kept) - 1))
    for index, share in enumerate(kept):
        start = 2 * size * index
        found[start : start + len(chance)] += share * chance
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being a family (Holm 1979): any false alarm at 5 %.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none is below one
    that was smaller, nor above 1.
    """
    corrected = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(
        sorted(range(len(p_values)), key=p_values.__getitem__)
    ):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


def welch(
    difference: float, variances: Sequence[tuple[float, float]], *, level: float = 0.95
) -> tuple[list[float], float]:
    """Interval of a difference and its p, from independent sources of uncertainty.

    Student's t with the degrees of freedom of Welch 1947 and Satterthwaite 1946, which
    are few where few observations (two or three seeds) bring most of the variance.

    Args:
        difference: the estimate.
        variances: of the estimate by each source, and the degrees of freedom of each
            (inf where it is known); one below 0 is taken off again.
        level: of the interval.

    Returns:
        ([low, high], two-sided p of there being no difference).
    """
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return [difference, difference], 1.0 if difference == 0 else 0.0
    freedom = total**2 / sum(v**2 / df for v, df in variances)
    error = np.sqrt(total)
    reach = float(stats.t.ppf((1 + level) / 2, freedom) * error)
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return [difference - reach, difference + reach], p
