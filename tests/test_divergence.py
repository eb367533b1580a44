"""What packing costs, against the formula and against the loss itself."""

import numpy as np
import pytest
import scipy.special
from test_rows import ids

from aplantida_jax.distill import divergence, rows
from aplantida_jax.distill.rows import Layout
from aplantida_jax.train import losses


def unlike(seed, count, classes, strength=2.0):
    rng = np.random.default_rng(seed)
    mask = rng.random(classes) < 0.7
    logits = np.where(mask, rng.normal(0, strength, (count, classes)), -np.inf)
    return mask, scipy.special.softmax(logits, axis=1)


def packed_rows(probability, layout):
    return rows.pack(ids(len(probability)), *rows.top(probability, layout.k), layout)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_what_the_loss_of_a_student_that_says_the_row_would_be(temperature):
    """T^2 KL(dense || packed), with the packed row as the student's answer."""
    mask, probability = unlike(6, 30, 40)
    layout = Layout(8, 40)
    packed = packed_rows(probability, layout)
    read = losses.expand_soft_labels(
        **rows.unpack(packed, layout), covers=mask[None], class_mask=mask
    )
    assert (np.asarray(read)[:, ~mask] == 0).all()
    student = np.where(mask, np.log(np.maximum(read, 1e-30)), losses.MASKED)
    loss = losses.distillation_loss(student, probability, temperature=temperature)
    found = divergence.divergence(
        *(probability, packed, layout, mask[None]), temperature=temperature
    )
    assert found.mean() == pytest.approx(float(loss), rel=1e-3)
    assert found.min() > 0


def test_an_even_tail_costs_the_rounding_alone_and_a_steep_one_more_when_softened():
    layout = Layout(4, 400)
    every = np.ones((1, 400), bool)
    even = np.full((1, 400), 0.1 / 400)
    even[0, :4] += [0.6, 0.15, 0.1, 0.05]
    rank = np.arange(1.0, 401) ** -1.5
    steep = (rank / rank.sum())[None]
    cost = {
        (name, at): divergence.divergence(
            *(row, packed_rows(row, layout), layout, every), temperature=at
        ).item()
        for name, row in (("even", even), ("steep", steep))
        for at in (1.0, 3.0)
    }
    assert max(cost["even", 1.0], cost["even", 3.0]) < 1e-2
    assert cost["steep", 3.0] > 2 * cost["steep", 1.0] > 0.1


def test_metrics_of_rows_and_of_none():
    found = divergence.metrics(np.arange(5.0), np.arange(5.0) * 9, temperature=3.0)
    assert (found["kl_rows"], found["kl_mean"]) == (5, 2.0)
    assert (found["kl_temperature"], found["kl_mean_at_temperature"]) == (3.0, 18.0)
    assert divergence.metrics(np.empty(0), np.empty(0), temperature=3.0) == {
        "kl_rows": 0
    }


def test_what_the_grid_costs_is_what_the_formula_says():
    """All classes kept: what remains is the rounding of 16 / 255 nats."""
    rng = np.random.default_rng(7)
    probability = scipy.special.softmax(rng.normal(0, 2, (400, 32)), axis=1)
    layout = Layout(32, 32)
    packed = packed_rows(probability, layout)
    found = divergence.divergence(probability, packed, layout, np.ones((1, 32), bool))
    assert 0.5 < found.mean() / ((16 / 255) ** 2 / 24) <= 1
