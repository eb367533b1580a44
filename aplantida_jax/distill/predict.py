"""Stage predict: a teacher's soft labels for a split -> its soft-label store.

Reads the run's best checkpoint and the split of its region; writes
`<data_dir>/soft_labels/<name>/<split>/`. Goes on after the last whole shard.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
from absl import logging

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.distill import store
from aplantida_jax.evaluate import inference
from aplantida_jax.train import checkpoint

_SHARD_ROWS = 65_536  # about 9 MB at k = 32


def run(config: Any, workdir: Path) -> None:
    """Predicts `config.predict.split` of the teacher's region."""
    split = config.predict.split
    split_path = paths.split_file(config, split, config.region)
    out_dir = paths.soft_labels(config, config.name, split)
    job = manifest.begin(
        config,
        stage="predict",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(split_path, "split"),
            manifest.Input(paths.best(workdir), "train"),
        ],
        depends_on=("input", "predict", "region"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    best = checkpoint.load_best(workdir, label_map)
    if config.dry_run:
        logging.info("would predict %s with %s", split_path, config.name)
        return
    writer = store.Writer(
        out_dir,
        k=config.predict.top_k,
        label_map=label_map,
        made_by="predict",
        key=job.key,
        provenance=[
            {"name": config.name, "kind": "teacher", "licences": []},
            *best.info["provenance"],
        ],
    )
    rows = _predict(config, best, split_path, label_map, writer)
    outputs = [out_dir / "store.json", *sorted(out_dir.glob("shard-*.npy"))]
    job.finish(outputs=outputs, metrics={"rows": rows}, label_map=label_map.fingerprint)
    logging.info("%s: %d rows in %s", config.name, rows, out_dir)


def _predict(
    config: Any,
    best: checkpoint.Best,
    split_path: Path,
    label_map: labels.LabelMap,
    writer: store.Writer,
) -> int:
    """Appends what is missing, shard by shard; returns the rows in the store."""
    pending: list[np.ndarray] = []
    for chunk in inference.stream(
        config, best, split_path, label_map, skip=writer.rows_written
    ):
        probability = scipy.special.softmax(chunk.logits.astype(np.float64), axis=1)
        pending.append(store.pack(chunk.image_id, probability, config.predict.top_k))
        if sum(len(rows) for rows in pending) >= _SHARD_ROWS:
            writer.append(np.concatenate(pending))
            pending = []
    if pending:
        writer.append(np.concatenate(pending))
    return writer.rows_written
