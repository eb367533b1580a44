"""Stage combine: the teachers' stores -> one, by weight and region.

Rows are mixed as `mixture` tells, in the order of the images' ids, and appended block
by block; an interrupted stage goes on after the last. What the second cut to the top k
costs is measured on a sample of the finished store.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels, views
from aplantida_jax.distill import divergence, mixture
from aplantida_jax.distill.store import SoftLabels, Writer
from aplantida_jax.errors import UserError
from aplantida_jax.progress import track

_CHUNK = 4096  # rows at a time: three teachers' k = 32 take about 20 MB
_BLOCK_CHUNKS = 16
_SAMPLE = 1024  # images whose rows are compared with the mixture before the cut
_DENSE_ROWS = 64  # as long as the label map, at a time: 5 MB for each teacher


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
        regions=[r for teacher in teachers for r in teacher.soft_labels.regions],
        views=views.shared([teacher.soft_labels.views for teacher in teachers]),
    )
    _combine(teachers, writer)
    metrics = {
        "teachers": list(config.combine.teachers),
        **writer.metrics(),
        **_compare(config, teachers, label_map, out_dir),
    }
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
) -> list[mixture.Teacher]:
    """The teachers' stores; refuses those that did not predict the same views."""
    teachers = [
        mixture.Teacher(
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
        shown = teacher.soft_labels.views or {"count": 0}
        if odd := views.differing(first, shown):
            said = "; ".join(f"{p}: {shown.get(p)}, not {first.get(p)}" for p in odd)
            raise mixture.other_views(teacher, teachers[0], said)
    return teachers


def _combine(teachers: list[mixture.Teacher], writer: Writer) -> None:
    """Streams over all images that any teacher has seen, in the order of their ids."""
    ids = np.unique(np.concatenate([t.soft_labels.image_id for t in teachers]))
    ids = ids[writer.images_written :]
    step = max(1, _CHUNK // teachers[0].soft_labels.rows_an_image)
    pending: list[np.ndarray] = []
    sum_error: list[float] = []
    starts = range(0, len(ids), step)
    for start in track(starts, total=len(starts), what="combine", unit="chunks"):
        packed, error = mixture.mix(teachers, ids[start : start + step], writer.layout)
        pending.append(packed)
        sum_error.append(error.max())
        if len(pending) == _BLOCK_CHUNKS:
            writer.append(np.concatenate(pending), {"sum_error": [max(sum_error)]})
            pending, sum_error = [], []
    if pending:
        writer.append(np.concatenate(pending), {"sum_error": [max(sum_error)]})


def _compare(
    config: Any,
    teachers: list[mixture.Teacher],
    label_map: labels.LabelMap,
    where: Path,
) -> dict[str, Any]:
    """What cutting the mixture to the top k costs, see `divergence.metrics`.

    Of a sample of the finished store: the same one, however often it was interrupted.
    """
    made = SoftLabels(where, label_map=label_map, made_by="combine")
    image = np.linspace(0, len(made.image_id) - 1, _SAMPLE).astype(np.int64)
    ids = made.image_id[np.unique(image)]
    view = (np.arange(len(ids)) % made.rows_an_image).astype(np.uint8)
    temperature = config.distill.temperature
    found: list[list[np.ndarray]] = [[], []]
    for start in range(0, len(ids), _DENSE_ROWS):
        part = slice(start, start + _DENSE_ROWS)
        asked = ids[part], view[part] if made.views else None
        dense, packed = mixture.dense_mean(teachers, *asked), made.packed(*asked)
        for values, at in zip(found, (1.0, temperature), strict=True):
            values.append(
                divergence.divergence(
                    *(dense, packed, made.layout, made.covers), temperature=at
                )
            )
    plain, softened = map(np.concatenate, found)
    measured = divergence.metrics(plain, softened, temperature=temperature)
    cost, kept = divergence.in_words(measured), config.predict.top_k
    logging.info("the cut costs %s: --config.predict.top_k=%d", cost, kept)
    return measured
