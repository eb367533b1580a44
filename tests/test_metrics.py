import dataclasses

import numpy as np
import pytest
from test_answers import four_answers, judged

from aplantida_jax.evaluate import intervals, metrics
from aplantida_jax.evaluate.answers import judge


@pytest.fixture
def answers():
    return four_answers()


def test_hand_computed_accuracy(answers):
    found = metrics.accuracy(answers)
    assert found["images"] == 4
    assert found["top1_accuracy"] == 0.5
    assert found["top5_accuracy"] == 1.0
    assert found["genus_accuracy"] == 0.5
    # Class 0: 2 of 3; class 1: 0 of 1.
    assert found["macro_recall"] == pytest.approx(1 / 3)
    expected = -np.log([0.7, 0.3, 0.4, 0.1]).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


def test_top5_counts_the_fifth_and_not_the_sixth():
    logits = np.tile(np.arange(6, 0, -1, dtype=np.float32), (2, 1))
    found = judge(
        np.arange(2, dtype=np.uint64),
        np.array([4, 5], np.int32),
        logits,
        genus_of=np.arange(6, dtype=np.int32),
    )
    assert metrics.accuracy(found)["top5_accuracy"] == 0.5


def test_a_masked_label_is_wrong_and_has_no_loss():
    mask = np.array([True, False, True, True])
    found = judged([[0.1, 0.6, 0.2, 0.1]], [1], class_mask=mask)
    assert not found.correct[0]
    assert metrics.accuracy(found)["loss"] is None


def test_no_images_give_none_not_a_crash(answers):
    nothing = answers.at(np.zeros(4, bool))
    found = metrics.accuracy(nothing)
    assert found["images"] == 0
    assert found["top1_accuracy"] is None
    assert found["macro_recall"] is None
    assert metrics.confusions(nothing, limit=5) == []
    again = metrics.accuracy_intervals(nothing, resamples=10, seed=0)
    assert set(again.values()) == {None}


BOOTSTRAP = {"resamples": 200, "seed": 0}


def test_bands_by_training_images(answers):
    found = metrics.by_band(answers, np.array([100, 1, 9, 99]), **BOOTSTRAP)
    assert list(found) == ["one_shot", "tail", "mid", "head"]
    assert found["head"]["images"] == 3
    assert found["head"]["top1_accuracy"] == pytest.approx(2 / 3)
    low, high = found["head"]["intervals"]["top1_accuracy"]
    assert low < 2 / 3 < high
    only = found["one_shot"]
    assert only["train_images"] == [1, 1]
    assert (only["classes"], only["images"]) == (1, 1)
    assert (only["top1_accuracy"], only["top5_accuracy"]) == (0.0, 1.0)
    assert only["macro_recall"] == 0.0
    assert set(only["intervals"].values()) == {None}  # of one photo
    assert found["tail"]["top1_accuracy"] is None
    assert found["tail"]["intervals"]["macro_recall"] is None
    unseen = metrics.by_band(answers, np.array([100, 0, 9, 99]), **BOOTSTRAP)
    assert unseen["unseen"]["images"] == 1


def test_all_right_is_not_certainly_all_right():
    right = judged(np.tile([0.7, 0.1, 0.1, 0.1], (12, 1)), np.zeros(12))
    found = metrics.accuracy_intervals(right, **BOOTSTRAP)
    assert found["top1_accuracy"] == intervals.wilson(12, 12)
    assert found["macro_recall"] == intervals.wilson(12, 12)
    twins = dataclasses.replace(right, group=right.image_id // 2)
    found = metrics.accuracy_intervals(twins, **BOOTSTRAP)
    assert found["top1_accuracy"] == intervals.wilson(7, 7)


def test_accuracies_match_brute_force():
    rng = np.random.default_rng(4)
    probability = rng.dirichlet(np.ones(9), 300)
    label = rng.integers(9, size=300)
    genus = np.arange(9) // 3
    found = metrics.accuracy(
        judge(
            np.arange(300, dtype=np.uint64),
            label.astype(np.int32),
            np.log(probability).astype(np.float32),
            genus_of=genus.astype(np.int32),
        )
    )
    best = [sorted(range(9), key=lambda c: -row[c]) for row in probability]
    pairs = list(zip(label, best, strict=True))
    top1 = [order[0] == true for true, order in pairs]
    assert found["top1_accuracy"] == pytest.approx(np.mean(top1))
    top5 = [true in order[:5] for true, order in pairs]
    assert found["top5_accuracy"] == pytest.approx(np.mean(top5))
    recalls = [
        np.mean([ok for ok, t in zip(top1, label, strict=True) if t == c])
        for c in range(9)
    ]
    assert found["macro_recall"] == pytest.approx(np.mean(recalls))
    sums = [[row[genus == g].sum() for g in range(3)] for row in probability]
    assert found["genus_accuracy"] == pytest.approx(
        np.mean(np.argmax(sums, axis=1) == genus[label])
    )


def test_bands_leave_no_count_out():
    bounds = list(metrics.BANDS.values())
    for (_, high), (low, _) in zip(bounds, bounds[1:], strict=False):
        assert low == high + 1


def test_confusions_count_and_name_the_photos(answers):
    rows = metrics.confusions(answers, limit=5)
    assert [(r["true"], r["predicted"], r["count"]) for r in rows] == [
        (1, 0, 1),  # all of class 1 goes there, so it comes before a third of class 0
        (0, 2, 1),
    ]
    assert rows[0]["share"] == 1.0
    assert rows[1]["share"] == pytest.approx(1 / 3)
    assert rows[1]["image_ids"] == ["0000000000000004"]
    assert rows[1]["mean_probability"] == pytest.approx(0.6, rel=1e-6)
    assert len(metrics.confusions(answers, limit=1)) == 1


def test_genus_matrix(answers):
    genus, shares = metrics.genus_matrix(answers, limit=5)
    np.testing.assert_array_equal(genus, [0])
    np.testing.assert_allclose(shares, [[0.5]])


def test_hex_id_is_that_of_the_record():
    assert metrics.hex_id(int("00ff00ff00ff00ff", 16)) == "00ff00ff00ff00ff"
