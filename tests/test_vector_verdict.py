"""Whether vector scaling helps: the folds that judge it, the interval, the memory."""

import tracemalloc

import numpy as np
import pytest

from aplantida_jax.evaluate import calibration, vector_scaling, vector_verdict
from aplantida_jax.evaluate.decision import Scored
from aplantida_jax.evaluate.vector_verdict import Options


def _scored(n, *, skew=True, seed=0, copies=1):
    """A split whose truth is softmax(w z + b), with w and b as a temperature has them
    where `skew` is False."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n // copies, 4)) * 3
    scale, bias = np.array([0.5, 1.0, 1.5, 0.8]), np.array([1.0, -1.0, 0.5, 0.0])
    truth = scale * logits + bias if skew else 0.7 * logits
    label = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)
    image_id = np.arange(n // copies * copies, dtype=np.uint64)
    return Scored(
        image_id,
        np.repeat(label, copies).astype(np.int32),
        np.repeat(logits, copies, axis=0).astype(np.float32),
        image_id // np.uint64(copies),
    )


def _options(**changed):
    return Options(
        **{"folds": 5, "penalty": 1.0, "bins": 15, "resamples": 200} | changed
    )


def test_it_helps_where_classes_are_skewed():
    judged = vector_verdict.cross_validate(_scored(1000), _options())
    assert judged["better_folds"] == 5
    assert judged["vector"]["ece"] < judged["temperature"]["ece"]
    change = judged["vector"]["loss"] - judged["temperature"]["loss"]
    assert judged["loss_change"] == pytest.approx(change)
    low, high = judged["loss_change_interval"]
    assert low < change < high < 0
    assert judged["helps"] is True


def test_the_measures_are_those_of_the_scaled_logits():
    val, options = _scored(50), _options(folds=2)
    judged = vector_verdict.cross_validate(val, options)
    loss, right = [], []
    for out in (val.image_id % 2 == 0, val.image_id % 2 == 1):
        found = vector_scaling.fit(
            val.logits[~out],
            val.label[~out],
            temperature=calibration.fit_temperature(val.logits[~out], val.label[~out])[
                0
            ],
            penalty=1.0,
        )
        scores = val.logits[out] * found.scale.astype(float) + found.bias
        own = scores[np.arange(25), val.label[out]]
        loss.extend(np.log(np.exp(scores).sum(axis=1)) - own)
        right.extend(scores.argmax(axis=1) == val.label[out])
    assert judged["vector"]["loss"] == pytest.approx(np.mean(loss), rel=1e-5)
    assert judged["vector"]["top1_accuracy"] == np.mean(right)


def test_it_is_not_said_to_help_by_chance():
    # A temperature is all there is to find: fitted scales and biases are noise.
    said = [
        vector_verdict.cross_validate(
            _scored(200, skew=False, seed=seed), _options(folds=2, resamples=100)
        )["helps"]
        for seed in range(8)
    ]
    assert sum(said) <= 1


def test_copies_do_not_help_where_groups_stay_together():
    # Labels are pure chance. Copies in other folds would let it learn them by heart.
    rng = np.random.default_rng(1)
    logits = np.repeat(rng.normal(size=(10, 10)), 5, axis=0)
    label = np.repeat(rng.permutation(10), 5)
    found = [
        vector_verdict.cross_validate(
            Scored(np.arange(50), label, logits, group), _options(penalty=0.1)
        )
        for group in (np.arange(50), np.repeat(np.arange(10), 5))
    ]
    assert found[0]["loss_change"] < 0 < found[1]["loss_change"]
    assert found[1]["helps"] is False


def test_copies_do_not_make_it_surer():
    widths = []
    for copies in (1, 4):
        judged = vector_verdict.cross_validate(
            _scored(100 * copies, copies=copies), _options(penalty=copies, folds=2)
        )
        low, high = judged["loss_change_interval"]
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0], rel=0.02)


def test_it_says_where_val_and_test_disagree():
    options = {"temperature": 1.0, "options": _options(folds=2)}
    val = _scored(800)
    like = vector_verdict.assess(val, _scored(800, seed=1), **options)
    assert like["agree"]
    assert like["on_test"]["loss_change_interval"][1] < 0
    other = vector_verdict.assess(val, _scored(800, seed=1, skew=False), **options)
    assert other["cross_validated_on_val"] == like["cross_validated_on_val"]
    assert not other["agree"]
    assert other["on_test"]["loss_change_interval"][0] > 0


def test_fewer_groups_than_folds_cannot_be_judged():
    val = _scored(9, copies=3)
    assert vector_verdict.assess(val, val, temperature=1.0, options=_options()) is None


def test_nothing_of_the_size_of_the_logits_is_made(monkeypatch):
    for module in (vector_scaling, vector_verdict):
        monkeypatch.setattr(module, "_CHUNK", 10_000)
    monkeypatch.setattr("aplantida_jax.evaluate.answers._CHUNK", 10_000)
    monkeypatch.setattr(vector_scaling, "_ITERATIONS", 2)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1000, 500)).astype(np.float32)
    label = rng.integers(499, size=1000).astype(np.int32)
    logits[np.arange(1000), label] += rng.normal(5, 3, 1000)
    val = Scored(np.arange(1000), label, logits)
    options = _options(folds=2, class_mask=np.arange(500) < 499, resamples=9)
    tracemalloc.start()
    vector_verdict.assess(val, val, temperature=1.3, options=options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * logits.nbytes


def test_a_large_val_is_judged_by_whole_groups(monkeypatch):
    monkeypatch.setattr(vector_verdict, "_MOST_IMAGES", 500)
    val = _scored(3000, copies=3)
    images = vector_verdict._sample(val.group, 0)
    assert 450 < len(images) <= 500
    assert set(np.unique(val.group[images], return_counts=True)[1]) == {3}
    judged = vector_verdict.cross_validate(val, _options(folds=2, resamples=0))
    assert judged["images"] == len(images)
    assert judged["loss_change_interval"] is None
    assert judged["helps"] is None
