"""Stage combine: the teachers' stores -> one, by weight and region.

A row of the result is the weighted mean of the *probabilities* of the teachers that
have a row for the image (a regional teacher only has images of its region, and gives
its classes only), with the weights renormalised over those, cut to the top k again.
The classes of a row are the union of those that its teachers kept; everything else,
their tails included, is the mixture's tail. Never is a row as long as the label map.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.data.view_record import RECORD
from aplantida_jax.distill.rows import Layout, pack, records, top, unpack
from aplantida_jax.distill.store import SoftLabels, Writer
from aplantida_jax.errors import UserError
from aplantida_jax.progress import track

_CHUNK = 4096  # rows at a time: three teachers' k = 32 take about 20 MB
_SHARD_CHUNKS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """One of those to mix: its name, its weight before it is renormalised, its rows."""

    name: str
    weight: float
    soft_labels: SoftLabels


def run(config: Any, workdir: Path) -> None:
    """Combines `config.combine.teachers`; `workdir` is not used."""
    del workdir
    out_dir = paths.soft_labels(
        config, config.distill.soft_labels, config.combine.split
    )
    inputs = _teacher_stores(config)
    job = manifest.begin(
        config,
        stage="combine",
        out_dir=out_dir,
        inputs=[manifest.Input(paths.classes(config), "export_dataset"), *inputs],
        depends_on=("combine", "predict.top_k"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    teachers = _open(config, inputs, label_map)
    if config.dry_run:
        logging.info("would combine %d teachers into %s", len(teachers), out_dir)
        return
    writer = Writer(
        out_dir,
        k=config.predict.top_k,
        label_map=label_map,
        made_by="combine",
        key=job.key,
        provenance=[e for teacher in teachers for e in teacher.soft_labels.provenance],
        views=teachers[0].soft_labels.views,
    )
    _combine(teachers, writer)
    metrics = {"teachers": list(config.combine.teachers), **writer.metrics()}
    job.finish(outputs=writer.outputs, metrics=metrics, label_map=label_map.fingerprint)
    logging.info("combined in %s: %s", out_dir, writer.summary())


def _teacher_stores(config: Any) -> list[manifest.Input]:
    """The stores to combine; refuses weights that do not go with the teachers."""
    names, weights = config.combine.teachers, config.combine.weights
    if not names or len(names) != len(weights) or min(weights) <= 0:
        raise UserError(
            "--config.combine.weights needs a positive number for each of "
            f"{len(names)} teachers, not {tuple(weights)}",
            exit_code=2,
        )
    return [
        manifest.Input(
            paths.soft_labels(config, name, config.combine.split) / "store.json",
            "predict",
            f"--config=configs/{name}.py",
            finished=True,
        )
        for name in names
    ]


def _open(
    config: Any, inputs: list[manifest.Input], label_map: labels.LabelMap
) -> list[Teacher]:
    """The teachers' stores; refuses those that did not predict the same views."""
    teachers = [
        Teacher(
            name,
            weight,
            SoftLabels(item.path.parent, label_map=label_map, made_by="predict"),
        )
        for name, weight, item in zip(
            config.combine.teachers, config.combine.weights, inputs, strict=True
        )
    ]
    first = teachers[0].soft_labels.views or {"count": 0}
    for teacher in teachers:
        views = teacher.soft_labels.views or {"count": 0}
        odd = sorted(p for p in first | views if first.get(p) != views.get(p))
        if odd:
            said = "; ".join(f"{p}: {views.get(p)}, not {first.get(p)}" for p in odd)
            raise _other_views(teacher, teachers[0], said)
    return teachers


def _other_views(teacher: Teacher, first: Teacher, how: str) -> UserError:
    return UserError(
        f"the soft labels of {teacher.name} are of other views than those of "
        f"{first.name} ({how}): run stage 'predict' of both with the same seed, "
        "predict.views and augment"
    )


def _combine(teachers: list[Teacher], writer: Writer) -> None:
    """Streams over all images that any teacher has seen, in the order of their ids."""
    ids = np.unique(np.concatenate([t.soft_labels.image_id for t in teachers]))
    ids = ids[writer.images_written :]
    step = max(1, _CHUNK // teachers[0].soft_labels.rows_an_image)
    pending: list[np.ndarray] = []
    starts = range(0, len(ids), step)
    for start in track(starts, total=len(starts), what="combine", unit="chunks"):
        pending.append(mix(teachers, ids[start : start + step], writer.layout))
        if len(pending) == _SHARD_CHUNKS:
            writer.append(np.concatenate(pending))
            pending = []
    if pending:
        writer.append(np.concatenate(pending))


def mix(teachers: list[Teacher], image_id: np.ndarray, layout: Layout) -> np.ndarray:
    """The weighted mixture of the teachers that know an image, in all of its views.

    Args:
        teachers: of one label map and the same views.
        image_id: uint64 [n], each known to at least one teacher.
        layout: of the result.

    Returns:
        Packed rows [n * views], see `rows`.

    Raises:
        UserError: two teachers were shown something else as the same view.
    """
    views = teachers[0].soft_labels.rows_an_image
    ids = np.repeat(image_id, views)
    view = np.tile(np.arange(views, dtype=np.uint8), len(image_id))
    columns = np.cumsum([0, *(t.soft_labels.layout.slots for t in teachers)])
    classes = np.full((len(ids), columns[-1]), layout.classes, np.int64)
    mass = np.zeros(classes.shape)
    tail, total = np.zeros(len(ids)), np.zeros(len(ids))
    seen = _Seen(ids) if layout.with_views else None
    for teacher, start, stop in zip(teachers, columns, columns[1:], strict=False):
        store, weight = teacher.soft_labels, teacher.weight
        there = store.contains(ids)
        packed = store.packed(ids[there], view[there] if store.views else None)
        if seen:
            seen.add(there, records(packed), teacher, teachers[0])
        found = unpack(packed, store.layout)
        kept = found["teacher_class"][:, : stop - start]
        classes[there, start:stop] = np.where(kept < 0, layout.classes, kept)
        logprob = found["teacher_logprob"][:, : stop - start]
        mass[there, start:stop] = weight * np.exp(logprob, dtype=np.float64)
        tail[there] += weight * found["teacher_tail"]
        total[there] += weight
    top_class, top_mass, rest = _merge(classes, mass, layout.slots)
    shares = top_mass / total[:, None], (tail + rest) / total
    return pack(ids, top_class, *shares, layout, seen.records if seen else None)


def _merge(
    classes: np.ndarray, mass: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds up what teachers give to the same class, and keeps the k greatest sums.

    Args:
        classes: int [n, m], a class at most once for each teacher.
        mass: float [n, m].
        k: how many.

    Returns:
        class int [n, k'], mass float [n, k'], and float [n], the mass that is left.
    """
    order = np.argsort(classes, axis=1, kind="stable")
    classes = np.take_along_axis(classes, order, axis=1)
    mass = np.take_along_axis(mass, order, axis=1)
    first = np.ones(classes.shape, bool)
    first[:, 1:] = classes[:, 1:] != classes[:, :-1]
    summed = np.zeros_like(mass)
    summed[first] = np.add.reduceat(mass.ravel(), np.flatnonzero(first))
    column, top_mass, rest = top(summed, k)
    return np.take_along_axis(classes, column, axis=1), top_mass, rest


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
            raise _other_views(teacher, first, how)
        self.records[there] = shown
        self._known |= there


def _as_bytes(shown: np.ndarray) -> np.ndarray:
    return shown.view(np.uint8).reshape(len(shown), -1)
