"""Vector scaling beside the temperature: does it help? Measured, never shipped.

Guo et al. 2017, section 4.2: softmax(w * z + b) with a scale and a bias per class. With
two parameters a class and few photos of most it overfits, so it is fitted with a
penalty towards the temperature's solution (w = 1 / T, b = 0), and judged on val by
cross-validation whose folds never part a group of photos that resemble each other.

In: logits [n, classes], label int [n]. Losses are nats, errors shares, 0 to 1. Unlike a
temperature it changes which class comes first; so the app keeps to the temperature.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy.optimize import minimize

from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import calibration
from aplantida_jax.progress import track

_ITERATIONS = 50
_CHUNK = 4_000_000  # logits at a time: 16 MB as float32


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """softmax(scale * z + bias); both float32 [classes]."""

    scale: np.ndarray
    bias: np.ndarray

    def of(self, logits: np.ndarray) -> np.ndarray:
        """float32 [n, classes]."""
        return logits.astype(np.float32) * self.scale + self.bias


def fit(
    logits: np.ndarray,
    label: np.ndarray,
    *,
    temperature: float,
    penalty: float,
    class_mask: np.ndarray | None = None,
) -> Scaling:
    """Minimises sum NLL + penalty / 2 * (sum (T w - 1)^2 + sum b^2), by L-BFGS.

    Args:
        logits, label: see the module.
        temperature: T, the solution that an infinite penalty would leave.
        penalty: > 0; as much as that many photos of a class.
        class_mask: bool [classes]; the others keep w = 1 / T and b = 0.
    """
    classes = logits.shape[1]
    kept = np.ones(classes, bool) if class_mask is None else class_mask
    z = (logits[:, kept] / temperature).astype(np.float32)
    position = np.cumsum(kept) - 1
    size = z.shape[1]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = _loss(z, position[label], theta[:size], theta[size:])
        away = theta - np.repeat([1.0, 0.0], size)
        loss += penalty / 2 * float(away @ away)
        return loss / len(label), (gradient + penalty * away) / len(label)

    found = minimize(
        objective,
        np.repeat([1.0, 0.0], size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS},
    ).x.astype(np.float32)
    scale = np.full(classes, 1 / temperature, np.float32)
    bias = np.zeros(classes, np.float32)
    scale[kept], bias[kept] = found[:size] / temperature, found[size:]
    return Scaling(scale, bias)


def _loss(
    z: np.ndarray, label: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> tuple[float, np.ndarray]:
    """Sum of the NLL of softmax(scale * z + bias), and its gradient by both."""
    size = z.shape[1]
    loss, by_scale, by_bias = 0.0, np.zeros(size), np.zeros(size)
    step = max(1, _CHUNK // size)
    for start in range(0, len(z), step):
        part, own = z[start : start + step], label[start : start + step]
        rows = np.arange(len(part))
        scores = part * scale.astype(np.float32) + bias.astype(np.float32)
        scores = scores - scores.max(axis=1, keepdims=True)
        right = scores[rows, own]
        probability = np.exp(scores, out=scores)
        total = probability.sum(axis=1, keepdims=True)
        loss += float((np.log(total[:, 0]) - right).sum(dtype=np.float64))
        probability /= total
        probability[rows, own] -= 1  # now the gradient by the scores
        by_bias += probability.sum(axis=0, dtype=np.float64)
        by_scale += (probability * part).sum(axis=0, dtype=np.float64)
    return loss, np.concatenate([by_scale, by_bias])


def cross_validate(
    logits: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    *,
    folds: int,
    penalty: float,
    bins: int,
    class_mask: np.ndarray | None = None,
) -> dict[str, Any] | None:
    """Both ways on photos that neither saw; None with fewer groups than folds.

    Args:
        group: [n], of photos that stay in one fold.
        folds: 2 or more; groups go to them in the order of their keys, by turns.
        bins: of the ECE; the others are those of `fit`.

    Returns:
        {folds, penalty, temperature, vector, better_folds}: both ways as `measure` has
        them, and the number of folds in which vector scaling has the lower loss.
    """
    keys, number = np.unique(group, return_inverse=True)
    if len(keys) < folds:
        return None
    ways = {n: np.zeros(logits.shape, np.float32) for n in ("temperature", "vector")}
    common: dict[str, Any] = {"bins": bins, "class_mask": class_mask}
    better = 0
    for fold in track(range(folds), total=folds, what="vector scaling", unit="folds"):
        out = number % folds == fold
        for way, scaled in zip(
            ways.values(),
            _fitted(logits, label, out, penalty=penalty, class_mask=class_mask),
            strict=True,
        ):
            way[out] = scaled
        losses = [measure(z[out], label[out], **common)["loss"] for z in ways.values()]
        better += losses[1] < losses[0]
    whole = {name: measure(z, label, **common) for name, z in ways.items()}
    return {"folds": folds, "penalty": penalty, **whole, "better_folds": better}


def _fitted(
    logits: np.ndarray,
    label: np.ndarray,
    out: np.ndarray,
    *,
    penalty: float,
    class_mask: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The logits of `out`, scaled in both ways by what was fitted to the others."""
    rest = (logits[~out], label[~out])
    temperature, found = calibration.fit_temperature(*rest, class_mask=class_mask)
    temperature = temperature if found else 1.0
    vector = fit(*rest, temperature=temperature, penalty=penalty, class_mask=class_mask)
    return logits[out] / temperature, vector.of(logits[out])


def measure(
    scores: np.ndarray,
    label: np.ndarray,
    *,
    bins: int,
    class_mask: np.ndarray | None = None,
) -> dict[str, float]:
    """{loss, ece, top1_accuracy} of softmax(scores), float [n, classes], n >= 1."""
    loss, confidence, correct = [], [], []
    for rows, log_probability in answers_lib.log_probabilities(
        scores, class_mask=class_mask
    ):
        own = label[rows]
        loss.append(-log_probability[np.arange(len(own)), own])
        confidence.append(np.exp(log_probability.max(axis=1)))
        correct.append(log_probability.argmax(axis=1) == own)
    right = np.concatenate(correct)
    table = calibration.reliability(np.concatenate(confidence), right, bins=bins)
    return {
        "loss": float(np.concatenate(loss).mean()),
        "ece": float(table.ece or 0.0),
        "top1_accuracy": float(right.mean()),
    }
