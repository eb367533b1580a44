import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from aplantida_jax.data import order
from aplantida_jax.train import losses

ALL = jnp.ones(5, bool)


def logits(seed, rows=4, classes=5):
    return np.random.default_rng(seed).normal(0, 3, (rows, classes)).astype(np.float32)


def probabilities(seed, rows=4, classes=5):
    return scipy.special.softmax(logits(seed, rows, classes), axis=1)


def test_targets_by_hand():
    mask = jnp.array([True, True, False, True, True])
    targets = losses.smoothed_targets(jnp.array([1, 4]), mask, smoothing=0.2)
    expected = [[0.05, 0.85, 0, 0.05, 0.05], [0.05, 0.05, 0, 0.05, 0.85]]
    np.testing.assert_allclose(targets, expected, rtol=1e-6)


def test_cross_entropy_by_hand():
    # Two classes with logits 0 and log 3 have probabilities 1/4 and 3/4.
    rows = jnp.array([[0.0, np.log(3)], [0.0, np.log(3)]])
    one_hot = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    expected = -(np.log(0.25) + np.log(0.75)) / 2
    assert losses.cross_entropy(rows, one_hot) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_optax(smoothing):
    label = jnp.array([0, 3, 4, 1])
    ours = losses.cross_entropy(
        logits(1), losses.smoothed_targets(label, ALL, smoothing=smoothing)
    )
    one_hot = optax.losses.smooth_labels(jax.nn.one_hot(label, 5), smoothing)
    theirs = optax.losses.safe_softmax_cross_entropy(jnp.asarray(logits(1)), one_hot)
    assert ours == pytest.approx(float(theirs.mean()), rel=1e-6)


def test_masked_classes_get_no_probability_and_the_others_all():
    mask = jnp.array([True, False, True, False, True])
    masked = losses.mask_classes(jnp.asarray(logits(2)), mask)
    p = jax.nn.softmax(masked)
    np.testing.assert_array_equal(p[:, ~mask], 0.0)
    np.testing.assert_allclose(
        p[:, mask], scipy.special.softmax(logits(2)[:, mask], axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_masked_classes_bring_neither_nan_nor_gradient(temperature):
    mask = jnp.array([True, False, True, False, True])
    teacher = jnp.where(mask, jnp.asarray(probabilities(3)), 0.0)
    teacher = teacher / teacher.sum(axis=1, keepdims=True)
    targets = losses.smoothed_targets(jnp.array([0, 2, 4, 0]), mask, smoothing=0.1)

    def loss(raw):
        masked = losses.mask_classes(raw, mask)
        distance = losses.distillation_loss(masked, teacher, temperature=temperature)
        return losses.cross_entropy(masked, targets) + distance

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits(4)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, ~mask], 0.0)
    assert np.abs(gradient[:, mask]).min() > 0


@pytest.mark.parametrize("temperature", [1.0, 3.0, 10.0])
def test_distillation_is_t_squared_times_the_divergence_of_scipy(temperature):
    teacher = probabilities(5)
    loss = losses.distillation_loss(
        jnp.asarray(logits(6)), jnp.asarray(teacher), temperature=temperature
    )
    p = scipy.special.softmax(np.log(teacher.astype(np.float64)) / temperature, axis=1)
    q = scipy.special.softmax(logits(6).astype(np.float64) / temperature, axis=1)
    divergence = scipy.stats.entropy(p, q, axis=1).mean()
    assert loss == pytest.approx(temperature**2 * divergence, rel=1e-4)


def test_distillation_by_hand():
    # At T = 2 the teacher (0.8, 0.2) has odds 2 : 1, the student odds 1 : 1.
    loss = losses.distillation_loss(
        jnp.zeros((1, 2)), jnp.array([[0.8, 0.2]]), temperature=2.0
    )
    expected = 4 * (2 / 3 * np.log(4 / 3) + 1 / 3 * np.log(2 / 3))
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient(temperature):
    student = jnp.asarray(logits(7))
    value, gradient = jax.value_and_grad(losses.distillation_loss)(
        student, jax.nn.softmax(student), temperature=temperature
    )
    assert value == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_gradient_is_t_times_the_difference_of_the_softened_rows(temperature):
    teacher = probabilities(8)
    gradient = jax.grad(losses.distillation_loss)(
        jnp.asarray(logits(9)), jnp.asarray(teacher), temperature=temperature
    )
    p = scipy.special.softmax(np.log(teacher) / temperature, axis=1)
    q = scipy.special.softmax(logits(9) / temperature, axis=1)
    np.testing.assert_allclose(gradient, temperature * (q - p) / 4, atol=1e-6)


def test_a_teacher_without_a_class_asks_for_none_of_it():
    teacher = jnp.array([[0.5, 0.5, 0.0]])
    without = losses.distillation_loss(
        jnp.array([[0.0, 0.0, -1e9]]), teacher, temperature=3.0
    )
    wasted = losses.distillation_loss(jnp.zeros((1, 3)), teacher, temperature=3.0)
    assert without == pytest.approx(0, abs=1e-6)
    assert wasted == pytest.approx(9 * np.log(3 / 2), rel=1e-5)


def expand(rows, logprobs, tails, mask=ALL, covers=ALL[None]):
    tails = jnp.array(tails).reshape(len(rows), len(covers))
    logprobs = jnp.array(logprobs, jnp.float16)
    return losses.expand_soft_labels(jnp.array(rows), logprobs, tails, covers, mask)


def test_expanded_rows_by_hand():
    dense = expand(
        [[3, 0], [1, -1]],
        [[np.log(0.5), np.log(0.2)], [np.log(0.6), -np.inf]],
        [0.3, 0.4],
    )
    expected = [[0.2, 0.1, 0.1, 0.5, 0.1], [0.1, 0.6, 0.1, 0.1, 0.1]]
    np.testing.assert_allclose(dense, expected, atol=2e-4)
    np.testing.assert_allclose(dense.sum(axis=1), 1, rtol=1e-6)


def test_a_tail_goes_evenly_to_what_its_teacher_covers_outside_the_top():
    cover = jnp.array([[True, True, False, True, True]])
    top = [[3, 0]], [[np.log(0.5), np.log(0.2)]]
    dense = expand(*top, [0.3], covers=cover)
    np.testing.assert_allclose(dense, [[0.2, 0.15, 0, 0.5, 0.15]], atol=2e-4)
    # A student that has not all of these learns the answer given its classes.
    some = jnp.array([True, True, True, True, False])
    dense = expand(*top, [0.3], some, covers=cover)
    expected = np.array([[0.2, 0.15, 0, 0.5, 0]]) / 0.85
    np.testing.assert_allclose(dense, expected, atol=2e-4)


def test_each_tail_goes_to_its_own_teachers_classes_by_hand():
    covers = jnp.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]], bool)
    dense = expand(
        [[1, 3], [1, 3]],
        [[np.log(0.2), np.log(0.4)]] * 2,
        [[0.3, 0.1, 0.0], [0.3, 0.0, 0.1]],
        covers=covers,
    )
    # The third has no class left outside the row's: its tail goes to these.
    expected = [[0.1, 0.2, 0.2, 0.4, 0.1], [0.1, 0.7 / 3, 0.1, 1.4 / 3, 0.1]]
    np.testing.assert_allclose(dense, expected, atol=3e-4)
    np.testing.assert_allclose(dense.sum(axis=1), 1, rtol=1e-6)


def test_without_room_for_a_tail_the_top_is_renormalised():
    mask = jnp.array([True, False, False, True, False])
    dense = expand([[3, 0]], [[np.log(0.5), np.log(0.3)]], [0.2], mask)
    np.testing.assert_allclose(dense, [[0.375, 0, 0, 0.625, 0]], atol=3e-4)


def test_classes_that_the_student_does_not_cover_are_dropped():
    mask = jnp.array([True, True, False, False, False])
    dense = expand([[3, 0]], [[np.log(0.75), np.log(0.25)]], [0.0], mask)
    np.testing.assert_allclose(dense, [[1, 0, 0, 0, 0]], atol=1e-6)
    nothing_left = expand([[3, 2]], [[np.log(0.75), np.log(0.25)]], [0.0], mask)
    np.testing.assert_allclose(nothing_left, [[0.5, 0.5, 0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_expanded_rows_sum_to_1_and_keep_the_top(k):
    teacher = probabilities(10, rows=64)
    order = np.argsort(-teacher, axis=1)[:, :k]
    top = np.take_along_axis(teacher, order, axis=1)
    dense = np.asarray(expand(order, np.log(top), 1 - top.sum(axis=1)))
    np.testing.assert_allclose(dense.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        np.take_along_axis(dense, order, axis=1), top, atol=0, rtol=5e-3
    )
    rest = np.sort(dense, axis=1)[:, : 5 - k] if k < 5 else np.zeros((64, 1))
    tail = (1 - top.sum(axis=1, keepdims=True)) / max(5 - k, 1)
    outside = np.ones((64, 5), bool)
    np.put_along_axis(outside, order, False, axis=1)
    spread = dense[outside].reshape(64, 5 - k) if k < 5 else rest
    np.testing.assert_allclose(spread, np.broadcast_to(tail, spread.shape), atol=3e-3)


def test_logit_adjustment_with_tau_1_is_bayes_rule():
    prior = np.array([0.5, 0.2, 0.1, 0.1, 0.1], np.float32)
    adjusted = losses.adjust_logits(jnp.asarray(logits(11)), np.log(prior), tau=1.0)
    balanced = scipy.special.softmax(logits(11), axis=1) * prior
    expected = balanced / balanced.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(jax.nn.softmax(adjusted), expected, rtol=1e-4)
    none = losses.adjust_logits(jnp.asarray(logits(11)), np.log(prior), tau=0.0)
    np.testing.assert_array_equal(none, logits(11))


COUNT = np.array([1, 10, 100, 0])


@pytest.mark.parametrize(
    ("method", "beta", "ratios"),
    [
        ("balanced", 0.0, [100, 10, 1]),
        ("square_root", 0.0, [10, np.sqrt(10), 1]),
        ("effective_number", 0.0, [1, 1, 1]),
        # Cui et al. 2019, eq. 2: (1 - b^n) / (1 - b) images count, by hand at b = 1/2.
        ("effective_number", 0.5, [2.0, 1.0 / (1 - 0.5**10), 1.0]),
        ("effective_number", 1 - 1e-9, [100, 10, 1]),
    ],
)
def test_class_weights_by_hand(method, beta, ratios):
    weights = losses.class_weights(COUNT, method=method, beta=beta)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[:3] / weights[2], ratios, rtol=1e-4)
    assert weights[3] == 0
    mean_over_images = (weights * COUNT).sum() / COUNT.sum()
    assert mean_over_images == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("sampling", ["uniform", "square_root", "class_balanced"])
def test_weights_and_sampling_together_level_the_classes_once(sampling):
    label = np.repeat([0, 1, 2], [1, 10, 100])
    drawn = order.effective_counts(label, sampling, classes=4)
    share = order.sampling_weights(label, sampling)
    share = np.full(111, 1 / 111) if share is None else share
    weights = losses.class_weights(drawn, method="balanced")
    # What an image brings, on average over what is drawn: 1, and each class as much.
    brought = np.bincount(label, share * weights[label])
    np.testing.assert_allclose(brought, 1 / 3, rtol=1e-5)
    if sampling == "class_balanced":
        np.testing.assert_allclose(weights, [1, 1, 1, 0], rtol=1e-5)


def test_no_class_weights_are_none():
    assert losses.class_weights(COUNT, method="none") is None
