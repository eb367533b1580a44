"""Stage combine: the teachers' stores -> one, by weight and region.

A row of the result is the weighted mean of the *probabilities* of the teachers that
have a row for the image (a regional teacher only has images of its region, and gives
its classes only), with the weights renormalised over those, cut to the top k again.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.distill import store
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from aplantida_jax.progress import track

# Dense for this many rows at a time: 70 MB at 8,587 classes.
_CHUNK = 1024
_SHARD_CHUNKS = 64


def run(config: Any, workdir: Path) -> None:
    """Combines `config.combine.teachers`; `workdir` is not used."""
    del workdir
    split = config.combine.split
    out_dir = paths.soft_labels(config, config.distill.soft_labels, split)
    inputs = _teacher_stores(config)
    job = manifest.begin(
        config,
        stage="combine",
        out_dir=out_dir,
        inputs=[manifest.Input(paths.classes(config), "export_dataset"), *inputs],
        depends_on=("combine", "predict"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    teachers = [
        SoftLabels(item.path.parent, label_map=label_map, made_by="predict")
        for item in inputs
    ]
    if config.dry_run:
        logging.info("would combine %d teachers into %s", len(teachers), out_dir)
        return
    writer = store.Writer(
        out_dir,
        k=config.predict.top_k,
        label_map=label_map,
        made_by="combine",
        key=job.key,
        provenance=[entry for teacher in teachers for entry in teacher.provenance],
    )
    _combine(teachers, np.array(config.combine.weights), label_map, writer)
    shards = sorted(out_dir.glob("shard-*.npy"))
    names = list(config.combine.teachers)
    job.finish(
        outputs=[out_dir / "store.json", *shards],
        metrics={"rows": writer.rows_written, "teachers": names},
        label_map=label_map.fingerprint,
    )
    logging.info("%d combined rows in %s", writer.rows_written, out_dir)


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


def _combine(
    teachers: list[SoftLabels],
    weights: np.ndarray,
    label_map: LabelMap,
    writer: store.Writer,
) -> None:
    """Streams over all images that any teacher has seen, in the order of their ids."""
    ids = np.unique(np.concatenate([teacher.image_id for teacher in teachers]))
    ids = ids[writer.rows_written :]
    pending: list[np.ndarray] = []
    starts = range(0, len(ids), _CHUNK)
    for start in track(starts, total=len(starts), what="combine", unit="chunks"):
        chunk = ids[start : start + _CHUNK]
        mixed = mix(teachers, weights, chunk, len(label_map))
        pending.append(store.pack(chunk, mixed, writer.k))
        if len(pending) == _SHARD_CHUNKS:
            writer.append(np.concatenate(pending))
            pending = []
    if pending:
        writer.append(np.concatenate(pending))


def mix(
    teachers: list[SoftLabels], weights: np.ndarray, image_id: np.ndarray, classes: int
) -> np.ndarray:
    """The weighted mixture of the teachers that know an image.

    Args:
        teachers: their stores.
        weights: float64 [teachers], positive.
        image_id: uint64 [n], each known to at least one teacher.
        classes: of the label map.

    Returns:
        float64 [n, classes]; a row sums to 1 minus the mixture's tail mass.
    """
    total = np.zeros((len(image_id), classes))
    weight_sum = np.zeros(len(image_id))
    for teacher, weight in zip(teachers, weights, strict=True):
        there = teacher.contains(image_id)
        total[there] += weight * teacher.probabilities(image_id[there], classes)
        weight_sum[there] += weight
    return total / weight_sum[:, None]
