"""Does an exported model say what the trained one says? Pure numpy on logits.

Logits are float32 [n images, classes]; the reference is the trained flax model.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from aplantida_jax.evaluate import intervals

CORRELATION = 0.995  # of all logits with the reference's; must be above
TOP1_AGREEMENT = {"saved_model": 0.999, "float32": 0.999, "float16": 0.999} | {
    "uint8": 0.99
}
# Two classes whose reference probabilities differ by less than this share (31.0 % and
# 29.6 %) are a tie: whichever comes first, the user is told the same.
TIE = 0.05
_TOP = 5


def compare(
    reference: np.ndarray,
    logits: np.ndarray,
    *,
    temperature: float,
    threshold: float | None,
) -> dict[str, Any]:
    """How far `logits` are from `reference`.

    Args:
        reference, logits: [n, classes].
        temperature: of the calibration; divides logits before the softmax.
        threshold: of the most probable species; None is never reached.

    Returns:
        max_abs_difference, mean_abs_difference of logits; correlation of all logits;
        top1_agreement (share of images with the same first class), its 95 % interval,
        ties (disagreements that are one) and misses (the others); top5_overlap (mean
        share of the five first classes in common); threshold_flips (images that are
        answered on one side only).
    """
    difference = np.abs(logits.astype(np.float64) - reference)
    answered = [_answered(x, temperature, threshold) for x in (reference, logits)]
    return {
        "max_abs_difference": float(difference.max()),
        "mean_abs_difference": float(difference.mean()),
        "correlation": float(np.corrcoef(reference.ravel(), logits.ravel())[0, 1]),
        **_agreement(reference, logits, temperature),
        "threshold_flips": int((answered[0] != answered[1]).sum()),
    }


def failures(name: str, metrics: Mapping[str, Any], images: int) -> list[str]:
    """What keeps the variant `name` of `TOP1_AGREEMENT` from passing; [] is a pass.

    On fewer than 1,000 images 99.9 % allows no miss at all, and one tie would fail a
    model that is as good as any. So misses are counted without ties, strictly.
    """
    found = []
    # Written so that a correlation that is not a number fails.
    if not metrics["correlation"] > CORRELATION:
        found.append(f"correlation {metrics['correlation']:.5f} <= {CORRELATION}")
    limit = TOP1_AGREEMENT[name]
    allowed = math.floor(round((1 - limit) * images, 9))
    if metrics["misses"] > allowed:
        found.append(
            f"another first species on {metrics['misses']} of {images} images, at most "
            f"{allowed} allowed ({limit:.1%} agreement)"
        )
    return found


def images_needed(limit: float) -> int:
    """Images without a miss from which agreement >= `limit` follows with 95 %.

    The least n with limit^n <= 0.05; about 3 / (1 - limit).
    """
    return math.ceil(math.log(0.05) / math.log(limit))


def _agreement(
    reference: np.ndarray, logits: np.ndarray, temperature: float
) -> dict[str, Any]:
    """The part of `compare` that is about which classes come first."""
    first, wanted = logits.argmax(axis=1), reference.argmax(axis=1)
    row = np.arange(len(reference))
    # Of log probabilities, so approximately the share by which probabilities differ.
    margin = (reference[row, wanted] - reference[row, first]) / temperature
    differs = first != wanted
    agreeing = int((~differs).sum())
    k = min(_TOP, reference.shape[1])
    pairs = zip(_largest(reference, k), _largest(logits, k), strict=True)
    return {
        "top1_agreement": agreeing / len(reference),
        "top1_agreement_interval": intervals.wilson(agreeing, len(reference)),
        "ties": int((differs & (margin < TIE)).sum()),
        "misses": int((differs & (margin >= TIE)).sum()),
        "top5_overlap": float(np.mean([len(np.intersect1d(*p)) / k for p in pairs])),
    }


def _largest(logits: np.ndarray, k: int) -> np.ndarray:
    return np.argpartition(-logits, k - 1, axis=1)[:, :k]


def _answered(
    logits: np.ndarray, temperature: float, threshold: float | None
) -> np.ndarray:
    """bool [n]: the most probable species reaches the threshold."""
    if threshold is None:
        return np.zeros(len(logits), bool)
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return 1 / powers.sum(axis=1) >= threshold
