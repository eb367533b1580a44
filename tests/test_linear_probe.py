"""Logistic regression on features: its optimum, and what it makes of easy classes."""

import numpy as np
import pytest
from scipy import optimize, special

from aplantida_jax.evaluate import linear_probe


def clusters(spread=1.0, classes=4, seed=0):
    """120 features [6] around a random centre for each class, and their labels.

    The same shapes everywhere: they are what takes time to compile.
    """
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(classes, 6)) * 2
    label = rng.integers(0, classes, 120)
    features = centres[label] + rng.normal(size=(120, 6)) * spread + 5.0
    return features.astype(np.float32), label.astype(np.int32)


def fitted(features, label, *, l2):
    data = (features, label)
    return linear_probe.choose(data, data, classes=4, penalties=(l2,))


def objective(parameters, features, label, l2):
    """The same in float64, and its gradient, written out by hand."""
    kernel, bias = parameters[:-1], parameters[-1]
    probability = special.softmax(features @ kernel + bias, axis=1)
    rows = np.arange(len(label))
    loss = -np.log(probability[rows, label]).mean() + l2 / 2 * (parameters**2).sum()
    probability[rows, label] -= 1
    error = probability / len(label)
    gradient = np.concatenate([features.T @ error, error.sum(axis=0, keepdims=True)])
    return loss, gradient + l2 * parameters


def test_the_optimum_is_that_of_another_solver_in_float64():
    features, label = clusters()
    found = fitted(features, label, l2=0.01)
    scaled = found.scaling(features).astype(np.float64)
    np.testing.assert_allclose((scaled**2).mean(), 1, rtol=1e-5)

    def flat(parameters):
        value, gradient = objective(parameters.reshape(7, 4), scaled, label, 0.01)
        return value, gradient.ravel()

    best = optimize.minimize(flat, np.zeros(28), jac=True, tol=1e-12)
    ours = np.concatenate([found.weights["kernel"], found.weights["bias"][None]])
    value, gradient = objective(ours, scaled, label, 0.01)
    assert value == pytest.approx(best.fun, rel=1e-5)
    np.testing.assert_allclose(ours, best.x.reshape(7, 4), atol=0.02)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(gradient), abs=1e-5)
    assert found.gradient_norm < 1e-3
    assert found.summary() == {
        "l2": 0.01,
        "gradient_norm": found.gradient_norm,
        "converged": True,
    }


def test_a_fit_that_was_given_too_few_steps_says_so(monkeypatch):
    monkeypatch.setattr(linear_probe, "_MOST_STEPS", 2)
    found = fitted(*clusters(), l2=1e-4)
    assert not found.converged
    rows = linear_probe.Rows.of(found.scaling, *clusters(), classes=4)
    norm = linear_probe._gradient_norm(found.weights, rows, 1e-4)
    assert found.gradient_norm == pytest.approx(float(norm))


def test_scaling_and_loss_are_the_same_whatever_the_parts(monkeypatch):
    features, label = clusters()
    whole = linear_probe.Scaling.of(features)
    kernel = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    weights = {"kernel": kernel, "bias": np.arange(4, dtype=np.float32)}
    logits = ((features - whole.centre) / whole.scale) @ kernel + np.arange(4)
    expected = -special.log_softmax(logits, axis=1)[np.arange(120), label].mean()
    for block, chunk in ((1 << 14, 1 << 26), (7, 4 * 50), (120, 4 * 120)):
        monkeypatch.setattr(linear_probe, "_BLOCK", block)
        monkeypatch.setattr(linear_probe, "_CHUNK", chunk)
        scaling = linear_probe.Scaling.of(features)
        np.testing.assert_allclose(scaling.scale, whole.scale, rtol=1e-6)
        rows = linear_probe.Rows.of(scaling, features, label, classes=4)
        # Each row is there once, in order.
        flat = np.asarray(rows.x).reshape(-1, 6)[np.asarray(rows.present).ravel() > 0]
        np.testing.assert_allclose(flat, whole(features), rtol=1e-5, atol=1e-6)
        loss = linear_probe._objective(weights, rows, 0.0)
        assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_every_product_is_in_float32_on_any_device():
    scaling = linear_probe.Scaling.of(clusters()[0])
    rows = linear_probe.Rows.of(scaling, *clusters(), classes=4)
    weights = {"kernel": np.zeros((6, 4), "f4"), "bias": np.zeros(4, "f4")}
    state = linear_probe._SOLVER.init(weights)
    text = linear_probe._step.lower(weights, state, rows, 0.1).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) > 2  # of the logits, of their gradient, and of L-BFGS
    assert all("HIGHEST" in line for line in products)


def test_separable_classes_are_separated():
    features, label = clusters(spread=0.1)
    found = fitted(features, label, l2=1e-4)
    unseen, truth = clusters(spread=0.1, seed=1)
    logits = found.logits(unseen)
    assert logits.dtype == np.float32
    assert (logits.argmax(axis=1) == truth).all()


def test_chunks_change_nothing(monkeypatch):
    features, label = clusters()
    whole = fitted(features, label, l2=0.1)
    monkeypatch.setattr(linear_probe, "_CHUNK", 4 * 50)  # rows in 50s, the last padded
    parts = fitted(features, label, l2=0.1)
    np.testing.assert_allclose(
        parts.weights["kernel"], whole.weights["kernel"], atol=2e-3
    )


def test_the_same_data_give_the_same_bits_and_any_start_the_same_optimum():
    features, label = clusters()
    first = fitted(features, label, l2=0.1)
    second = fitted(features, label, l2=0.1)
    np.testing.assert_array_equal(first.weights["kernel"], second.weights["kernel"])
    far = fitted(features, label, l2=1e-3).weights
    rows = linear_probe.Rows.of(first.scaling, features, label, classes=4)
    warm, _, _ = linear_probe.fit(rows, l2=0.1, start=far)
    np.testing.assert_allclose(warm["kernel"], first.weights["kernel"], atol=2e-3)


def test_the_penalty_is_the_one_that_val_likes_best():
    # Almost nothing but noise: what it learns of that, only a strong penalty keeps out.
    noisy = linear_probe.choose(
        clusters(spread=50.0),
        clusters(spread=50.0, seed=1),
        classes=4,
        penalties=(10.0, 1e-4),
    )
    assert noisy.l2 == 10.0
    easy = clusters(spread=0.1)
    found = linear_probe.choose(easy, easy, classes=4, penalties=(10.0, 1e-4))
    assert found.l2 == 1e-4


def test_a_class_without_images_is_never_the_answer():
    features, label = clusters(classes=3)
    found = fitted(features, label, l2=0.01)
    logits = found.logits(features)
    assert np.isfinite(logits).all()
    assert logits.argmax(axis=1).max() < 3


def test_features_that_are_all_equal_are_no_crash():
    found = fitted(np.ones((120, 6), np.float32), np.arange(120) % 4, l2=0.1)
    np.testing.assert_allclose(found.logits(np.ones((1, 6), np.float32)), 0, atol=1e-5)
