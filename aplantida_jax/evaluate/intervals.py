"""95 % intervals: the percentile bootstrap over images, and Wilson's for a proportion.

A resample is a row of counts: how often each of the n images was drawn. Statistics are
functions of counts [b, n] -> [b], so that b resamples are computed at once (Efron and
Tibshirani 1993, chapter 13). Images of one observation resemble each other, so the true
uncertainty is somewhat wider than these intervals.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]

LEVEL = 0.95
_CHUNK = 4_000_000  # counts at a time: 16 MB as float32
_Z = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def bootstrap(
    statistics: Mapping[str, Statistic], n: int, *, resamples: int, seed: int
) -> dict[str, list[float] | None]:
    """[low, high] of each statistic; None where there is nothing to resample.

    Args:
        statistics: functions of counts, float32 [b, n], to values [b].
        n: images.
        resamples: draws with replacement, each of n images.
        seed: same seed, same intervals.
    """
    if n == 0 or resamples == 0:
        return dict.fromkeys(statistics)
    values: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for counts in _draws(n, resamples, np.random.default_rng(seed)):
        for name, statistic in statistics.items():
            values[name].append(statistic(counts))
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {
        name: [float(x) for x in np.quantile(np.concatenate(parts), tails)]
        for name, parts in values.items()
    }


def mean_of(values: np.ndarray) -> Statistic:
    """The statistic mean(values) for values [n]."""
    column = values.astype(np.float32)
    return lambda counts: counts @ column / len(column)


def macro_mean_of(values: np.ndarray, group: np.ndarray) -> Statistic:
    """The mean over groups of each group's mean, without groups that were not drawn.

    Args:
        values: [n].
        group: int [n], e.g. the true class.
    """
    order = np.argsort(group, kind="stable")
    _, starts = np.unique(group[order], return_index=True)
    column = values[order].astype(np.float32)

    def statistic(counts: np.ndarray) -> np.ndarray:
        drawn = counts[:, order]
        size = np.add.reduceat(drawn, starts, axis=1)  # [b, groups]
        total = np.add.reduceat(drawn * column, starts, axis=1)
        mean = total / np.maximum(size, 1)  # 0 where nothing was drawn
        return mean.sum(axis=1) / (size > 0).sum(axis=1)

    return statistic


def absolute_sum_of(values: np.ndarray, group: np.ndarray) -> Statistic:
    """sum over groups |sum of values in it| / n; with confidence - correct, the ECE."""
    order = np.argsort(group, kind="stable")
    _, starts = np.unique(group[order], return_index=True)
    column = values[order].astype(np.float32)

    def statistic(counts: np.ndarray) -> np.ndarray:
        total = np.add.reduceat(counts[:, order] * column, starts, axis=1)
        return np.abs(total).sum(axis=1) / len(column)

    return statistic


def wilson(successes: int, n: int) -> list[float] | None:
    """95 % interval of a proportion (Wilson 1927); None for n = 0.

    Where few images decide and all are right, the bootstrap says [1, 1]; this does not.
    """
    if n == 0:
        return None
    share, z2 = successes / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return [float(max(0.0, centre - half)), float(min(1.0, centre + half))]


def _draws(n: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields counts, float32 [b, n], until there are `resamples` rows."""
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n  # each row counts in its own range
        counts = np.bincount(drawn.ravel(), minlength=rows * n)
        yield counts.reshape(rows, n).astype(np.float32)
