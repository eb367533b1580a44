import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aplantida_jax.errors import UserError
from aplantida_jax.train import state


class Network(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Dense(3, name="stem")(images.mean(axis=(1, 2)))
        x = nn.BatchNorm(use_running_average=not train, name="bn")(x)
        return nn.Dense(2, name="head")(x)


@functools.cache
def initial(seed):
    return state.init_variables(Network(), image_size=4, seed=seed)


def variables(seed=0):
    return jax.tree.map(jnp.copy, initial(seed))


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_seed_decides_the_variables():
    module = Network()
    by_flax = module.init(jax.random.key(5), jnp.zeros((1, 4, 4, 3)), train=False)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), variables(5), by_flax
    )
    other = variables(6)["params"]["stem"]["kernel"]
    assert (other != variables(5)["params"]["stem"]["kernel"]).any()


def test_a_new_state_is_at_its_beginning():
    tx = optax.scale_by_adam()
    fresh = state.create(variables(), tx, ema_decay=0.9)
    assert fresh.step == 0
    assert fresh.step.dtype == jnp.int32
    assert_same(fresh.params, variables()["params"])
    assert_same(fresh.batch_stats, variables()["batch_stats"])
    average = {"params": fresh.params, "batch_stats": fresh.batch_stats}
    assert_same(fresh.ema, average)
    assert_same(fresh.opt_state, tx.init(fresh.params))
    assert fresh.sums == {"loss": 0, "top1": 0, "count": 0}


def test_no_two_leaves_share_a_buffer_so_that_all_can_be_donated():
    fresh = state.create(variables(), optax.scale_by_adam(), ema_decay=0.9)
    leaves = jax.tree.leaves(fresh)
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)
    double = jax.jit(lambda s: jax.tree.map(lambda x: x * 2, s), donate_argnums=0)
    np.testing.assert_allclose(
        double(fresh).ema["params"]["head"]["kernel"],
        2 * variables()["params"]["head"]["kernel"],
        rtol=1e-6,
    )


def test_the_average_is_evaluated_when_there_is_one():
    tx = optax.identity()
    without = state.create(variables(), tx, ema_decay=0.0)
    assert without.ema == {}
    assert_same(state.evaluation_variables(without)["params"], without.params)
    averaged = state.create(variables(), tx, ema_decay=0.9)
    averaged = averaged.replace(**variables(1))
    found = state.evaluation_variables(averaged)
    assert_same(found, variables())
    # The raw network is kept beside it, whole.
    rest = state.training_variables(averaged)
    assert_same({name: rest[name] for name in found}, variables(1))


def test_a_network_without_statistics_has_an_empty_dictionary():
    fresh = state.create(
        {"params": variables()["params"]}, optax.identity(), ema_decay=0
    )
    assert fresh.batch_stats == {}


def test_the_variables_of_the_same_network_are_taken_over():
    source = jax.tree.map(np.asarray, variables(7))
    taken = state.take_over(variables(0), source, name="teacher_global")
    assert_same(taken, source)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(taken))


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        (lambda v: v["params"]["head"].pop("bias"), ["['params']['head']['bias']"]),
        (
            lambda v: v["params"]["stem"].update(extra=jnp.zeros(2)),
            ["['params']['stem']['extra']"],
        ),
        (
            lambda v: v["params"]["head"].update(kernel=jnp.zeros((3, 9))),
            ["['params']['head']['kernel']"],
        ),
        (lambda v: v.pop("batch_stats"), ["['batch_stats']['bn']['mean']"]),
    ],
    ids=["missing", "extra", "shape", "no statistics"],
)
def test_another_network_is_refused_with_the_paths_that_differ(change, paths):
    source = variables(7)
    change(source)
    with pytest.raises(UserError, match="init_from=teacher_global") as caught:
        state.take_over(variables(), source, name="teacher_global")
    for path in paths:
        assert path in str(caught.value)


@pytest.mark.parametrize(
    ("epochs", "best", "expected"),
    [(0, None, 0), (1, 1, 0), (4, 4, 0), (4, 1, 3), (7, 5, 2)],
)
def test_epochs_without_a_better_one_are_counted_from_the_best(epochs, best, expected):
    progress = state.Progress(
        key="k",
        examples="e",
        best={"epoch": best, "step": 1, "metrics": {}} if best else {},
        history=[{"epoch": i + 1} for i in range(epochs)],
    )
    assert progress.epochs_without_better == expected


def test_two_runs_never_share_their_progress():
    one, other = state.Progress("k", "e"), state.Progress("k", "e")
    one.history.append({})
    one.best["epoch"] = 1
    assert (other.history, other.best, other.iterator) == ([], {}, [])


@pytest.mark.parametrize(
    ("whole", "epoch"), [({6, 9}, 2), ({9, 12}, 3), ({3, 6, 9}, 2), ({7}, None)]
)
def test_another_best_is_the_first_of_the_highest_that_are_whole(whole, epoch):
    progress = state.Progress("k", "e")
    top1 = {1: 0.1, 2: 0.4, 3: 0.4, 4: 0.2}
    for number, value in top1.items():
        progress.step = 3 * number
        val = {"top1_accuracy": value, "loss": 1.0}
        record = {"epoch": number, "step": progress.step, "train_loss": 2.0}
        record |= {f"val_{name}": metric for name, metric in val.items()}
        progress.add_epoch(record, val, by="top1_accuracy")
    undisturbed = progress.best
    progress.choose_best(whole, by="top1_accuracy")
    if epoch is None:
        assert progress.best == {}
        assert progress.epochs_without_better == 0
    else:
        assert (progress.best["epoch"], progress.best["step"]) == (epoch, 3 * epoch)
        assert progress.epochs_without_better == 4 - epoch
    if epoch == 2:  # as it was remembered when it became the best
        assert progress.best == undisturbed


def test_the_best_is_by_the_metric_that_is_asked_for():
    epochs = [(0.6, 0.2), (0.5, 0.4), (0.7, 0.3)]
    for by, best, lost in (("top1_accuracy", 3, 1), ("macro_recall", 2, 3)):
        progress = state.Progress("k", "e")
        for number, values in enumerate(epochs, start=1):
            progress.step = number
            val = dict(zip(("top1_accuracy", "macro_recall"), values, strict=True))
            record = {f"val_{name}": value for name, value in val.items()}
            record |= {"epoch": number, "step": number}
            progress.add_epoch(record, val, by=by)
        assert progress.best["epoch"] == best
        progress.choose_best({1, 2, 3} - {best}, by=by)
        assert progress.best["epoch"] == lost


@pytest.mark.parametrize("change", [{"more": 1}, {"finished": None}])
def test_what_another_version_remembered_is_refused(change, tmp_path):
    remembered = dataclasses.asdict(state.Progress("k", "e", step=3))
    found = state.Progress.from_json(remembered, where=tmp_path)
    assert found == state.Progress("k", "e", step=3)
    for name, value in change.items():
        remembered[name] = value
        if value is None:
            del remembered[name]
    with pytest.raises(UserError, match="of another version .*differ in"):
        state.Progress.from_json(remembered, where=tmp_path)
