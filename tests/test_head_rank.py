"""A trained head at another rank: what it keeps, and what it refuses."""

import logging
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import CLASSES, Dataset
from tiny_vit import SIDE, tiny_vit

from aplantida_jax import paths
from aplantida_jax.errors import UserError
from aplantida_jax.models import head_rank
from aplantida_jax.train import checkpoint, initial_model, state

FEATURES, MANY = 12, 30
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(FEATURES, MANY)).astype(np.float32)
DENSE = {"head/kernel": KERNEL, "head/bias": RNG.normal(size=MANY), "norm": np.ones(3)}


def product(arrays):
    return arrays["head_in/kernel"].astype(np.float64) @ arrays["head/kernel"]


@pytest.mark.parametrize("rank", [1, 4, 11, 12])
def test_it_is_the_best_approximation_of_its_rank(rank):
    """Eckart and Young: what is left over is the energy of the other values."""
    singular = np.linalg.svd(KERNEL, compute_uv=False)
    head_in, head, kept = head_rank.factorise(KERNEL, rank)
    assert head_in.shape == (FEATURES, rank)
    assert head.shape == (rank, MANY)
    assert head_in.dtype == head.dtype == np.float32
    error = np.linalg.norm(KERNEL - head_in.astype(np.float64) @ head)
    assert error == pytest.approx(np.sqrt((singular[rank:] ** 2).sum()), abs=1e-5)
    assert kept == pytest.approx((singular[:rank] ** 2).sum() / (singular**2).sum())
    # The root of the singular values on either side.
    np.testing.assert_allclose(
        np.linalg.norm(head_in, axis=0), np.linalg.norm(head, axis=1), rtol=1e-5
    )


def test_the_error_falls_with_the_rank_to_nothing():
    errors = [
        np.linalg.norm(KERNEL - product(head_rank.change(DENSE, rank)))
        for rank in range(1, FEATURES + 1)
    ]
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-5


@pytest.mark.parametrize("rank", [13, -1])
def test_a_rank_that_the_head_cannot_have_is_refused(rank):
    with pytest.raises(UserError, match=rf"head_rank={rank} .*12 features and 30 .*12"):
        head_rank.change(DENSE, rank)


def test_ranks_go_all_ways_and_leave_the_rest_alone():
    full = head_rank.change(DENSE, FEATURES)
    back = head_rank.change(full, 0)
    assert back.keys() == DENSE.keys()
    np.testing.assert_allclose(back["head/kernel"], KERNEL, atol=1e-5)
    for name in ("head/bias", "norm"):
        assert full[name] is DENSE[name]
    low = head_rank.change(full, 5)
    direct = head_rank.change(DENSE, 5)
    np.testing.assert_allclose(product(low), product(direct), atol=1e-5)
    assert head_rank.change(low, 5)["head/kernel"] is low["head/kernel"]


def test_at_full_rank_the_network_answers_as_before():
    dense = tiny_vit(num_classes=30)
    variables = jax.tree.map(
        lambda leaf: RNG.normal(0.1, 0.3, leaf.shape).astype(np.float32),
        state.variable_shapes(dense, image_size=SIDE),
    )
    changed = initial_model._with_head_rank(variables, FEATURES)
    images = RNG.normal(size=(4, SIDE, SIDE, 3)).astype(np.float32)
    before = dense.apply(variables, images, train=False)
    after = tiny_vit(num_classes=30, head_rank=FEATURES).apply(
        changed, images, train=False
    )
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert np.ptp(before) > 0.1


@pytest.mark.parametrize("source", ["init_from", "pretrained"])
def test_a_run_starts_from_the_dense_head_of_another(
    trained: Dataset, source: str, caplog
):
    config = trained.teacher()
    parent = paths.run_dir(config, "teacher_global")
    config.name, config.model.head_rank = "low", 4
    config.model[source] = "teacher_global" if source == "init_from" else str(parent)
    with caplog.at_level(logging.INFO, logger="absl"):
        module, variables, fields, _ = initial_model.make(config, trained.label_map)
    assert fields["head_rank"] == module.head_rank == 4
    assert "has rank 4 of 6" in caplog.text
    best = checkpoint.load_best(parent, trained.label_map).variables["params"]
    kernel = np.asarray(best["head"]["kernel"])
    assert kernel.shape == (128, CLASSES)
    expected, kept, _ = np.linalg.svd(kernel, full_matrices=False)
    found = np.asarray(variables["params"]["head_in"]["kernel"])
    assert found.shape == (128, 4)
    assert f"keeps {100 * (kept[:4] ** 2).sum() / (kept**2).sum():.2f} %" in caplog.text
    directions = found / np.linalg.norm(found, axis=0)
    cosines = np.abs((directions * expected[:, :4]).sum(axis=0))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    bias = variables["params"]["head"]["bias"]
    np.testing.assert_array_equal(bias, best["head"]["bias"])


def test_a_rank_too_high_for_a_run_is_refused_before_it_starts(
    trained: Dataset, tmp_path: Path
):
    config = trained.teacher()
    config.model.update({"init_from": "teacher_global", "head_rank": 7})
    with pytest.raises(UserError, match="128 features and 6 classes.*from 1 to 6"):
        initial_model.make(config, trained.label_map, only_shapes=True)
