"""95 % intervals: the percentile bootstrap by group, and Wilson's for a proportion.

Photos of one observation, and near duplicates, resemble each other: counted as
independent they would make every interval too narrow. So whole groups are drawn with
replacement, not photos (the cluster bootstrap: Davison and Hinkley 1997, section 3.8;
Field and Welsh 2007, "Bootstrapping clustered data"). A resample is a row of counts,
how often each of the g groups was drawn; how many photos that makes differs from row to
row, so every statistic is a ratio of two sums under the counts. Statistics are
functions of counts [b, g] -> [b], so that b resamples are computed at once. Where every
photo is a group of its own this is the plain bootstrap.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy import sparse, special

Statistic = Callable[[np.ndarray], np.ndarray]

LEVEL = 0.95
_CHUNK = 4_000_000  # counts at a time: 16 MB as float32
_Z = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """Which images are drawn together.

    Attributes:
        of_image: int64 [n], the group of each image, 0 to count - 1.
        count: groups; each has an image at least.
    """

    of_image: np.ndarray
    count: int

    @classmethod
    def of(cls, key: np.ndarray) -> "Groups":
        """Images of equal `key` [n] form a group; numbered as they first occur."""
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        number = np.empty(len(first), np.int64)
        number[np.argsort(first)] = np.arange(len(first))
        return cls(number[inverse.reshape(-1)], len(first))

    def totals(self, values: np.ndarray) -> np.ndarray:
        """float32 [count]: the sum of values [n] over each group."""
        total = np.bincount(self.of_image, weights=values, minlength=self.count)
        return total.astype(np.float32)

    def totals_by(self, values: np.ndarray, cell: np.ndarray) -> sparse.csr_array:
        """float32 [cells, count]: sums of values [n] by cell and group.

        Args:
            values: [n].
            cell: [n], e.g. the true class; only those that occur get a row, ascending.
        """
        names, row = np.unique(cell, return_inverse=True)
        entries = (values.astype(np.float32), (row.reshape(-1), self.of_image))
        return sparse.csr_array(entries, shape=(len(names), self.count))


def bootstrap(
    statistics: Mapping[str, Statistic], groups: Groups, *, resamples: int, seed: int
) -> dict[str, list[float] | None]:
    """[low, high] of each statistic; None where fewer than two groups could be drawn.

    Args:
        statistics: functions of counts, float32 [b, groups], to values [b].
        groups: of the images that the statistics are about.
        resamples: draws with replacement, each of as many groups as there are.
        seed: same seed, same intervals.
    """
    if groups.count < 2 or resamples == 0:
        return dict.fromkeys(statistics)
    values = replicates(statistics, groups, resamples=resamples, seed=seed)
    return {name: percentiles(values[name]) for name in statistics}


def replicates(
    statistics: Mapping[str, Statistic], groups: Groups, *, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """float64 [resamples] of each statistic.

    The draws depend on the number of groups and the seed alone, so replicates of two
    runs on the same images are paired: their differences are those of the difference.
    """
    values: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] for name in statistics}
    for counts in _draws(groups.count, resamples, np.random.default_rng(seed)):
        for name, statistic in statistics.items():
            values[name].append(statistic(counts).astype(np.float64))
    return {name: np.concatenate(parts) for name, parts in values.items()}


def percentiles(values: np.ndarray) -> list[float] | None:
    """The 95 % percentile interval of replicates; None where there are none."""
    if len(values) == 0:
        return None
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return [float(x) for x in np.quantile(values, tails)]


def mean_of(values: np.ndarray, groups: Groups) -> Statistic:
    """The statistic mean(values) for values [n]."""
    total = groups.totals(values)
    size = groups.totals(np.ones(len(values)))
    return lambda counts: (counts @ total) / (counts @ size)


def absolute_sum_of(values: np.ndarray, cell: np.ndarray, groups: Groups) -> Statistic:
    """sum over cells |sum of values in it| / n; with confidence - correct, the ECE.

    Args:
        values: [n].
        cell: [n], e.g. the bin of the confidence.
        groups: of the images.
    """
    total = groups.totals_by(values, cell)
    size = groups.totals(np.ones(len(values)))

    def statistic(counts: np.ndarray) -> np.ndarray:
        sums = total @ np.ascontiguousarray(counts.T)  # [cells, b]
        return np.abs(sums).sum(axis=0) / (counts @ size)

    return statistic


def macro_replicates(
    values: np.ndarray,
    label: np.ndarray,
    groups: Groups,
    *,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """float64 [resamples] of the mean over labels of each label's mean.

    Over all groups at once, a rare class would be missing from a third of the resamples
    and the interval come out too narrow. So each class draws among its own groups, one
    fewer than it has, which makes the variance unbiased (Rao and Wu 1988, "Resampling
    inference with complex survey data"). A class of a single group has no spread of its
    own; all such classes draw among one another (collapsed strata: Wolter 2007,
    "Introduction to Variance Estimation", section 2.5). As in `replicates`, runs on the
    same images have the same draws.

    Args:
        values: [n].
        label: [n], e.g. the true class.
        groups: of the images.
        resamples, seed: as in `bootstrap`.
    """
    cell = _Cells.of(values, label, groups)
    rng = np.random.default_rng(seed)
    found = np.zeros(resamples)
    step = max(1, _CHUNK // max(len(cell.total), 1))
    for row in range(0, resamples, step):
        rows = slice(row, min(row + step, resamples))
        found[rows] = cell.draw(rows.stop - rows.start, rng)
    return found / max(len(cell.size), 1)


@dataclasses.dataclass(frozen=True, eq=False)
class _Cells:
    """Sums over the images of a label and a group, ordered by label.

    `total`, `images` and `mean` are per cell; `start` and `size` say which cells are a
    label's.
    """

    total: np.ndarray
    images: np.ndarray
    start: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, label: np.ndarray, groups: Groups) -> "_Cells":
        key = label.astype(np.int64) * max(groups.count, 1) + groups.of_image
        cells, row = np.unique(key, return_inverse=True)
        label_of = cells // max(groups.count, 1)
        _, start, size = np.unique(label_of, return_index=True, return_counts=True)
        total = np.bincount(row.reshape(-1), weights=values, minlength=len(cells))
        images = np.bincount(row.reshape(-1), minlength=len(cells))
        return cls(total, images, start, size)

    def draw(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """float64 [rows]: the sum of the labels' means in as many resamples."""
        single = self.start[self.size == 1]
        alone = self.total[single] / self.images[single]
        if len(alone) > 1:
            drawn = rng.integers(len(alone), size=(rows, len(alone) - 1))
            found = len(alone) * alone[drawn].mean(axis=1)
        else:
            found = np.full(rows, alone.sum())
        size = self.size[self.size > 1]
        if len(size):
            first, among = (np.repeat(x, size - 1) for x in (self._several, size))
            begins = np.cumsum(size - 1) - (size - 1)
            index = first + (rng.random((rows, len(first))) * among).astype(np.int64)
            total = np.add.reduceat(self.total[index], begins, axis=1)
            images = np.add.reduceat(self.images[index], begins, axis=1)
            found += (total / images).sum(axis=1)
        return found

    @property
    def _several(self) -> np.ndarray:
        return self.start[self.size > 1]


def wilson(successes: float, n: float) -> list[float] | None:
    """95 % interval of a proportion (Wilson 1927); None for n = 0.

    Where few images decide and all are right, the bootstrap says [1, 1]; this does not.
    It takes the n for independent: see `wilson_by_group`.
    """
    if n == 0:
        return None
    share, z2 = successes / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends exactly 0 and 1, which rounding would miss by a hair.
    low = 0.0 if successes == 0 else float(max(0.0, centre - half))
    high = 1.0 if successes == n else float(min(1.0, centre + half))
    return [low, high]


def wilson_by_group(right: np.ndarray, group: np.ndarray) -> list[float] | None:
    """Wilson's interval of mean(right) for photos that resemble each other.

    Wilson's with n / design effect trials, and Student's t for few groups (Korn and
    Graubard 1998, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data"). The design effect is the variance of a
    ratio by groups over that of independent photos, at least 1; where all are right, or
    all wrong, nothing tells it, and each group is one trial. Where every photo is a
    group of its own this is `wilson`. Simulated with 8 to 200 groups of 1 to 5 photos,
    right or wrong as a whole, it held the truth in 90 to 96 %; `wilson` in 66 to 68 %.

    Args:
        right: bool [n].
        group: [n], equal for photos that belong together.
    """
    n = len(right)
    groups = Groups.of(group)
    if n == 0 or groups.count == n:
        return wilson(int(right.sum()), n)
    share = float(right.mean())
    trials = float(groups.count)
    if 0 < share < 1 and groups.count > 1:
        few = groups.count / (groups.count - 1)  # as in a sample's variance
        squares = (groups.totals(right - share).astype(np.float64) ** 2).sum()
        variance = few * squares / n**2
        design_effect = max(1.0, variance / (share * (1 - share) / n))
        tails = special.stdtrit([n - 1, groups.count - 1], (1 + LEVEL) / 2)
        trials = max(1.0, n / design_effect * (tails[0] / tails[1]) ** 2)
    return wilson(share * trials, trials)


def _draws(n: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields counts, float32 [b, n], until there are `resamples` rows."""
    step = max(1, _CHUNK // max(n, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n  # each row counts in its own range
        counts = np.bincount(drawn.ravel(), minlength=rows * n)
        yield counts.reshape(rows, n).astype(np.float32)
