"""Every calibration error against a slow reference, written from its definition."""

import numpy as np
import pytest

from aplantida_jax.evaluate import calibration


@pytest.fixture(params=range(4))
def drawn(request):
    """Logits [n, 7] and labels of a poor model, with ties and empty bins."""
    rng = np.random.default_rng(request.param)
    n = int(rng.integers(40, 200))
    logits = np.round(rng.normal(size=(n, 7)) * rng.uniform(0.5, 4), 1)
    return logits, rng.integers(7, size=n)


def _softmax(row):
    powers = [np.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def _gaps(confidence, correct, bins):
    """[(share of the images, |accuracy - confidence|)] of the bins that are not empty.

    A bin holds i / bins < confidence <= (i + 1) / bins.
    """
    found = []
    for i in range(bins):
        inside = [
            k
            for k, c in enumerate(confidence)
            if i / bins < c <= (i + 1) / bins or (i == 0 and c == 0)
        ]
        if inside:
            mean = sum(confidence[k] for k in inside) / len(inside)
            right = sum(correct[k] for k in inside) / len(inside)
            found.append((len(inside) / len(confidence), abs(right - mean)))
    return found


def _answers(logits, label):
    probability = [_softmax(row) for row in logits]
    confidence = np.array([max(p) for p in probability])
    answer = np.array([int(np.argmax(p)) for p in probability])
    return np.array(probability), confidence, answer == label


def test_ece_and_mce(drawn):
    _, confidence, correct = _answers(*drawn)
    table = calibration.reliability(confidence, correct, bins=15)
    gaps = _gaps(confidence, correct, 15)
    assert table.ece == pytest.approx(sum(share * gap for share, gap in gaps))
    assert table.mce == pytest.approx(max(gap for _, gap in gaps))


def test_classwise_ece(drawn):
    logits, label = drawn
    probability, _, _ = _answers(logits, label)
    of_class = [
        sum(s * g for s, g in _gaps(probability[:, c], label == c, 15))
        for c in range(7)
    ]
    found = calibration.classwise_ece(logits, label, bins=15)
    assert found == pytest.approx(np.mean(of_class))


def test_brier(drawn):
    logits, label = drawn
    probability, _, _ = _answers(logits, label)
    terms = [
        sum((p[c] - (c == own)) ** 2 for c in range(7))
        for p, own in zip(probability, label, strict=True)
    ]
    assert calibration.brier(logits, label) == pytest.approx(np.mean(terms))
    masked = calibration.brier(logits, label % 4, class_mask=np.arange(7) < 4)
    four = calibration.brier(logits[:, :4], label % 4)
    assert masked == pytest.approx(four)


def test_adaptive_ece_of_distinct_confidences():
    # 30 images in 15 bins: two by two, in the order of their confidence.
    rng = np.random.default_rng(5)
    confidence, correct = rng.permutation(np.linspace(0.1, 0.99, 30)), rng.random(30)
    correct = correct < 0.6
    order = np.argsort(confidence)
    pairs = order.reshape(15, 2)
    expected = np.abs(confidence[pairs].mean(1) - correct[pairs].mean(1)).mean()
    found = calibration.adaptive_reliability(confidence, correct, bins=15)
    assert found.ece == pytest.approx(expected)


def test_hand_computed_brier():
    # Certain and right 0; certain and wrong 2; half and half (1/2)^2 + (1/2)^2.
    logits = np.array([[50.0, 0.0], [50.0, 0.0], [0.0, 0.0]])
    found = calibration.brier(logits, np.array([0, 1, 1]))
    assert found == pytest.approx((0 + 2 + 0.5) / 3)
    assert calibration.brier(logits[2:], np.array([0]), temperature=9.0) == 0.5
