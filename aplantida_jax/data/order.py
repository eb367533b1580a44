"""Which example is in which row of which batch, however many processes share the work.

One process or several: while every image can be read, the k-th global batch holds the
same examples in the same rows, augmented by the same random numbers. So the order is
fixed first, for the whole batch, and every process takes its rows of it last:

    row r of process p in batch k  =  element  k * batch + p * rows + r

An image that cannot be read is left out, by the process whose row it is and without a
word to the others: that process's later rows move up by one, so that which examples
meet in a batch depends on the number of processes from there on. How far each has come
is part of the iterator's state, so a run goes on exactly, with as many processes.
"""

import dataclasses
from typing import Any

import grain
import numpy as np

Shard = tuple[int, int]  # (index, count) of a process
ALONE: Shard = (0, 1)


class RowsOfProcess(grain.MapDataset):
    """One process's rows of every batch; those of the others are never computed.

    To be the last transformation before a dataset is iterated over: grain seeds random
    transformations by position, and positions are the global ones up to here.
    """

    def __init__(self, parent: grain.MapDataset, *, batch_size: int, shard: Shard):
        """`batch_size` is of all processes together, and divides among them."""
        super().__init__(parent)
        self._batch_size = batch_size
        self._process, count = shard
        self._rows = batch_size // count

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * self._rows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        batch, row = divmod(index, self._rows)
        first = batch * self._batch_size + self._process * self._rows
        return self._parent[first + row]


@dataclasses.dataclass(frozen=True, eq=False)
class DrawExample(grain.transforms.RandomMap):
    """Ignores the index and draws one by weight, with replacement."""

    cumulative: np.ndarray  # float64 [n], ends in 1

    def random_map(self, element: int, rng: np.random.Generator) -> int:
        return int(np.searchsorted(self.cumulative, rng.random(), side="right"))


def endless(label: np.ndarray, *, sampling: str, seed: int) -> grain.MapDataset:
    """Endless indices into `label` int32 [n]: `train.sampling`'s proportions.

    "uniform" shuffles every epoch anew; the others draw by `sampling_weights`.
    """
    order = grain.MapDataset.range(len(label)).seed(seed)
    weights = sampling_weights(label, sampling)
    if weights is None:
        return order.shuffle().repeat(None)
    cumulative = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1.0
    return order.repeat(None).random_map(DrawExample(cumulative))


def sampling_weights(label: np.ndarray, how: str) -> np.ndarray | None:
    """Probability of each example, float64 [n]; None for uniform.

    "class_balanced" makes every class as likely; "square_root" as likely as the square
    root of its count (Mahajan et al. 2018).
    """
    if how == "uniform":
        return None
    count = np.bincount(label)[label].astype(np.float64)
    weight = 1 / count if how == "class_balanced" else 1 / np.sqrt(count)
    return weight / weight.sum()


def effective_counts(label: np.ndarray, how: str, *, classes: int) -> np.ndarray:
    """Images of each class that an epoch draws on average, float64 [classes]."""
    weights = sampling_weights(label, how)
    if weights is None:
        return np.bincount(label, minlength=classes).astype(np.float64)
    return len(label) * np.bincount(label, weights, minlength=classes)
