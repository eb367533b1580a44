"""Writes an evaluation: numbers, compact predictions and pictures, in one directory.

metrics.json       see `summary.py`
per_class.json     {classes: [{class_id, latin_name, images, train_images, recall,
                   recall_interval}]}
predictions.npz    image_id uint64 [n], label int32 [n], top_class int32 [n, 5],
                   top_probability float32 [n, 5], label_rank int32 [n],
                   group uint64 [n]; see `answers.Answers`
regions.png        top-1 per region, and by number of training images
confusions.png     the genera that are mistaken most
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import records
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import metrics, plot_style, plots, share_plots, summary
from aplantida_jax.evaluate.answers import Answers
from aplantida_jax.evaluate.summary import Options, Subject

METRICS = "metrics.json"
PER_CLASS = "per_class.json"
PREDICTIONS = "predictions.npz"
# What the manifest of an evaluation repeats.
HEADLINE = ("images", "top1_accuracy", "top5_accuracy", "loss", "macro_recall", "ece")
_GENERA = 16  # rows of the confusion matrix that stay readable


def train_images(config: Any, region: str, classes: int) -> np.ndarray:
    """int64 [classes]: images of each class in the train split of `region`."""
    path = paths.split_file(config, "train", region)
    photos = records.read_photos(path, made_by="split")
    return metrics.counts_of([photo.class_id for photo in photos], classes)


def groups_of(split_path: Path, image_id: np.ndarray) -> np.ndarray:
    """uint64 [n]: the group of each photo; its own id where none is known."""
    group = {
        int(photo.image_id, 16): int(photo.group_id or photo.image_id, 16)
        for photo in records.read_photos(split_path, made_by="split")
    }
    return np.array([group[int(i)] for i in image_id], np.uint64)


def evaluated_by(workdir: Path) -> str:
    """The stage that evaluates a run: `evaluate`, or `baseline`, which trains nothing.

    As an evaluation's manifest says. Where there is none yet, a run is a baseline that
    is named like one ("baseline_linear") and was never trained.
    """
    for path in sorted(workdir.glob(f"evaluate/*/{manifest.MANIFEST}")):
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["stage"])
        except (ValueError, KeyError, TypeError):
            continue  # damaged: refused where it is read
    named = workdir.name.startswith("baseline") and not paths.best(workdir).exists()
    return "baseline" if named else "evaluate"


def check_logits(logits: np.ndarray, *, of: str) -> None:
    """Raises UserError when a model answers with NaN or infinity."""
    if not np.isfinite(logits).all():
        raise UserError(
            f"{of} gives logits that are not finite: its training diverged; run stage "
            "'train' again with a lower train.learning_rate"
        )


def write(
    out_dir: Path,
    subject: Subject,
    image_id: np.ndarray,
    label: np.ndarray,
    logits: np.ndarray,
    *,
    group: np.ndarray,
    options: Options,
) -> tuple[dict[str, Any], list[Path]]:
    """Writes everything into `out_dir`; returns the metrics and the files written.

    Args:
        out_dir: made when it is not there.
        subject: what is evaluated.
        image_id: uint64 [n].
        label: int32 [n].
        logits: float32 [n, classes].
        group: uint64 [n], see `groups_of`.
        options: see `summary.Options`.
    """
    found, answers = summary.summarise(
        subject, image_id, label, logits, group=group, options=options
    )
    written = [
        out_dir / name
        for name in (METRICS, PER_CLASS, PREDICTIONS)
        + ("regions.png", "confusions.png")
    ]
    files.write_json(written[0], found)
    files.write_json(written[1], {"classes": summary.per_class(subject, answers)})
    _save_answers(answers, written[2])
    _draw_shares(found, written[3])
    _draw_genera(subject, answers, written[4])
    log_table(found)
    return found, written


def log_table(found: dict[str, Any]) -> None:
    """The summary on the console."""
    where = f"{found['split']}, {found['region'] or 'all plants'}"
    logging.info("%s on %s: %d images", found["run"], where, found["images"])
    if found["class_mask"]:
        mask = found["class_mask"]
        logging.info(
            "only the %d of %d classes of %s may be answered",
            mask["classes"],
            mask["of"],
            mask["region"],
        )
    for field in ("top1_accuracy", "top5_accuracy", "macro_recall", "genus_accuracy"):
        logging.info("  %-16s %s", field, _share(found[field], found, field))
    if found["loss"] is not None:
        logging.info("  %-16s %6.3f nats", "loss", found["loss"])
    logging.info("  %-16s %s", "ece", _share(found["ece"], found, "ece"))
    logging.info("  %-16s %6.2f %%", "chance", 100 * found["chance_top1_accuracy"])
    for region, row in found["per_region"].items():
        if row["images"]:
            logging.info(
                "  %-16s %6.2f %% of %d images",
                region,
                100 * row["top1_accuracy"],
                row["images"],
            )


def _save_answers(answers: Answers, path: Path) -> None:
    with files.atomic_open(path) as out:
        np.savez_compressed(
            out,
            image_id=answers.image_id,
            label=answers.label,
            top_class=answers.top_class,
            top_probability=answers.top_probability,
            label_rank=answers.label_rank,
            group=answers.group,
        )


def _share(value: float, found: dict[str, Any], field: str) -> str:
    interval = found["intervals"].get(field)
    text = f"{100 * value:6.2f} %"
    if interval is None:
        return text
    return f"{text} ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


def _draw_shares(found: dict[str, Any], path: Path) -> None:
    with plot_style.themed() as palette:
        figure = plot_style.new_figure(8.6, 3.4)
        left, right = figure.subplots(1, 2)
        share_plots.regions(left, palette, found)
        share_plots.bands(right, palette, found)
        plot_style.save(figure, path)


def _draw_genera(subject: Subject, answers: Answers, path: Path) -> None:
    _, names = answers_lib.genera(subject.label_map)
    shown, shares = metrics.genus_matrix(answers, limit=_GENERA)
    side = 2.2 + 0.36 * len(shown)
    with plot_style.themed() as palette:
        figure = plot_style.new_figure(side + 0.4, side)
        axes = figure.subplots()
        plots.matrix(axes, palette, shares, [names[genus] for genus in shown])
        axes.set_title("genera mistaken most, % of the true genus's images")
        plot_style.save(figure, path)
