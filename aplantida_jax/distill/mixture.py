"""Rows of several teachers -> one row, by weight and region.

A row of the result is the weighted mean of the *probabilities* of the teachers that
have a row for the image (a regional teacher only has images of its region, and gives
its classes only), with the weights renormalised over those, cut to the top k again.
The classes of a row are among those that its teachers kept; everything else that a
teacher gives, its tail included, is its tail in the row, so that a reader gives it to
classes that this teacher covers.
"""

import dataclasses

import numpy as np

from aplantida_jax.data.view_record import RECORD
from aplantida_jax.distill import divergence
from aplantida_jax.distill.rows import Layout, pack, records, sum_error, top, unpack
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """One of those to mix: its name, its weight before it is renormalised, its rows."""

    name: str
    weight: float
    soft_labels: SoftLabels


def mix(
    teachers: list[Teacher], image_id: np.ndarray, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mixture of the teachers that know an image, in all of its views.

    Args:
        teachers: of one label map and the same views.
        image_id: uint64 [n], each known to at least one teacher.
        layout: of the result.

    Returns:
        Packed rows [n * views], see `rows`; what `rows.sum_error` says of their parts.

    Raises:
        UserError: two teachers were shown something else as the same view.
    """
    ids, view = _keys(teachers[0].soft_labels, image_id)
    columns = np.cumsum([0, *(t.soft_labels.layout.slots for t in teachers)])
    classes = np.full((len(ids), columns[-1]), layout.classes, np.int64)
    mass = np.zeros(classes.shape)
    tails, total = np.zeros((len(ids), len(teachers))), np.zeros((len(ids), 1))
    seen = _Seen(ids) if layout.with_views else None
    for number, teacher in enumerate(teachers):
        own = slice(columns[number], columns[number + 1])
        store, weight = teacher.soft_labels, teacher.weight
        there = store.contains(ids)
        packed = store.packed(ids[there], view[there] if store.views else None)
        if seen:
            seen.add(there, records(packed), teacher, teachers[0])
        kept, logprob, tail = unpack(packed, store.layout).values()
        kept, logprob = kept[:, : store.layout.slots], logprob[:, : store.layout.slots]
        classes[there, own] = np.where(kept < 0, layout.classes, kept)
        mass[there, own] = weight * np.exp(logprob, dtype=np.float64)
        tails[there, number] = weight * tail[:, 0]
        total[there] += weight
    top_class, top_mass, rest = _merge(classes, mass, layout.slots)
    tails += np.add.reduceat(rest, columns[:-1], axis=1)
    shares = top_mass / total, tails / total
    packed = pack(ids, top_class, *shares, layout, seen.records if seen else None)
    return packed, sum_error(*shares)


def _keys(store: SoftLabels, image_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All views of images: ids uint64 [n * views], numbers uint8 [n * views]."""
    view = np.arange(store.rows_an_image, dtype=np.uint8)
    return np.repeat(image_id, len(view)), np.tile(view, len(image_id))


def _merge(
    classes: np.ndarray, mass: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds up what teachers give to the same class, and keeps the k greatest sums.

    Args:
        classes: int [n, m], a class at most once for each teacher.
        mass: float [n, m].
        k: how many.

    Returns:
        class int [n, k'], mass float [n, k'], and float [n, m], what of `mass` is of
        classes that are not kept.
    """
    order = np.argsort(classes, axis=1, kind="stable")
    classes = np.take_along_axis(classes, order, axis=1)
    mass = np.take_along_axis(mass, order, axis=1)
    first = np.ones(classes.shape, bool)
    first[:, 1:] = classes[:, 1:] != classes[:, :-1]
    summed = np.zeros_like(mass)
    summed[first] = np.add.reduceat(mass.ravel(), np.flatnonzero(first))
    column, top_mass, _ = top(summed, k)
    is_kept = np.zeros(classes.shape, bool)
    np.put_along_axis(is_kept, column, True, axis=1)
    # A class is kept where the first of its columns is.
    is_kept = is_kept[first][np.cumsum(first) - 1].reshape(classes.shape)
    rest = np.empty_like(mass)
    np.put_along_axis(rest, order, np.where(is_kept, 0, mass), axis=1)
    return np.take_along_axis(classes, column, axis=1), top_mass, rest


def dense_mean(
    teachers: list[Teacher], ids: np.ndarray, view: np.ndarray | None
) -> np.ndarray:
    """The weighted mean of what is read in the teachers' own rows, float64 [n, c]."""
    weight = np.zeros((len(teachers), len(ids), 1))
    dense = np.zeros((len(ids), teachers[0].soft_labels.layout.classes))
    for own, teacher in zip(weight, teachers, strict=True):
        store = teacher.soft_labels
        there = store.contains(ids)
        own[there] = teacher.weight
        packed = store.packed(ids[there], None if view is None else view[there])
        dense[there] += teacher.weight * divergence.read(
            packed, store.layout, store.covers
        )
    return dense / weight.sum(axis=0)


class _Seen:
    """The views that teachers were shown; the same key must be the same view.

    Attributes:
        records: `data.view_record.RECORD` [n], what was shown.
    """

    def __init__(self, ids: np.ndarray):
        self._ids = ids
        self._known = np.zeros(len(ids), bool)
        self.records = np.zeros(len(ids), RECORD)

    def add(
        self, there: np.ndarray, shown: np.ndarray, teacher: Teacher, first: Teacher
    ) -> None:
        """Adds what `teacher` was shown, at bool [n] `there`."""
        before = self.records[there]
        odd = self._known[there] & (_as_bytes(before) != _as_bytes(shown)).any(axis=1)
        if odd.any():
            image = int(self._ids[there][odd][0])
            record = before[odd][0], shown[odd][0]
            how = f"{int(odd.sum())} or more, e.g. image {image:016x}: {record}"
            raise other_views(teacher, first, how)
        self.records[there] = shown
        self._known |= there


def _as_bytes(shown: np.ndarray) -> np.ndarray:
    return shown.view(np.uint8).reshape(len(shown), -1)


def other_views(teacher: Teacher, first: Teacher, how: str) -> UserError:
    """Of a teacher that was shown something else than the first was."""
    return UserError(
        f"the soft labels of {teacher.name} are of other views than those of "
        f"{first.name} ({how}): run stage 'predict' of both with the same seed, "
        "predict.views and augment"
    )
