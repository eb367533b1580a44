"""Can a score tell what the model knows from what it cannot know?

In: a score of each known picture, [n], and of each unknown one, [m]; higher means
"known". AUROC and the false positive rate at 95 % true positives are those of Hendrycks
and Gimpel 2017, "A baseline for detecting misclassified and out-of-distribution
examples", and Liang et al. 2018 (ODIN); the energy is that of Liu et al. 2020,
"Energy-based out-of-distribution detection". Shares, 0 to 1.
"""

import functools
import math
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import rankdata

from aplantida_jax.evaluate import detection_intervals
from aplantida_jax.evaluate.intervals import Groups

TPR = 0.95
SCORES = ("confidence", "max_logit", "energy")


def scores_of(
    logits: np.ndarray, confidence: np.ndarray, class_mask: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The scores of n pictures, each float [n], by their name in `SCORES`.

    Args:
        logits: float [n, classes], before any temperature.
        confidence: [n], the greatest probability after calibration: what the app has.
        class_mask: bool [classes]; classes that may be answered.

    "energy" is its negative, log sum exp(z), so that it rises like the others.
    """
    kept = logits if class_mask is None else logits[:, class_mask]
    return {
        "confidence": np.asarray(confidence),
        "max_logit": kept.max(axis=1, initial=-np.inf),
        "energy": logsumexp(kept.astype(np.float64), axis=1),
    }


def auroc(known: np.ndarray, unknown: np.ndarray) -> float | None:
    """Chance that a known picture scores higher than an unknown one; ties count half.

    The Mann-Whitney U statistic over n m; None when either has no picture.
    """
    n, m = len(known), len(unknown)
    if not n or not m:
        return None
    ranks = rankdata(np.concatenate([known, unknown]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def fpr_at_tpr(
    known: np.ndarray, unknown: np.ndarray, *, tpr: float = TPR
) -> float | None:
    """Share of the unknown pictures that pass where `tpr` of the known ones do.

    The bar is the highest that lets at least that share of the known pictures pass, and
    a picture at the bar passes; None when either has no picture.
    """
    if not len(known) or not len(unknown):
        return None
    return float((unknown >= _bar(np.sort(known), tpr)).mean())


def _bar(ordered: np.ndarray, tpr: float) -> float:
    """The highest that `tpr` of the ordered scores pass."""
    # Rounded first: 0.95 * 20 is a little more than 19 in binary.
    least = max(1, math.ceil(round(tpr * len(ordered), 9)))
    return float(ordered[-least])


def separate(
    known: dict[str, np.ndarray],
    unknown: dict[str, np.ndarray],
    known_groups: Groups,
    groups: Groups,
) -> dict[str, dict[str, Any]]:
    """How well each score tells them apart.

    Args:
        known, unknown: what `scores_of` returned for both.
        known_groups, groups: which of the known, and of the unknown, belong together.

    Returns:
        {score: {auroc, auroc_interval, fpr_at_95_tpr, fpr_interval}}.
    """
    found = {}
    for name in SCORES:
        both = (known[name], unknown[name])
        bar_at = functools.partial(_bar, np.sort(known[name]))
        found[name] = {
            "auroc": auroc(*both),
            "auroc_interval": detection_intervals.of_auroc(*both, known_groups, groups),
            "fpr_at_95_tpr": fpr_at_tpr(*both),
            "fpr_interval": detection_intervals.of_fpr(
                *both, known_groups, groups, bar_at=bar_at, tpr=TPR
            ),
        }
    return found


def best_score(
    known: dict[str, np.ndarray], unknown: dict[str, np.ndarray]
) -> str | None:
    """The score with the greatest AUROC, of equal ones the first; None of nothing.

    `known` and `unknown` are what `scores_of` returned for both.
    """
    areas = {name: auroc(known[name], unknown[name]) for name in SCORES}
    found = {name: area for name, area in areas.items() if area is not None}
    return max(found, key=lambda name: found[name]) if found else None
