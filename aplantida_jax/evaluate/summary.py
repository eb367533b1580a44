"""What `metrics.json` of an evaluation says; pure, from predictions and the label map.

    {run, split, region, model, weights, images, classes, classes_in_split, label_map,
     class_mask{region, classes, of, images_outside} | null, chance_top1_accuracy,
     top1_accuracy, top5_accuracy, loss, macro_recall, genus_accuracy, ece, mce,
     bootstrap{resampled: "groups", groups, resamples, seed},
     intervals{field: [low, high] | null}, bands{band: {..., intervals{...}}},
     per_region{region: {..., intervals{...}}}, country{...} | null,
     confusions[{...}], provenance[{name, kind, licences}]}

Accuracies and calibration errors are shares, 0 to 1; `loss` is the mean negative
log-likelihood in nats (null when a mask excludes a true class); intervals are 95 %, by
bootstrap over groups of photos that belong together (see `intervals.py`). Of a band or
region without images every figure is null.
"""

import dataclasses
from typing import Any

import numpy as np

from aplantida_jax.data import regions
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import calibration, intervals, metrics, places
from aplantida_jax.evaluate.answers import Answers
from aplantida_jax.evaluate.ece_interval import ece_interval
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.places import Judged


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What is evaluated, and on what.

    Attributes:
        run: name of the experiment.
        model: e.g. {"name": "mobilenet_v2_1.0", "image_size": 224}.
        weights: where the parameters come from, e.g. "best checkpoint, step 1200".
        split, region: as in the configuration.
        label_map: of all classes.
        trained_on: region of a regional teacher, "" for all plants.
        train_images: int [classes], training images of each class.
        provenance: ancestors, for the licence verdict.
    """

    run: str
    model: dict[str, Any]
    weights: str
    split: str
    region: str
    label_map: LabelMap
    trained_on: str
    train_images: np.ndarray
    provenance: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Options:
    """The parts of the configuration that change the numbers."""

    bins: int
    bootstrap: int
    confusions: int
    country: str
    country_prior: float
    seed: int


def options_of(config: Any) -> Options:
    return Options(
        bins=config.calibrate.bins,
        bootstrap=config.eval.bootstrap,
        confusions=config.eval.confusions,
        country=config.eval.country,
        country_prior=config.eval.country_prior,
        seed=config.seed,
    )


def region_mask(label_map: LabelMap, region: str) -> np.ndarray | None:
    """bool [classes] that a model trained on `region` answers with; None is all.

    `region` is like `config.region`. A regional teacher keeps the global label map and
    answers with its own classes everywhere; photos of other plants count as wrong.
    """
    parsed = regions.parse(region)
    return np.array(label_map.in_regions(parsed)) if parsed else None


def summarise(
    subject: Subject,
    image_id: np.ndarray,
    label: np.ndarray,
    logits: np.ndarray,
    *,
    group: np.ndarray,
    options: Options,
) -> tuple[dict[str, Any], Answers]:
    """The content of `metrics.json`, and the answers that it sums up.

    Shapes: image_id uint64 [n], label int32 [n], logits float32 [n, classes], group
    uint64 [n] as in `Answers`.
    """
    mask = region_mask(subject.label_map, subject.trained_on)
    genus_of, _ = answers_lib.genera(subject.label_map)
    answers = answers_lib.judge(
        image_id, label, logits, genus_of=genus_of, class_mask=mask, group=group
    )
    judged = Judged(
        answers, logits, subject.label_map, mask, options.bootstrap, options.seed
    )
    drawn = {"resamples": options.bootstrap, "seed": options.seed}
    groups = len(np.unique(group))
    found = {
        **_header(subject, mask, label),
        **metrics.accuracy(answers),
        **_calibration_errors(answers, options),
        "bootstrap": {"resampled": "groups", "groups": groups, **drawn},
        "intervals": _intervals(answers, options),
        "bands": metrics.by_band(answers, subject.train_images, **drawn),
        "per_region": places.per_region(judged),
        "country": _country(judged, options),
        "confusions": _named_confusions(subject.label_map, answers, options),
        "provenance": subject.provenance,
    }
    return found, answers


def mask_note(
    region: str, mask: np.ndarray | None, label: np.ndarray
) -> dict[str, Any] | None:
    """How a class mask is told of in JSON."""
    if mask is None:
        return None
    return {
        "region": region,
        "classes": int(mask.sum()),
        "of": len(mask),
        "images_outside": int((~mask[label]).sum()),
    }


def per_class(subject: Subject, answers: Answers) -> list[dict[str, Any]]:
    """A row per class that occurs in the split, the least recalled first.

    A class's few photos may all be right, so its interval is Wilson's, by group.
    """
    classes, images, recall = metrics.per_class_recall(answers.label, answers.correct)
    order = np.lexsort((classes, -images, recall))
    ends = np.cumsum(images)
    by_class = np.split(np.argsort(answers.label, kind="stable"), ends[:-1])
    return [
        {
            "class_id": int(classes[i]),
            "latin_name": subject.label_map.taxa[classes[i]].latin_name,
            "images": int(images[i]),
            "train_images": int(subject.train_images[classes[i]]),
            "recall": float(recall[i]),
            "recall_interval": intervals.wilson_by_group(
                answers.correct[by_class[i]], answers.group[by_class[i]]
            ),
        }
        for i in order
    ]


def _header(
    subject: Subject, mask: np.ndarray | None, label: np.ndarray
) -> dict[str, Any]:
    classes = len(subject.label_map)
    return {
        "run": subject.run,
        "split": subject.split,
        "region": subject.region,
        "model": subject.model,
        "weights": subject.weights,
        "label_map": subject.label_map.fingerprint,
        "classes": classes,
        "classes_in_split": len(np.unique(label)),
        "class_mask": mask_note(subject.trained_on, mask, label),
        "chance_top1_accuracy": 1 / (classes if mask is None else int(mask.sum())),
    }


def _calibration_errors(answers: Answers, options: Options) -> dict[str, float | None]:
    table = calibration.reliability(
        answers.confidence, answers.correct, bins=options.bins
    )
    return {"ece": table.ece, "mce": table.mce}


def _country(judged: Judged, options: Options) -> dict[str, Any] | None:
    return places.country(judged, code=options.country, weight=options.country_prior)


def _intervals(answers: Answers, options: Options) -> dict[str, list[float] | None]:
    drawn = {"resamples": options.bootstrap, "seed": options.seed}
    groups = Groups.of(answers.group)
    return metrics.accuracy_intervals(answers, **drawn) | {
        "ece": ece_interval(
            answers.confidence, answers.correct, groups, bins=options.bins, **drawn
        )
    }


def _named_confusions(
    label_map: LabelMap, answers: Answers, options: Options
) -> list[dict[str, Any]]:
    rows = metrics.confusions(answers, limit=options.confusions)
    taxa = label_map.taxa
    for row in rows:
        true, predicted = taxa[row["true"]], taxa[row["predicted"]]
        row["true_name"] = true.latin_name
        row["predicted_name"] = predicted.latin_name
        row["same_genus"] = true.genus == predicted.genus
    return rows
