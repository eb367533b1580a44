"""Vector scaling: its gradient and its limits."""

import numpy as np
import pytest

from aplantida_jax.evaluate import calibration, vector_scaling


def _skewed(n, *, classes=4, seed=0):
    """Logits whose truth is softmax(w z + b), and labels drawn from that."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 3
    scale, bias = np.array([0.5, 1.0, 1.5, 0.8]), np.array([1.0, -1.0, 0.5, 0.0])
    noise = rng.gumbel(size=(n, classes))
    return logits, (scale * logits + bias + noise).argmax(axis=1), scale, bias


def test_the_scales_and_biases_are_recovered():
    logits, label, scale, bias = _skewed(20_000)
    found = vector_scaling.fit(logits, label, temperature=1.0, penalty=1e-3)
    # A constant on all biases changes nothing.
    np.testing.assert_allclose(found.scale, scale, atol=0.06)
    np.testing.assert_allclose(
        found.bias - found.bias.mean(), bias - bias.mean(), atol=0.08
    )


def test_the_penalty_pulls_towards_the_temperature():
    logits, label, _, _ = _skewed(300)
    temperature, _ = calibration.fit_temperature(logits, label)
    found = vector_scaling.fit(logits, label, temperature=temperature, penalty=1e9)
    np.testing.assert_allclose(found.scale, 1 / temperature, rtol=1e-5)
    np.testing.assert_allclose(found.bias, 0, atol=1e-5)


def test_the_gradient_is_that_of_the_loss():
    logits, label, scale, bias = _skewed(50)
    z = logits.astype(np.float32)
    theta = np.concatenate([scale, bias])
    everything = np.ones(4, bool), np.arange(50)
    loss, *gradients = vector_scaling._loss(z, label, scale, bias, *everything)
    gradient = np.concatenate(gradients)
    # The loss itself, by its definition and in float64.
    scores = scale * z.astype(np.float64) + bias
    own = scores[np.arange(50), label]
    assert loss == pytest.approx((np.log(np.exp(scores).sum(1)) - own).sum(), rel=1e-5)

    def exact(t):
        s = t[:4] * z.astype(np.float64) + t[4:]
        return (np.log(np.exp(s).sum(1)) - s[np.arange(50), label]).sum()

    for i, step in enumerate(np.eye(8) * 1e-5):
        slope = (exact(theta + step) - exact(theta - step)) / 2e-5
        assert gradient[i] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_a_masked_class_plays_no_part():
    logits, label, _, _ = _skewed(400)
    wide = np.concatenate([logits, np.full((400, 2), 99.0)], axis=1)
    mask = np.arange(6) < 4
    found = vector_scaling.fit(
        wide, label, temperature=2.0, penalty=1.0, class_mask=mask
    )
    alone = vector_scaling.fit(logits, label, temperature=2.0, penalty=1.0)
    np.testing.assert_allclose(found.scale[:4], alone.scale, rtol=1e-6)
    np.testing.assert_array_equal(found.scale[4:], 0.5)
    np.testing.assert_array_equal(found.bias[4:], 0.0)


def test_only_the_chosen_images_are_fitted(monkeypatch):
    monkeypatch.setattr(vector_scaling, "_CHUNK", 4 * 7)  # in chunks of seven images
    logits, label, _, _ = _skewed(300)
    options = {"temperature": 1.5, "penalty": 1.0}
    only = np.flatnonzero(np.arange(300) % 3)
    found = vector_scaling.fit(logits, label, only=only, **options)
    alone = vector_scaling.fit(logits[only], label[only], **options)
    np.testing.assert_allclose(found.scale, alone.scale, rtol=1e-5)
    np.testing.assert_allclose(found.bias, alone.bias, atol=1e-5)
    temperature = calibration.fit_temperature(logits, label, only=only)
    assert temperature == calibration.fit_temperature(logits[only], label[only])
