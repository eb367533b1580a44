"""Vector scaling beside the temperature: does it help? Measured, never shipped.

Guo et al. 2017, section 4.2: softmax(w * z + b) with a scale and a bias per class. With
two parameters a class and few photos of most it overfits, so it is fitted with a
penalty towards the temperature's solution (w = 1 / T, b = 0). Unlike a temperature it
changes which class comes first; so the app keeps to the temperature. Whether it helps
is judged by `vector_verdict.py`.

In: logits [n, classes], label int [n]; images at the positions `only` are read in
chunks, so that nothing of the size of the logits is made. Losses are nats.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize

_ITERATIONS = 50
_CHUNK = 4_000_000  # logits at a time: 16 MB as float32


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """softmax(scale * z + bias); both float32 [classes]."""

    scale: np.ndarray
    bias: np.ndarray

    @classmethod
    def of_temperature(cls, temperature: float, classes: int) -> "Scaling":
        scale = np.full(classes, 1 / temperature, np.float32)
        return cls(scale, np.zeros(classes, np.float32))

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
    only: np.ndarray | None = None,
) -> Scaling:
    """Minimises sum NLL + penalty / 2 * (sum (T w - 1)^2 + sum b^2), by L-BFGS.

    Args:
        logits, label: see the module.
        temperature: T, the solution that an infinite penalty would leave.
        penalty: > 0. The NLL of a class's photos outweighs it where the class has many:
            its curvature by b is the sum of p (1 - p), by w that of p (1 - p) z^2.
        class_mask: bool [classes]; the others keep w = 1 / T and b = 0.
        only: positions of the images to fit; None is all.
    """
    found = Scaling.of_temperature(temperature, logits.shape[1])
    kept = np.ones(len(found.scale), bool) if class_mask is None else class_mask
    images = np.arange(len(label)) if only is None else only
    size = int(kept.sum())
    start = np.repeat([1.0, 0.0], size)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, by_scale, by_bias = _loss(
            logits, label, theta[:size] / temperature, theta[size:], kept, images
        )
        away = theta - start
        loss += penalty / 2 * float(away @ away)
        gradient = np.concatenate([by_scale / temperature, by_bias]) + penalty * away
        return loss / len(images), gradient / len(images)

    options = {"maxiter": _ITERATIONS}
    theta = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    found.scale[kept], found.bias[kept] = theta[:size] / temperature, theta[size:]
    return found


def _loss(
    logits: np.ndarray,
    label: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    kept: np.ndarray,
    images: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Sum of the NLL of softmax(scale * z + bias), and its gradients by both.

    Args:
        logits, label: of all images.
        scale, bias: float [k], of the classes kept.
        kept: bool [classes], k of them True.
        images: positions of those that are summed.
    """
    size = len(scale)
    loss, by_scale, by_bias = 0.0, np.zeros(size), np.zeros(size)
    position = np.cumsum(kept) - 1
    step = max(1, _CHUNK // len(kept))
    for start in range(0, len(images), step):
        rows = images[start : start + step]
        part = logits[rows].astype(np.float32, copy=False)
        part = part if kept.all() else part[:, kept]
        each, own = np.arange(len(rows)), position[label[rows]]
        scores = part * scale.astype(np.float32) + bias.astype(np.float32)
        scores -= scores.max(axis=1, keepdims=True)
        right = scores[each, own]
        probability = np.exp(scores, out=scores)
        total = probability.sum(axis=1, keepdims=True)
        loss += float((np.log(total[:, 0]) - right).sum(dtype=np.float64))
        probability /= total
        probability[each, own] -= 1  # now the gradient by the scores
        by_bias += probability.sum(axis=0, dtype=np.float64)
        by_scale += (probability * part).sum(axis=0, dtype=np.float64)
    return loss, by_scale, by_bias
