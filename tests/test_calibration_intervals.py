"""Intervals of calibration errors, before and after the temperature."""

import numpy as np
import pytest

from aplantida_jax.evaluate import calibration, calibration_intervals
from aplantida_jax.evaluate.answers import Answers, judge
from aplantida_jax.evaluate.intervals import Groups

OPTIONS = {"bins": 15, "resamples": 120, "seed": 0}


def drawn(n, *, sharp, temperature, rng, copies=1):
    """Answers (before, after) to n photos, groups of `copies`, of a model whose logits
    are `sharp` times too large."""
    logits = 2 * rng.normal(size=(n // copies, 4))
    label = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1).astype(np.int32)
    logits, label = (np.repeat(x, copies, axis=0) for x in (sharp * logits, label))
    image_id = np.arange(len(label), dtype=np.uint64)
    options = {
        "genus_of": np.zeros(4, np.int32),
        "group": image_id // np.uint64(copies),
    }
    return [
        judge(image_id, label, logits, temperature=t, **options)
        for t in (1.0, temperature)
    ]


def ece(answers: Answers) -> float:
    return calibration.reliability(answers.confidence, answers.correct, bins=15).ece


@pytest.mark.parametrize(
    ("sharp", "temperature", "copies"), [(1.6, 1.6, 1), (1.6, 1.6, 3), (1.0, 1.3, 1)]
)
def test_the_true_values_are_inside(sharp, temperature, copies):
    rng = np.random.default_rng(1)
    how = {"sharp": sharp, "temperature": temperature, "rng": rng}
    before, after = drawn(200_000, **how)
    true = {
        "loss_after": after.nll.mean(),
        "loss_change": after.nll.mean() - before.nll.mean(),
        "ece_change": ece(after) - ece(before),
        "aurc": calibration.risk_coverage(after.confidence, after.correct)[1],
    }
    inside = {name: 0 for name in true}
    for _ in range(50):
        found = calibration_intervals.of(*drawn(600, copies=copies, **how), **OPTIONS)
        for name, value in true.items():
            inside[name] += found[name][0] <= value <= found[name][1]
    assert min(inside.values()) >= 43, inside  # of 50; without groups 37


def test_temperature_is_told_to_help_or_to_harm():
    rng = np.random.default_rng(2)
    helped = calibration_intervals.of(
        *drawn(3000, sharp=2.0, temperature=2.0, rng=rng), **OPTIONS
    )
    harmed = calibration_intervals.of(
        *drawn(3000, sharp=1.0, temperature=2.0, rng=rng), **OPTIONS
    )
    for error in ("loss_change", "ece_change"):
        assert helped[error][1] < 0 < harmed[error][0]


def test_aurc_is_that_of_the_drawn_photos():
    rng = np.random.default_rng(3)
    _, answers = drawn(300, sharp=1.0, temperature=1.0, rng=rng, copies=3)
    groups = Groups.of(answers.group)
    statistic = calibration_intervals._aurc_of(answers, groups)
    counts = np.stack([np.ones(100), rng.poisson(1, 100)])
    found = statistic(counts.astype(np.float32))
    repeated = np.repeat(np.arange(300), counts[1].astype(int)[groups.of_image])
    for value, rows in zip(found, (np.arange(300), repeated), strict=True):
        _, expected = calibration.risk_coverage(
            answers.confidence[rows], answers.correct[rows]
        )
        assert value == pytest.approx(expected, abs=2e-3 if rows is repeated else 1e-9)


def test_one_group_has_no_intervals():
    answers = drawn(
        6, sharp=1.0, temperature=1.0, rng=np.random.default_rng(4), copies=6
    )
    assert set(calibration_intervals.of(*answers, **OPTIONS).values()) == {None}
