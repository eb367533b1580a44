import numpy as np
import pytest

from aplantida_jax.evaluate import calibration
from aplantida_jax.evaluate.answers import judge


def _perfect(n, *, classes=5, scale=2.0, seed=0):
    """Logits whose softmax is the very distribution that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(n, classes))
    noise = rng.gumbel(size=(n, classes))
    return logits, (logits + noise).argmax(axis=1)


def _top(logits):
    z = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = z / z.sum(axis=1, keepdims=True)
    return p.max(axis=1), p.argmax(axis=1)


def test_hand_computed_ece_and_mce():
    # Two bins. (0, .5]: confidences .2 .4, one right: |.5 - .3| = .2. (.5, 1]:
    # .6 .8 .9 1, three right: |.75 - .825| = .075. ECE = (2 * .2 + 4 * .075) / 6.
    confidence = np.array([0.2, 0.4, 0.6, 0.8, 0.9, 1.0])
    correct = np.array([1, 0, 1, 1, 0, 1], bool)
    table = calibration.reliability(confidence, correct, bins=2)
    np.testing.assert_array_equal(table.count, [2, 4])
    assert table.ece == pytest.approx((0.4 + 0.3) / 6)
    assert table.mce == pytest.approx(0.2)


def test_an_edge_belongs_to_the_lower_bin():
    table = calibration.reliability(np.array([0.5]), np.array([True]), bins=2)
    np.testing.assert_array_equal(table.count, [1, 0])
    assert calibration.reliability(np.zeros(1), np.zeros(1, bool), bins=2).ece == 0.0


def test_the_table_is_plain_json():
    rows = calibration.reliability(np.array([0.7]), np.array([True]), bins=2).to_json()
    assert rows[1] == {
        "lower": 0.5,
        "upper": 1.0,
        "count": 1,
        "confidence": 0.7,
        "accuracy": 1.0,
    }
    assert type(rows[0]["count"]) is int


def test_no_images_have_no_error():
    table = calibration.reliability(np.zeros(0), np.zeros(0, bool), bins=15)
    assert table.ece is None
    assert table.mce is None
    empty = calibration.adaptive_reliability(np.zeros(0), np.zeros(0, bool), bins=15)
    assert empty.ece is None


def test_perfect_calibration_has_almost_no_error():
    logits, label = _perfect(60_000)
    confidence, answer = _top(logits)
    for table in (
        calibration.reliability(confidence, answer == label, bins=15),
        calibration.adaptive_reliability(confidence, answer == label, bins=15),
    ):
        assert table.ece < 0.006
    assert calibration.classwise_ece(logits, label, bins=15) < 0.006


def test_adaptive_bins_hold_the_same_number():
    confidence = np.random.default_rng(0).random(1500)
    table = calibration.adaptive_reliability(confidence, confidence > 0.5, bins=15)
    assert len(table.count) == 15
    assert table.count.min() >= 99
    assert table.count.max() <= 101


def test_adaptive_bins_keep_equal_confidences_together():
    confidence = np.array([1.0] * 8 + [0.5, 0.6])
    correct = np.array([1] * 4 + [0] * 4 + [1, 1], bool)
    table = calibration.adaptive_reliability(confidence, correct, bins=5)
    assert table.ece == pytest.approx((8 * 0.5 + 0.5 + 0.4) / 10)


def test_hand_computed_classwise_ece():
    # Probabilities .75 .25 for both images, labels 0 and 1, one bin: class 0 has mean
    # probability .75 and share .5; class 1 has .25 and .5.
    logits = np.log([[0.75, 0.25], [0.75, 0.25]])
    label = np.array([0, 1])
    assert calibration.classwise_ece(logits, label, bins=1) == pytest.approx(0.25)
    flat = calibration.classwise_ece(logits, label, bins=1, temperature=1e6)
    assert flat == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 7.0])
def test_the_temperature_is_recovered(temperature):
    logits, label = _perfect(20_000)
    found, ok = calibration.fit_temperature(logits * temperature, label)
    assert ok
    assert found == pytest.approx(temperature, rel=0.03)


def test_the_temperature_is_where_the_loss_is_least():
    logits, label = _perfect(500, seed=3)
    logits = (3 * logits).astype(np.float32)
    found, _ = calibration.fit_temperature(logits, label)

    def loss(t):
        zeros = np.zeros(5, np.int32)
        ids = np.zeros(500, np.uint64)
        return judge(ids, label, logits, genus_of=zeros, temperature=t).nll.mean()

    assert loss(found) < min(loss(found * 1.01), loss(found / 1.01))


def test_a_mask_is_part_of_the_temperature():
    logits, label = _perfect(20_000)
    wide = np.concatenate([2 * logits, np.full((20_000, 3), 50.0)], axis=1)
    mask = np.arange(8) < 5
    found, ok = calibration.fit_temperature(wide, label, class_mask=mask)
    assert ok
    assert found == pytest.approx(2.0, rel=0.03)


def test_all_right_or_all_wrong_end_at_a_bound():
    logits = np.eye(3)[[0, 1, 2]] * 4.0
    assert calibration.fit_temperature(logits, np.array([0, 1, 2])) == (0.01, False)
    assert calibration.fit_temperature(logits, np.array([1, 2, 0])) == (100.0, False)


def test_hand_computed_risk_coverage():
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    correct = np.array([1, 0, 1, 1], bool)
    curve, aurc = calibration.risk_coverage(confidence, correct)
    assert [p["coverage"] for p in curve] == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose([p["risk"] for p in curve], [0, 1 / 2, 1 / 3, 1 / 4])
    assert aurc == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert calibration.risk_coverage(confidence[:0], correct[:0]) == ([], None)


def test_a_long_curve_is_thinned_and_keeps_its_end():
    rng = np.random.default_rng(0)
    correct = rng.random(5000) < 0.8
    curve, _ = calibration.risk_coverage(rng.random(5000), correct)
    assert len(curve) <= 200
    assert curve[-1]["coverage"] == 1.0
    assert curve[-1]["risk"] == pytest.approx(1 - correct.mean())


def test_under_the_threshold_the_genus_is_answered_or_nothing():
    probability = np.array(
        [[0.9, 0.05, 0.05, 0.0], [0.5, 0.45, 0.05, 0.0], [0.4, 0.2, 0.3, 0.1]]
    )
    answers = judge(
        np.arange(3, dtype=np.uint64),
        np.zeros(3, np.int32),
        np.log(np.maximum(probability, 1e-9)).astype(np.float32),
        genus_of=np.array([0, 0, 1, 1], np.int32),
    )
    species, genus = calibration.decide(answers, threshold=0.8, genus_threshold=0.9)
    np.testing.assert_array_equal(species, [True, False, False])
    np.testing.assert_array_equal(genus, [False, True, False])
    species, genus = calibration.decide(answers, threshold=None, genus_threshold=None)
    assert not species.any()
    assert not genus.any()
