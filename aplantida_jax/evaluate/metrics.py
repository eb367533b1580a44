"""Accuracy in its several senses, from `Answers` (see `answers.py`) to plain numbers.

In: per-image arrays [n]. Out: floats in 0..1 (loss in nats), None where there are no
images. Names are those of the plan: top1_accuracy, top5_accuracy, loss.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aplantida_jax.evaluate import intervals
from aplantida_jax.evaluate.answers import Answers
from aplantida_jax.evaluate.intervals import Groups

# Classes by number of training images (lowest, highest), a factor of ten from band to
# band: the collection runs from 1 (1,504 of 8,587 classes) to thousands, with 86 on
# average, so each band holds many classes. "one_shot" stands apart because such a class
# has nothing to generalise from; "unseen" only occurs with split.method=random.
BANDS = {
    "unseen": (0, 0),
    "one_shot": (1, 1),
    "tail": (2, 9),
    "mid": (10, 99),
    "head": (100, None),
}
_EXAMPLES = 6  # image ids kept for a confused pair


def mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def accuracy(answers: Answers) -> dict[str, Any]:
    """images, top1_accuracy, top5_accuracy, loss, genus_accuracy, macro_recall.

    A genus is right when the one with the greatest summed probability is the true one:
    it can be right where the species is wrong, and the other way about.
    """
    return {
        "images": len(answers),
        "top1_accuracy": mean(answers.correct),
        "top5_accuracy": mean(answers.label_rank < 5),
        "loss": loss(answers),
        "genus_accuracy": mean(answers.genus_correct),
        "macro_recall": macro_recall(answers.label, answers.correct),
    }


def loss(answers: Answers) -> float | None:
    """Mean NLL in nats; None when a true class lies outside of the model's mask."""
    return mean(answers.nll) if np.isfinite(answers.nll).all() else None


def accuracy_intervals(
    answers: Answers, *, resamples: int, seed: int
) -> dict[str, list[float] | None]:
    """95 % intervals of what `accuracy` returns, by bootstrap over `answers.group`.

    Where all photos are right, or all wrong, no resample differs from another: then a
    share's interval is Wilson's with as many trials as there are groups.
    """
    groups = Groups.of(answers.group)
    statistics = {
        "top1_accuracy": intervals.mean_of(answers.correct, groups),
        "top5_accuracy": intervals.mean_of(answers.label_rank < 5, groups),
        "genus_accuracy": intervals.mean_of(answers.genus_correct, groups),
    }
    if np.isfinite(answers.nll).all():
        statistics["loss"] = intervals.mean_of(answers.nll, groups)
    drawn = {"resamples": resamples if groups.count > 1 else 0, "seed": seed}
    found = intervals.bootstrap(statistics, groups, resamples=resamples, seed=seed)
    found["macro_recall"] = intervals.percentiles(
        intervals.macro_replicates(answers.correct, answers.label, groups, **drawn)
    )
    for name, ends in found.items():
        if name != "loss" and ends in ([0.0, 0.0], [1.0, 1.0]):
            found[name] = intervals.wilson(int(ends[0]) * groups.count, groups.count)
    return found


def per_class_recall(
    label: np.ndarray, correct: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(classes that occur, images of each, recall of each), by class id."""
    classes, index = np.unique(label, return_inverse=True)
    images = np.bincount(index, minlength=len(classes))
    right = np.bincount(index, weights=correct, minlength=len(classes))
    return classes, images, right / np.maximum(images, 1)


def macro_recall(label: np.ndarray, correct: np.ndarray) -> float | None:
    """The mean over the classes that occur of the share of their images found."""
    return mean(per_class_recall(label, correct)[2])


def band_members(label: np.ndarray, train_images: np.ndarray) -> dict[str, np.ndarray]:
    """bool [n] per band: the images whose class has so many training images.

    Args:
        label: int [n], the true classes.
        train_images: int [classes], training images of each class.
    """
    of_image = train_images[label]
    found = {
        band: (of_image >= lowest) & (highest is None or of_image <= highest)
        for band, (lowest, highest) in BANDS.items()
    }
    if not found["unseen"].any():
        del found["unseen"]
    return found


def by_band(
    answers: Answers, train_images: np.ndarray, *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Accuracy by how many training images the true class has, with intervals.

    Args:
        answers: n images.
        train_images: int [classes], training images of each class.
        resamples, seed: of the bootstrap.
    """
    rows = {}
    for band, inside in band_members(answers.label, train_images).items():
        part = answers.at(inside)
        lowest, highest = BANDS[band]
        rows[band] = {
            "train_images": [lowest, highest],
            "classes": len(np.unique(part.label)),
            **accuracy(part),
            "intervals": accuracy_intervals(part, resamples=resamples, seed=seed),
        }
    return rows


def band_name(band: str) -> str:
    """A label of two lines, e.g. "tail\\n2-9"."""
    low, high = BANDS[band]
    span = f"{low}+" if high is None else f"{low}" if low == high else f"{low}-{high}"
    return f"{band.replace('_', ' ')}\n{span}"


def confusions(answers: Answers, *, limit: int) -> list[dict[str, Any]]:
    """The `limit` pairs (true, predicted) that are mistaken most often.

    Pairs of the same count come in the order of their share of the true class's images,
    then of class ids. `image_ids` are up to six of the photos as 16 hex digits, the
    most confident mistake first.
    """
    wrong = answers.at(~answers.correct)
    pairs = np.stack([wrong.label, wrong.top_class[:, 0]], axis=1)  # [m, 2]
    unique, index, count = np.unique(
        pairs, axis=0, return_inverse=True, return_counts=True
    )
    index = index.reshape(-1)
    of_class = dict(zip(*np.unique(answers.label, return_counts=True), strict=True))
    share = np.array([count[i] / of_class[t] for i, (t, _) in enumerate(unique)])
    ranking = np.lexsort((unique[:, 1], unique[:, 0], -share, -count))[:limit]
    rows = []
    for pair in ranking:
        found = np.flatnonzero(index == pair)
        found = found[np.argsort(-wrong.confidence[found], kind="stable")]
        rows.append(
            {
                "true": int(unique[pair, 0]),
                "predicted": int(unique[pair, 1]),
                "count": int(count[pair]),
                "share": float(share[pair]),
                "mean_probability": float(wrong.confidence[found].mean()),
                "image_ids": [hex_id(i) for i in wrong.image_id[found[:_EXAMPLES]]],
            }
        )
    return rows


def genus_matrix(answers: Answers, *, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of each true genus's images by answered genus, for the most mistaken ones.

    Returns:
        (genus ids int [g], shares float [g, g]), g <= limit; rows sum to at most 1 (the
        rest was taken for a genus that is not shown).
    """
    genus, index = np.unique(answers.genus, return_inverse=True)
    errors = np.bincount(index, weights=~answers.genus_correct, minlength=len(genus))
    shown = np.sort(genus[np.argsort(-errors, kind="stable")[:limit]])
    matrix = np.zeros((len(shown), len(shown)))
    for row, true in enumerate(shown):
        answered = answers.top_genus[answers.genus == true]
        matrix[row] = [(answered == other).mean() for other in shown]
    return shown, matrix


def counts_of(labels: Sequence[int] | np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes]: how often each class occurs in `labels`."""
    return np.bincount(np.asarray(labels, np.int64), minlength=classes)


def hex_id(image_id: int | np.integer) -> str:
    """The 16 hex digits of `records.Photo.image_id`."""
    return f"{int(image_id):016x}"
