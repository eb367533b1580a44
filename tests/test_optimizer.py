import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from aplantida_jax.errors import UserError
from aplantida_jax.train import optimizer, parameter_groups
from configs import common

PARAMS = {
    "patch_embedding": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
    "blocks_0": {"mlp": {"kernel": jnp.full((3, 3), 2.0), "bias": jnp.ones(3)}},
    "blocks_1": {"mlp": {"kernel": jnp.full((3, 3), -1.0), "bias": jnp.ones(3)}},
    "norm": {"scale": jnp.ones(3)},
    "head": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)},
}


@pytest.fixture
def config():
    config = common.base("x", "train").train
    config.accumulate = 1
    return config


def gradients(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda p: jnp.asarray(rng.normal(0, scale, p.shape), jnp.float32), PARAMS
    )


def run(tx, grads, rate=1e-3, update=None):
    """Parameters after one step a gradient, as `train/step.py` applies them."""
    params, state = PARAMS, tx.init(PARAMS)
    for step, grad in enumerate(grads):
        trained, _ = tx.split(grad)
        params, _, state = (update or tx.update)(
            trained, state, params, {}, batch_stats={}, step=step, rate=rate
        )
    return params


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")


def assert_close(one, other, atol=1e-7):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=1e-5), one, other
    )


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (0, 0.1),  # a tenth of the way: ten updates of warm-up
        (4, 0.5),
        (9, 1.0),
        (10, 1.0),  # the cosine begins at its top
        (20, 0.8535534),
        (30, 0.5),
        (40, 0.1464466),
        (49, 0.0015413),
        (50, 0.0),
        (60, 0.0),
    ],
)
def test_golden_values_of_the_schedule(config, update, expected):
    config.update({"learning_rate": 1.0, "epochs": 10, "warmup_epochs": 2.0})
    rate = optimizer.learning_rate(update, config=config, updates_per_epoch=5)
    assert rate == pytest.approx(expected, abs=1e-7)


def test_after_the_warm_up_the_schedule_is_the_cosine_of_optax(config):
    config.update({"learning_rate": 3e-4, "epochs": 7, "warmup_epochs": 1.0})
    cosine = optax.cosine_decay_schedule(3e-4, decay_steps=6 * 11)
    for update in range(11, 77):
        rate = optimizer.learning_rate(update, config=config, updates_per_epoch=11)
        assert rate == pytest.approx(float(cosine(update - 11)), rel=1e-4, abs=1e-11)


@pytest.mark.parametrize("per_epoch", [0.4, 1.0, 12.75])
def test_the_schedule_never_jumps_up_nor_leaves_its_range(config, per_epoch):
    config.update({"learning_rate": 1.0, "epochs": 8, "warmup_epochs": 3.0})
    rates = [
        optimizer.learning_rate(u, config=config, updates_per_epoch=per_epoch)
        for u in range(round(8 * per_epoch) + 3)
    ]
    assert min(rates) >= 0
    assert max(rates) <= 1
    peak = int(np.argmax(rates))
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()


def test_without_warm_up_the_schedule_starts_at_its_top(config):
    config.update({"learning_rate": 0.5, "warmup_epochs": 0.0})
    assert optimizer.learning_rate(0, config=config, updates_per_epoch=9) == 0.5


def test_a_warm_up_longer_than_the_run_is_the_run(config):
    config.update({"learning_rate": 1.0, "epochs": 2, "warmup_epochs": 9.0})
    rates = [
        optimizer.learning_rate(u, config=config, updates_per_epoch=5)
        for u in range(10)
    ]
    np.testing.assert_allclose(rates, np.arange(1, 11) / 10)


def test_a_step_is_that_of_optax_adamw(config):
    config.update({"weight_decay": 0.1, "clip_norm": 1e9})
    grads = [gradients(seed) for seed in range(3)]
    theirs = optax.adamw(1e-3, weight_decay=0.1, mask=parameter_groups.is_kernel)
    params, state = PARAMS, theirs.init(PARAMS)
    for grad in grads:
        updates, state = theirs.update(grad, state, params)
        params = optax.apply_updates(params, updates)
    assert_close(run(optimizer.make(config, PARAMS), grads), params)


def test_adam_does_not_decay(config):
    config.update({"weight_decay": 0.1, "clip_norm": 1e9, "optimizer": "adam"})
    theirs = optax.adam(1e-3)
    updates, _ = theirs.update(gradients(0), theirs.init(PARAMS), PARAMS)
    expected = optax.apply_updates(PARAMS, updates)
    assert_close(run(optimizer.make(config, PARAMS), [gradients(0)]), expected)


def test_gradients_are_clipped_by_their_global_norm(config):
    config.update({"clip_norm": 1.0, "weight_decay": 0.0})
    large, direction = gradients(1, scale=50.0), gradients(1, scale=1.0)
    norm = optax.tree.norm(direction)
    unit = jax.tree.map(lambda g: g / norm, direction)
    tx = optimizer.make(config, PARAMS)
    # A second, small gradient shows what Adam remembers of the first.
    small = gradients(2, scale=1e-3)
    assert_close(run(tx, [large, small]), run(tx, [unit, small]), atol=1e-6)
    unclipped = optax.tree.max(jax.tree.map(jnp.abs, large))
    assert float(unclipped) > 10


def test_accumulated_batches_make_the_step_of_one_big_batch(config):
    """Clipping and moments see the mean of the parts; nothing moves in between."""
    parts = [gradients(seed) for seed in range(4)]
    mean = jax.tree.map(lambda *g: sum(g) / 4, *parts)
    config.update({"clip_norm": 0.5, "weight_decay": 0.1, "freeze": "^blocks_0"})
    big = run(optimizer.make(config, PARAMS), [mean, mean])
    config.accumulate = 4
    tx = optimizer.make(config, PARAMS)
    update = jax.jit(tx.update)
    assert_close(run(tx, parts[:3], update=update), PARAMS, atol=0)  # not yet
    assert_close(run(tx, [*parts, *parts], update=update), big, atol=1e-6)


@pytest.mark.parametrize(
    ("pattern", "frozen"),
    [
        ("^blocks_0/", {"blocks_0/mlp/kernel", "blocks_0/mlp/bias"}),
        ("^(norm|head)", {"norm/scale", "head/kernel", "head/bias"}),
        ("^(?!head)", set(flat(PARAMS)) - {"head/kernel", "head/bias"}),
    ],
)
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_what_matches_freeze_does_not_move_and_the_rest_does(
    config, pattern, frozen, layer_decay
):
    config.update({"freeze": pattern, "weight_decay": 0.1, "layer_decay": layer_decay})
    after = run(optimizer.make(config, PARAMS), [gradients(0), gradients(1)])
    before = flat(PARAMS)
    for path, value in flat(after).items():
        moved = bool((value != before[path]).any())
        assert moved == (path not in frozen), path


def test_frozen_parameters_change_nothing_for_the_others(config):
    config.update({"clip_norm": 1e9, "weight_decay": 0.1})
    free = flat(run(optimizer.make(config, PARAMS), [gradients(0)]))
    config.freeze = "^blocks_"
    fixed = flat(run(optimizer.make(config, PARAMS), [gradients(0)]))
    for path in ("head/kernel", "head/bias", "norm/scale", "patch_embedding/kernel"):
        np.testing.assert_allclose(fixed[path], free[path], rtol=1e-6)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("blocks_(", "is not a regular expression"),
        ("*", "is not a regular expression"),
        (".", "freezes 9 of the 9 parameters"),
        ("block_0", "freezes 0 of the 9 parameters"),
    ],
)
def test_a_freeze_that_cannot_be_meant_is_refused(config, pattern, said):
    config.freeze = pattern
    with pytest.raises(UserError, match=said) as caught:
        optimizer.make(config, PARAMS)
    assert "--config.train.freeze" in str(caught.value)
    assert repr(pattern) in str(caught.value)
    assert caught.value.exit_code == 2


def test_layer_decay_scales_the_whole_step(config):
    config.update({"clip_norm": 1e9, "weight_decay": 0.1})
    plain = flat(run(optimizer.make(config, PARAMS), [gradients(0)]))
    config.layer_decay = 0.5
    decayed = flat(run(optimizer.make(config, PARAMS), [gradients(0)]))
    before = flat(PARAMS)
    for path, scale in parameter_groups.layer_decays(list(flat(PARAMS)), 0.5).items():
        np.testing.assert_allclose(
            decayed[path] - before[path],
            scale * (plain[path] - before[path]),
            atol=1e-7,
        )


def test_multipliers_scale_the_step_of_what_they_match_first(config):
    config.update({"clip_norm": 1e9, "weight_decay": 0.1})
    plain = flat(run(optimizer.make(config, PARAMS), [gradients(0)]))
    config.lr_multipliers = (("^head/bias", 0.5), ("^head|norm", 10.0))
    changed = flat(run(optimizer.make(config, PARAMS), [gradients(0)]))
    expected = {"head/bias": 0.5, "head/kernel": 10.0, "norm/scale": 10.0}
    for path, before in flat(PARAMS).items():
        # Adam's first step is the gradient's sign, decay included: one factor for all.
        np.testing.assert_allclose(
            changed[path] - before,
            expected.get(path, 1.0) * (plain[path] - before),
            rtol=1e-4,
            atol=1e-7,
        )


def test_multipliers_layer_decay_and_accumulation_multiply(config):
    config.update({"clip_norm": 1e9, "weight_decay": 0.0, "accumulate": 2})
    config.update({"layer_decay": 0.5, "lr_multipliers": (("^blocks_1", 3.0),)})
    grads = [gradients(0), gradients(0)]
    after = flat(run(optimizer.make(config, PARAMS), grads, rate=0.01))
    # By hand: Adam's first step is sign(g), up to its epsilon.
    for path, scale in (("blocks_1/mlp/kernel", 1.5), ("blocks_0/mlp/bias", 0.25)):
        step = -0.01 * scale * np.sign(flat(gradients(0))[path])
        np.testing.assert_allclose(after[path] - flat(PARAMS)[path], step, rtol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": "^(?!head)"},
        {"lr_multipliers": (("^head", 2.0), (".", 0))},
    ],
)
@pytest.mark.parametrize("accumulate", [1, 4])
def test_what_does_not_train_has_no_state(config, changes, accumulate):
    config.update({**changes, "accumulate": accumulate})
    tx = optimizer.make(config, PARAMS)
    trained, fixed = tx.split(PARAMS)
    assert set(flat(trained)) == {"head/kernel", "head/bias"}
    assert set(flat(fixed)) == set(flat(PARAMS)) - set(flat(trained))
    of_head = sum(leaf.size for leaf in jax.tree.leaves(trained))
    held = sum(leaf.size for leaf in jax.tree.leaves(tx.init(PARAMS)))
    copies = 2 if accumulate == 1 else 3  # both moments, and the mean gradient
    assert held == copies * of_head + 1  # and Adam's count
    after = flat(run(tx, [gradients(0)] * accumulate))
    for path, value in flat(PARAMS).items():
        assert bool((after[path] != value).any()) == (path in flat(trained)), path


def test_the_average_moves_with_the_updates_only(config):
    config.update({"accumulate": 2, "ema_decay": 0.75, "freeze": "^head"})
    tx = optimizer.make(config, PARAMS)
    stats = {"bn": {"mean": jnp.arange(3.0), "var": jnp.ones(3)}}
    params, state = PARAMS, tx.init(PARAMS)
    ema = {"params": params, "batch_stats": stats}
    for step in range(4):
        before, average = params, ema
        stats = jax.tree.map(lambda s: s + 1, stats)
        params, ema, state = tx.update(
            tx.split(gradients(step))[0],
            *(state, params, ema),
            batch_stats=stats,
            step=step,
            rate=0.1,
        )
        if step % 2:
            raw = {"params": params, "batch_stats": stats}
            expected = jax.tree.map(lambda a, r: 0.75 * a + 0.25 * r, average, raw)
            assert_close(ema, expected, atol=1e-6)
            assert not np.allclose(params["norm"]["scale"], before["norm"]["scale"])
        else:
            assert_close((params, ema), (before, average), atol=0)
