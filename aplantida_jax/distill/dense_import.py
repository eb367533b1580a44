"""Dense soft labels of others -> a store, as if their teacher had run here.

A photo is found by the file's `image_id` where it has them, else by the order of the
split file, and then the counts must agree. In either case the file's `indices` must be
the split's labels. It goes on after the last whole block.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
from absl import logging

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels, records, regions
from aplantida_jax.distill import rows
from aplantida_jax.distill.dense_file import DenseFile
from aplantida_jax.distill.store import Writer
from aplantida_jax.progress import track

_CHUNK_BYTES = 32e6  # of float32 logits at a time
_BLOCK_ROWS = 65_536


def run(config: Any) -> None:
    """Stage predict with `config.predict.import_npz`."""
    split_path = paths.split_file(config, config.predict.split, config.region)
    out_dir = paths.soft_labels(config, config.name, config.predict.split)
    path = Path(config.predict.import_npz)
    source = DenseFile(path)
    job = manifest.begin(
        config,
        stage="predict",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(split_path, "split"),
            manifest.Input(path, "predict"),
        ],
        depends_on=("predict", "region", "model.pretrained_licence"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    source.require_classes(len(label_map))
    row, image_id = _photos(source, split_path)
    if config.dry_run:
        logging.info("would import %d of %d rows", len(row), source.count)
        return
    source.verify()
    writer = Writer(
        out_dir,
        k=config.predict.top_k,
        label_map=label_map,
        made_by="predict",
        key=job.key,
        provenance=[_ancestor(config, path)],
        regions=[config.region],
    )
    covered = np.array(label_map.in_regions(regions.parse(config.region)))
    _import(source, row, image_id, covered, writer)
    metrics = {**writer.metrics(), "imported": path.name}
    job.finish(outputs=writer.outputs, metrics=metrics, label_map=label_map.fingerprint)
    logging.info("%s in %s: %s", path, out_dir, writer.summary())


def _ancestor(config: Any, path: Path) -> dict[str, Any]:
    licence = config.model.pretrained_licence or "unknown"
    return {"name": path.name, "kind": "teacher", "licences": [licence]}


def _photos(source: DenseFile, split_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of the file are a split's photos, int [n] ascending; their ids [n]."""
    photos = list(records.read_rows(split_path, made_by="split"))
    image_id = np.array([int(photo["image_id"], 16) for photo in photos], np.uint64)
    label = np.array([photo["class_id"] for photo in photos], np.int64)
    row = source.rows_of(image_id, of=split_path)
    source.require_labels(row, label, of=split_path)
    order = np.argsort(row)
    return row[order], image_id[order]


def _import(
    source: DenseFile,
    row: np.ndarray,
    image_id: np.ndarray,
    covered: np.ndarray,
    writer: Writer,
) -> None:
    """Appends what is missing, block by block, in the order of the file.

    Classes that are not `covered`, bool [c], have no say, as in a teacher that runs.
    """
    done = writer.rows_written
    row, image_id = row[done:], image_id[done:]
    pending: list[np.ndarray] = []
    sum_error: list[float] = []
    chunk = max(1, int(_CHUNK_BYTES // (4 * source.classes)))
    chunks = source.logits(chunk)
    total = -(-source.count // chunk)
    for start, logits in track(chunks, total=total, what="import", unit="chunks"):
        low, high = np.searchsorted(row, (start, start + len(logits)))
        if low == high:
            continue
        wanted = logits[row[low:high] - start].astype(np.float64)
        probability = scipy.special.softmax(np.where(covered, wanted, -np.inf), axis=1)
        top = rows.top(probability, writer.layout.k)
        pending.append(rows.pack(image_id[low:high], *top, writer.layout))
        sum_error.append(float(rows.sum_error(top[1], top[2]).max()))
        if sum(len(part) for part in pending) >= _BLOCK_ROWS:
            writer.append(np.concatenate(pending), {"sum_error": [max(sum_error)]})
            pending, sum_error = [], []
    if pending:
        writer.append(np.concatenate(pending), {"sum_error": [max(sum_error)]})
