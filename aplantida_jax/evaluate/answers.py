"""From logits to what a model answered about each image; all metrics start here.

In: float logits [n, classes] (any finite values), labels int32 [n]. Out: `Answers`, a
few numbers per image, so that 85,000 images of 8,587 classes (2.9 GB of logits) are
gone through once, in chunks, in float64.

The probability of a class is softmax(logits / temperature + log_prior) over the classes
of the mask; that of a genus is the sum over its species.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from aplantida_jax.data.labels import LabelMap

TOP = 5  # answers kept per image
_CHUNK = 4_000_000  # logits at a time: 32 MB as float64


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model said about n images; k = min(5, classes), most probable first.

    Attributes:
        image_id: uint64 [n].
        label: int32 [n], the true class.
        top_class: int32 [n, k]; equal probabilities in the order of class ids.
        top_probability: float32 [n, k], each 0 to 1.
        label_rank: int32 [n], how many classes come before the true one; 0 is right.
        nll: float64 [n], -log probability of the true class, in nats; inf if masked.
        genus: int32 [n], the true genus.
        top_genus: int32 [n], the genus with the greatest summed probability.
        genus_probability: float32 [n], that sum.
        group: uint64 [n], equal for photos that are drawn together when intervals are
            computed: those of one observation, and near duplicates.
    """

    image_id: np.ndarray
    label: np.ndarray
    top_class: np.ndarray
    top_probability: np.ndarray
    label_rank: np.ndarray
    nll: np.ndarray
    genus: np.ndarray
    top_genus: np.ndarray
    genus_probability: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def correct(self) -> np.ndarray:
        """bool [n]: the most probable species is the true one."""
        return self.label_rank == 0

    @property
    def confidence(self) -> np.ndarray:
        """float32 [n]: probability of the most probable species."""
        return self.top_probability[:, 0]

    @property
    def genus_correct(self) -> np.ndarray:
        """bool [n]: the most probable genus is the true one."""
        return self.top_genus == self.genus

    def at(self, index: np.ndarray) -> "Answers":
        """The answers about the images of `index` (bool [n] or positions)."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Answers(*(field[index] for field in fields))


def judge(
    image_id: np.ndarray,
    label: np.ndarray,
    logits: np.ndarray,
    *,
    genus_of: np.ndarray,
    temperature: float = 1.0,
    class_mask: np.ndarray | None = None,
    log_prior: np.ndarray | None = None,
    group: np.ndarray | None = None,
) -> Answers:
    """Reduces logits [n, classes] to `Answers`.

    Args:
        image_id, label: uint64 [n], int32 [n].
        logits: float [n, classes].
        genus_of: int32 [classes], from `genera`.
        temperature: > 0; divides the logits.
        class_mask: bool [classes]; classes that may be answered, None is all.
        log_prior: float [classes], added after the temperature.
        group: uint64 [n]; None is every photo by itself.

    An image whose label lies outside of the mask can't be right; its NLL is infinite.
    Raises ValueError for logits that are not finite, or a mask without any class.
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits are not finite")
    if class_mask is not None and not class_mask.any():
        raise ValueError("the class mask leaves no class to answer")
    parts = [
        _judge_chunk(label[rows], log_probability, genus_of)
        for rows, log_probability in log_probabilities(
            logits, temperature=temperature, class_mask=class_mask, log_prior=log_prior
        )
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    columns.append(image_id if group is None else group)
    return Answers(image_id, label, *columns)


def log_probabilities(
    logits: np.ndarray,
    *,
    temperature: float = 1.0,
    class_mask: np.ndarray | None = None,
    log_prior: np.ndarray | None = None,
    only: np.ndarray | None = None,
) -> Iterator[tuple[slice | np.ndarray, np.ndarray]]:
    """Yields (rows, float64 log-probabilities [rows, classes]); -inf where masked.

    `rows` says of which images they are, in chunks; `only`, their positions [m], leaves
    the others out without a copy of the logits.
    """
    count, classes = len(logits) if only is None else len(only), logits.shape[1]
    step = max(1, _CHUNK // classes)
    # One empty chunk for an empty array, so that shapes come out right.
    for start in range(0, max(count, 1), step):
        chunk = slice(start, start + step)
        rows = chunk if only is None else only[chunk]
        scores = logits[rows].astype(np.float64) / temperature
        if log_prior is not None:
            scores += log_prior
        if class_mask is not None:
            scores[:, ~class_mask] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        yield rows, scores


def genera(label_map: LabelMap) -> tuple[np.ndarray, list[str]]:
    """(genus of each class, int32 [classes]; the names of the genera, sorted)."""
    names = sorted({taxon.genus for taxon in label_map.taxa})
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[t.genus] for t in label_map.taxa], np.int32), names


def country_log_prior(label_map: LabelMap, country: str, weight: float) -> np.ndarray:
    """float64 [classes]: `weight` for species known from `country`, 0 for the others.

    Soft on purpose: it multiplies the odds of a species that grows there by e^weight
    and excludes nothing, since distributions are incomplete and plants travel.
    """
    present = [country in taxon.countries for taxon in label_map.taxa]
    return weight * np.array(present, np.float64)


def _judge_chunk(
    label: np.ndarray, log_probability: np.ndarray, genus_of: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The columns of `Answers` from `top_class` on."""
    row = np.arange(len(label))
    own = log_probability[row, label][:, None]  # [n, 1]
    earlier = np.arange(log_probability.shape[1]) < label[:, None]
    before = (log_probability > own) | ((log_probability == own) & earlier)
    top_class = _top(log_probability)
    probability = np.exp(log_probability)
    of_genus = _sum_by(probability, genus_of)  # [n, genera]
    top_genus = of_genus.argmax(axis=1)
    return (
        top_class.astype(np.int32),
        np.take_along_axis(probability, top_class, axis=1).astype(np.float32),
        before.sum(axis=1).astype(np.int32),
        -own[:, 0],
        genus_of[label],
        top_genus.astype(np.int32),
        of_genus[row, top_genus].astype(np.float32),
    )


def _top(scores: np.ndarray) -> np.ndarray:
    """Columns of the TOP largest scores, largest first, equal ones by column."""
    k = min(TOP, scores.shape[1])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    top.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def _sum_by(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sums columns by group: [n, columns] -> [n, groups]; no group is empty."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    return np.add.reduceat(values[:, order], starts, axis=1)
