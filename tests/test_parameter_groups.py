"""Parameters by their paths: which train, decay, and how fast."""

import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

from aplantida_jax import models
from aplantida_jax.errors import UserError
from aplantida_jax.train import parameter_groups
from configs import common

PATHS = (
    "patch_embedding/kernel",
    "patch_embedding/bias",
    "blocks_0/mlp/kernel",
    "blocks_0/mlp/bias",
    "blocks_1/mlp/kernel",
    "blocks_1/mlp/bias",
    "norm/scale",
    "head/kernel",
    "head/bias",
)
PARAMS = traverse_util.unflatten_dict(dict.fromkeys(PATHS, 0.0), sep="/")


def scales(**changes):
    config = common.base("x", "train").train
    config.update(changes)
    return parameter_groups.learning_rate_scales(config, PARAMS)


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")


def test_everything_trains_alike_unless_asked():
    assert scales() == dict.fromkeys(PATHS, 1.0)


def test_decay_multipliers_and_freezing_by_hand():
    assert scales(
        layer_decay=0.5,
        lr_multipliers=(("bias$", 2.0), ("^head", 10.0), ("^norm", 0)),
        freeze="^patch",
    ) == {
        "patch_embedding/kernel": 0.0,
        "patch_embedding/bias": 0.0,
        "blocks_0/mlp/kernel": 0.25,
        "blocks_0/mlp/bias": 0.5,
        "blocks_1/mlp/kernel": 0.5,
        "blocks_1/mlp/bias": 1.0,
        "norm/scale": 0.0,
        "head/kernel": 10.0,
        "head/bias": 2.0,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr_multipliers": (("blocks_(", 2.0),)}, "is not a regular expression"),
        ({"lr_multipliers": (("heads", 2.0),)}, "'heads' matches, .* 0 of the 9"),
        (
            {"lr_multipliers": (("^head", 2.0), ("head/bias", 3.0))},
            "'head/bias' matches, beside what comes before it, 0 of the 9",
        ),
        ({"lr_multipliers": (("^head", -1.0),)}, "-1.0 of '.head' must be 0 or more"),
        ({"lr_multipliers": (("^head", float("nan")),)}, "must be 0 or more"),
        ({"lr_multipliers": ((".", 0.0),)}, "none of the 9 parameters to train"),
        (
            {"lr_multipliers": (("^head", 0.0),), "freeze": "^(?!head)"},
            "none of the 9 parameters to train",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(changes, said):
    with pytest.raises(UserError, match=said) as caught:
        scales(**changes)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_parts_are_put_together_again():
    trained, fixed = parameter_groups.split(PARAMS, scales(freeze="^blocks_0|bias"))
    assert set(flat(fixed)) == {p for p in PATHS if "blocks_0" in p or "bias" in p}
    assert not set(flat(trained)) & set(flat(fixed))
    assert parameter_groups.merge(trained, fixed) == PARAMS


def abstract(name, size):
    module = models.create(name, num_classes=10, image_size=size)
    shapes = jax.eval_shape(
        lambda: module.init(
            jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False
        )
    )
    return shapes["params"]


@pytest.mark.parametrize("name", ["vit_mini_patch8_64", "mobilenet_v2_0.35"])
def test_of_a_real_network_all_matrices_decay_and_nothing_else(name):
    params = flat(abstract(name, 64))
    decays = flat(
        parameter_groups.is_kernel(traverse_util.unflatten_dict(params, sep="/"))
    )
    for path, leaf in params.items():
        is_matrix = leaf.ndim >= 2 and path.rpartition("/")[2] not in (
            "bias",  # of the heads of attention: [3, heads, d]
            "cls_token",
            "pos_embedding",
        )
        assert decays[path] == is_matrix, path
    assert sum(decays.values()) > 10


def test_layer_scales_by_hand():
    assert parameter_groups.layer_decays(list(PATHS), 0.5) == {
        "head/kernel": 1.0,
        "head/bias": 1.0,
        "norm/scale": 0.5,
        "blocks_1/mlp/kernel": 0.5,
        "blocks_1/mlp/bias": 0.5,
        "blocks_0/mlp/kernel": 0.25,
        "blocks_0/mlp/bias": 0.25,
        "patch_embedding/kernel": 0.125,
        "patch_embedding/bias": 0.125,
    }


@pytest.mark.parametrize(
    ("name", "first", "depth"),
    [("vit_mini_patch8_64", "patch_embedding", 4), ("mobilenet_v2_0.35", "stem", 17)],
)
def test_layer_scales_of_a_real_network_fall_towards_the_input(name, first, depth):
    scales = parameter_groups.layer_decays(list(flat(abstract(name, 64))), 0.9)
    for path, scale in scales.items():
        if path.startswith(first) or path in ("cls_token", "pos_embedding"):
            assert scale == pytest.approx(0.9 ** (depth + 1)), path
        if path.startswith(f"blocks_{depth - 1}/"):
            assert scale == 0.9, path
        if path.startswith("blocks_0/"):
            assert scale == pytest.approx(0.9**depth), path
    assert scales["head/kernel"] == 1.0
    assert min(scales.values()) == pytest.approx(0.9 ** (depth + 1))
