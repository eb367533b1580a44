"""Stage predict: a teacher's soft labels for a split -> its soft-label store.

Reads the run's best checkpoint and the split of its region; writes
`<data_dir>/soft_labels/<name>/<split>/`. With `predict.views` a row is of a recorded
random view, else of the evaluation view. Goes on after the last whole shard, and ends
with the bytes of an undisturbed run.
"""

from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels, pipeline, views
from aplantida_jax.data.image_source import ImageSource, open_images
from aplantida_jax.data.load import Examples
from aplantida_jax.distill import dense, dense_import, rows, store
from aplantida_jax.distill.labelling import Labelling
from aplantida_jax.distill.teacher import Teacher
from aplantida_jax.train import checkpoint
from aplantida_jax.train.interrupt import Interrupt


def run(config: Any, workdir: Path) -> None:
    """Predicts `config.predict.split` of the teacher's region, or imports it."""
    if config.predict.import_npz:
        dense_import.run(config)
        return
    split_path = paths.split_file(config, config.predict.split, config.region)
    out_dir = paths.soft_labels(config, config.name, config.predict.split)
    job = manifest.begin(
        config,
        stage="predict",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(split_path, "split"),
            manifest.Input(paths.best(workdir), "train"),
        ],
        depends_on=("input", "predict", "region")
        + (("augment",) if config.predict.views else ()),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    best = checkpoint.load_best(workdir, label_map)
    images = open_images(config)
    examples = _examples(config, split_path, images)
    if config.dry_run:
        _foresee(config, len(examples), len(label_map))
        return
    _label(config, best, label_map, examples, images, job)


def _label(
    config: Any,
    best: checkpoint.Best,
    label_map: labels.LabelMap,
    examples: Examples,
    images: ImageSource,
    job: manifest.Job,
) -> None:
    """The work itself; a signal ends it at once, for shards are written whole."""
    teacher = Teacher(
        best, label_map, top_k=config.predict.top_k, augment=config.augment
    )
    writer = _writer(config, best, label_map, job)
    count, out_dir = len(examples), job.out_dir
    with Interrupt() as interrupt:
        try:
            labelling = Labelling(config, teacher, writer, out_dir, images=count)
            labelling.go_through(examples, images)
        except KeyboardInterrupt:
            kept = f"{writer.images_written} of {count} images are kept"
            raise interrupt.error(kept) from None
    job.finish(
        outputs=writer.outputs + labelling.outputs,
        metrics=labelling.metrics(),
        label_map=label_map.fingerprint,
    )
    logging.info("%s in %s: %s", config.name, out_dir, writer.summary())


def _examples(config: Any, split_path: Path, images: ImageSource) -> Examples:
    """The split, with smart-crop boxes where its views are cropped by them."""
    of_view = "smart_crop" if config.predict.views else "eval_smart_crop"
    smart_crop = config.input[of_view] and not config.dry_run
    return pipeline.read_examples(config, split_path, images, smart_crop=smart_crop)


def _foresee(config: Any, images: int, classes: int) -> None:
    """What it will take, for --dry_run."""
    count = images * max(1, config.predict.views)
    layout = rows.Layout(config.predict.top_k, classes, config.predict.views > 0)
    logging.info(
        "dry run: would predict %d images with %s: %d rows of %d bytes, %.1f MB",
        images,
        config.name,
        count,
        layout.row_type.itemsize,
        count * layout.row_type.itemsize / 1e6,
    )
    if config.predict.dense:
        needed = dense.bytes_needed(images, classes) / 1e6
        logging.info("dry run: dense.npz takes %.1f MB while it is made", needed)


def _writer(
    config: Any, best: checkpoint.Best, label_map: labels.LabelMap, job: manifest.Job
) -> store.Writer:
    size, resize = best.info["model"]["image_size"], best.info["input"]["resize"]
    least = pipeline.least_side(image_size=size, resize=resize)
    header = views.header(config, image_size=size, least_side=least)
    return store.Writer(
        job.out_dir,
        k=config.predict.top_k,
        label_map=label_map,
        made_by="predict",
        key=job.key,
        provenance=[
            {"name": config.name, "kind": "teacher", "licences": []},
            *best.info["provenance"],
        ],
        regions=[best.info["region"]],
        views=header if config.predict.views else None,
    )
