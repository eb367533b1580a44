"""Stage `evaluate`: the metrics of a trained model on a named split.

Reads the best checkpoint of the working directory and the split `config.eval.split` of
`config.region`; writes `<workdir>/evaluate/<split>/` (see `outputs.py`; `page.py` adds
an index.html to look at). A regional
teacher answers with the classes of its region only, and the JSON says so.
"""

from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels, records
from aplantida_jax.evaluate import inference, outputs, page, summary
from aplantida_jax.evaluate.summary import Subject
from aplantida_jax.train import checkpoint


def run(config: Any, workdir: Path) -> None:
    split, region = config.eval.split, config.region
    out_dir = paths.evaluation_dir(workdir, split, region)
    split_path = paths.split_file(config, split, region)
    job = manifest.begin(
        config,
        stage="evaluate",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(paths.best(workdir), "train"),
            manifest.Input(split_path, "split"),
            manifest.Input(paths.split_file(config, "train", region), "split"),
        ],
        depends_on=("calibrate.bins", "eval", "input", "region"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    if config.dry_run:
        images = sum(1 for _ in records.read_photos(split_path, made_by="split"))
        logging.info("would evaluate %d images of %s into %s", images, split, out_dir)
        return
    best = checkpoint.load_best(workdir, label_map)
    predictions = inference.run(config, best, split_path, label_map)
    outputs.check_logits(predictions.logits, of=str(paths.best(workdir)))
    found, written = outputs.write(
        out_dir,
        subject_of(config, best.info, label_map),
        predictions.image_id,
        predictions.label,
        predictions.logits,
        group=outputs.groups_of(split_path, predictions.image_id),
        options=summary.options_of(config),
    )
    written.append(page.write(config, out_dir, found))
    headline = {name: found[name] for name in outputs.HEADLINE}
    job.finish(outputs=written, metrics=headline, label_map=label_map.fingerprint)


def subject_of(
    config: Any, info: dict[str, Any], label_map: labels.LabelMap
) -> Subject:
    """What `info` (best.json) describes, on the split that `config` names."""
    return Subject(
        run=info["name"],
        model=info["model"],
        weights=f"best checkpoint, step {info['step']}",
        split=config.eval.split,
        region=config.region,
        label_map=label_map,
        trained_on=info["region"],
        train_images=outputs.train_images(config, config.region, len(label_map)),
        provenance=info["provenance"],
    )
