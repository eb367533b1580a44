"""Is a confidence of 0.8 right in 80 % of cases, and when should the app say nothing?

In: confidence float [n] (0..1) and correct bool [n], or logits [n, classes] and labels.
Calibration errors are shares, 0 to 1: Guo et al. 2017, "On calibration of modern neural
networks" (ECE, MCE, temperature); Nguyen and O'Connor 2015 (bins of equal mass); Kull
et al. 2019 (class-wise); Brier 1950. Risk-coverage and AURC: Geifman and El-Yaniv 2017.
"""

import dataclasses
from typing import Any

import numpy as np

from aplantida_jax.evaluate import answers as answers_lib

TEMPERATURE_RANGE = (0.01, 100.0)  # a fit that ends here has found no minimum
_ITERATIONS = 60
_CURVE_POINTS = 200  # of the risk-coverage curve that is kept


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in bins; empty bins have count 0 and both values 0.

    Attributes:
        lower, upper: float [bins], edges; a bin holds lower < confidence <= upper.
        count: int [bins].
        confidence: float [bins], mean confidence in the bin.
        accuracy: float [bins], share of correct answers in the bin.
    """

    lower: np.ndarray
    upper: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float | None:
        """Expected calibration error: mean gap, weighted by count."""
        if not self.count.sum():
            return None
        return float((self._gap * self.count).sum() / self.count.sum())

    @property
    def mce(self) -> float | None:
        """Maximum calibration error: the largest gap of a bin that is not empty."""
        return float(self._gap.max()) if self.count.sum() else None

    @property
    def _gap(self) -> np.ndarray:
        return np.abs(self.accuracy - self.confidence)

    def to_json(self) -> list[dict[str, Any]]:
        names = [field.name for field in dataclasses.fields(self)]
        columns = (getattr(self, name).tolist() for name in names)
        return [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]


def reliability(
    confidence: np.ndarray, correct: np.ndarray, *, bins: int
) -> Reliability:
    """The reliability table with `bins` bins of equal width over (0, 1]."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return _table(confidence, correct, edges, equal_width_bin(confidence, bins))


def adaptive_reliability(
    confidence: np.ndarray, correct: np.ndarray, *, bins: int
) -> Reliability:
    """The same with bins of equal mass; equal confidences share a bin.

    High confidences crowd the last equal-width bin, which hides what happens inside.
    """
    inner = []
    if len(confidence):
        shares = np.linspace(0, 1, bins + 1)[1:-1]
        inner = np.quantile(confidence, shares, method="lower").tolist()
    edges = np.unique([0.0, *inner, 1.0])
    index = np.searchsorted(edges, confidence, side="left") - 1
    return _table(confidence, correct, edges, np.clip(index, 0, len(edges) - 2))


def classwise_ece(
    logits: np.ndarray,
    label: np.ndarray,
    *,
    bins: int,
    temperature: float = 1.0,
    class_mask: np.ndarray | None = None,
) -> float:
    """Mean over classes of the ECE of "is it this class?" (Kull et al. 2019, eq. 3).

    With thousands of classes nearly every probability is near zero and so is this
    number; it compares models on the same classes, not across class counts.
    """
    classes = logits.shape[1]
    sums = np.zeros((2, classes * bins))  # of probability, of hits
    for rows, log_probability in answers_lib.log_probabilities(
        logits, temperature=temperature, class_mask=class_mask
    ):
        probability = np.exp(log_probability)  # [b, classes]
        cell = np.arange(classes) * bins + equal_width_bin(probability, bins)
        sums[0] += np.bincount(cell.ravel(), probability.ravel(), classes * bins)
        own = cell[np.arange(len(cell)), label[rows]]
        sums[1] += np.bincount(own, minlength=classes * bins)
    kept = classes if class_mask is None else int(class_mask.sum())
    return float(np.abs(sums[0] - sums[1]).sum() / len(label) / kept)


def brier(
    logits: np.ndarray,
    label: np.ndarray,
    *,
    temperature: float = 1.0,
    class_mask: np.ndarray | None = None,
) -> float:
    """Mean over images of sum over classes (p - y)^2: 0 to 2, 0 is perfect.

    Brier 1950. A proper score: unlike the ECE it can't be had by answering the mean.
    """
    total = 0.0
    for rows, log_probability in answers_lib.log_probabilities(
        logits, temperature=temperature, class_mask=class_mask
    ):
        probability = np.exp(log_probability)  # [b, classes]
        own = probability[np.arange(len(probability)), label[rows]]
        total += (probability**2).sum() + (1 - 2 * own).sum()
    return float(total / len(label))


def fit_temperature(
    logits: np.ndarray,
    label: np.ndarray,
    *,
    class_mask: np.ndarray | None = None,
    only: np.ndarray | None = None,
) -> tuple[float, bool]:
    """The temperature that minimises the mean NLL (Guo et al. 2017, section 4.2).

    The NLL is convex in b = 1 / T, with derivative mean(E_p[z] - z_label); its root is
    found by Newton's method within a bracket, halved (in log b) when a step leaves it.
    It is fitted to all images, or to those at the positions `only`.

    Returns:
        (T, found): found is False when the minimum lies outside of TEMPERATURE_RANGE,
        as on a validation set whose every answer is right; T is then the bound.
    """
    low, high = 1 / TEMPERATURE_RANGE[1], 1 / TEMPERATURE_RANGE[0]  # bounds of b
    if _slope(logits, label, low, class_mask, only)[0] >= 0:
        return 1 / low, False
    if _slope(logits, label, high, class_mask, only)[0] <= 0:
        return 1 / high, False
    b = 1.0
    for _ in range(_ITERATIONS):
        slope, curvature = _slope(logits, label, b, class_mask, only)
        low, high = (b, high) if slope < 0 else (low, b)
        step = b - slope / curvature if curvature > 0 else low
        previous, b = b, step if low < step < high else float(np.sqrt(low * high))
        if abs(b - previous) <= 1e-7 * b:
            break
    return float(1 / b), True


def risk_coverage(
    confidence: np.ndarray, correct: np.ndarray
) -> tuple[list[dict[str, float]], float | None]:
    """(curve, AURC): error among the most confident share of the images.

    The curve has up to 200 rows {coverage, risk}; AURC is the mean risk over all n
    coverages, so lower is better and 0 is perfect. Equal ones come in order.
    """
    n = len(confidence)
    if not n:
        return [], None
    order = np.argsort(-confidence, kind="stable")
    risk = np.cumsum(~correct[order]) / np.arange(1, n + 1)
    kept = np.unique(np.linspace(0, n - 1, min(n, _CURVE_POINTS)).round().astype(int))
    curve = [{"coverage": float((i + 1) / n), "risk": float(risk[i])} for i in kept]
    return curve, float(risk.mean())


def decide(
    answers: answers_lib.Answers,
    *,
    threshold: float | None,
    genus_threshold: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(species is answered, genus is answered), bool [n] each, never both.

    An answer under the species threshold backs off to its genus when that one's summed
    probability reaches the genus threshold; the rest is "no concluyente". A threshold
    of None is never reached.
    """
    never = np.zeros(len(answers), bool)
    species = never if threshold is None else answers.confidence >= threshold
    if genus_threshold is None:
        return species, never
    return species, ~species & (answers.genus_probability >= genus_threshold)


def _slope(
    logits: np.ndarray,
    label: np.ndarray,
    b: float,
    class_mask: np.ndarray | None,
    only: np.ndarray | None,
) -> tuple[float, float]:
    """First and second derivative by b of the mean NLL of softmax(b logits)."""
    slope = curvature = 0.0
    for rows, log_probability in answers_lib.log_probabilities(
        logits, temperature=1 / b, class_mask=class_mask, only=only
    ):
        probability = np.exp(log_probability)
        z = logits[rows].astype(np.float64)
        own = z[np.arange(len(z)), label[rows]]
        expected = (probability * z).sum(axis=1)
        slope += (expected - own).sum()
        spread = (z - expected[:, None]) ** 2
        curvature += (probability * spread).sum()
    images = len(label) if only is None else len(only)
    return slope / images, curvature / images


def equal_width_bin(values: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each value for bins (i / bins, (i + 1) / bins]; 0 falls in the first."""
    return np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)


def _table(
    confidence: np.ndarray, correct: np.ndarray, edges: np.ndarray, index: np.ndarray
) -> Reliability:
    bins = len(edges) - 1
    count = np.bincount(index, minlength=bins)
    held = np.maximum(count, 1)
    return Reliability(
        lower=edges[:-1],
        upper=edges[1:],
        count=count,
        confidence=np.bincount(index, confidence, bins) / held,
        accuracy=np.bincount(index, correct, bins) / held,
    )
