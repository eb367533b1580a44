import math

import pytest
from ml_collections import ConfigDict

from aplantida_jax import config as config_lib
from aplantida_jax.bounds import Several
from aplantida_jax.config_bounds import BOUNDS
from aplantida_jax.errors import UserError
from configs import common


@pytest.fixture
def config():
    return common.base("teacher_x", "train")


def test_the_common_configuration_is_possible(config):
    config_lib.check(config)
    assert config.lock().is_locked


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("split.method", "stratified", "grouped, random"),
        ("model.dtype", "float16", "float32, bfloat16"),
        ("train.optimizer", "sgd", "adamw, adam"),
        ("train.sampling", "balanced", "uniform, class_balanced, square_root"),
        ("distill.mode", "offline", "none, precomputed"),
        ("eval.split", "all", "train, val, test"),
        ("predict.split", "dev", "train, val, test"),
        ("export.weights", "int4", "float32, float16, uint8"),
        ("export.backend", "webgpu", "wasm, cpu, webgl"),
        ("dataset.licence_profile", "prod", "production"),
        ("region", "EU_SOUTH", "EU_SW, EU_NORTH, EU_EAST"),
        ("region", "EU_SW,ES", "EU_SW, EU_NORTH, EU_EAST"),
        ("train.batch_size", 0, "from 1 to"),
        ("source.batch_size", 0, "from 1 to"),
        ("input.resize", 383, "at least model.image_size, 384"),
        ("augment.scale", (0.5,), "2 numbers"),
        ("augment.scale", (0.0, 0.0), "each from 0.01 to 1, the lower first"),
        ("augment.scale", (1.0, 0.5), "the lower first"),
        ("augment.scale", ("0.5", "1"), "2 numbers"),
        ("input.std", (0.2, 0.0, 0.2), "3 numbers, each from 0.001"),
        ("input.mean", (0.5, 0.5), "3 numbers"),
        ("calibrate.threshold_range", (0.4, 1.5), "from 0 to 1"),
        ("split.fractions", (0.8, 0.2), "sum 1"),
        ("split.fractions", (0.8, 0.1, 0.2), "sum 1"),
        ("split.fractions", (0.9, 0.1, 0.0), "positive"),
        ("split.fractions", (1.1, 0.1, -0.2), "positive"),
        ("split.fractions", ("0.8", "0.1", "0.1"), "three positive numbers"),
        ("model.attention", "flash", "auto, xla, cudnn"),
        ("model.drop_path", 1.0, "from 0 to 0.99"),
        ("model.frozen_norms", "*", "a regular expression (in '*': nothing"),
        ("train.freeze", "blocks_(", "a regular expression (in 'blocks_(': miss"),
        ("train.class_weights", "inverse", "none, balanced, square_root, effective"),
        ("train.class_weights_beta", 1.0, "to 0.999999999"),
        ("train.lr_multipliers", ("^head", 10.0), "as (('^head', 10.0),)"),
        ("train.lr_multipliers", (("^head", -1.0),), "0 or more"),
        ("train.lr_multipliers", (("^head", "10"),), "a text and a number"),
        ("train.lr_multipliers", (("(", 1.0),), "a regular expression (in '(': miss"),
        ("export.version", "1/../..", "letters, digits"),
        ("export.version", "", "letters, digits"),
        ("export.version", "..", "not begin with '.'"),
        ("name", "../x", "letters, digits"),
        ("name", "", "letters, digits"),
        ("model.init_from", "../teacher", "letters, digits"),
        ("distill.soft_labels", "a/b", "letters, digits"),
        ("combine.teachers", ("teacher_global", "/etc"), "letters, digits"),
        ("report.runs", ("-rf",), "not begin with"),
    ],
)
def test_what_cannot_work_is_refused_with_what_can(config, field, value, allowed):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError) as caught:
        config_lib.check(config)
    assert str(caught.value).startswith(f"--config.{field}={value!r} is not possible")
    assert allowed in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "teacher_x.2"),
        ("model.init_from", ""),
        ("train.weight_decay", 0.0),
        ("region", " EU_NORTH , EU_EAST "),
        ("region", "EU_SW"),
        ("split.fractions", (0.7, 0.2, 0.1)),
        ("split.fractions", (1 / 3, 1 / 3, 1 / 3)),
        ("export.version", "2025-01.rc_1"),
        ("train.batch_size", 1),
        ("train.lr_multipliers", (("^head", 10.0), ("bias$", 0))),
        ("model.drop_path", 0.2),
        ("dataset.licence_profile", "experimental"),
    ],
)
def test_what_can_work_is_let_through(config, field, value):
    config.update_from_flattened_dict({field: value})
    config_lib.check(config)
    found = config
    for part in field.split("."):
        found = found[part]
    assert found == value  # and is left as it is


def numeric(section, prefix=""):
    """Fields that are a number, or several."""
    for name, value in section.items():
        if isinstance(value, ConfigDict):
            yield from numeric(value, f"{prefix}{name}.")
        parts = value if isinstance(value, tuple) and value else (value,)
        if all(type(part) in (int, float) for part in parts):
            yield f"{prefix}{name}"


# Sections with checks of their own.
ELSEWHERE = ("download.", "demo.", "split.", "combine.")


def test_every_number_has_bounds(config):
    numbers = {f for f in numeric(config) if not f.startswith(ELSEWHERE)}
    assert set(BOUNDS) == numbers
    assert len(numbers) > 50


@pytest.mark.parametrize("field", BOUNDS)
def test_just_outside_the_bounds_is_refused_and_inside_let_through(config, field):
    bounds = BOUNDS[field]
    each = bounds.each if isinstance(bounds, Several) else bounds
    for number in (each.least - 2, each.most * 1.1, math.nan, math.inf):
        assert not bounds.allow(of_kind(bounds, number)), number
    for number in (each.least, each.most):
        assert bounds.allow(of_kind(bounds, number)), number
    kind = type(config_lib.value_of(config, field))
    wrong = of_kind(bounds, each.least - 2)
    config.update_from_flattened_dict({field: kind(wrong)})
    with pytest.raises(UserError, match=f"^--config.{field}=.* is not possible"):
        config_lib.check(config)


def of_kind(bounds, number):
    return (number,) * bounds.count if isinstance(bounds, Several) else number


def test_weights_from_two_places_are_refused(config):
    config.model.init_from, config.model.pretrained = "teacher_global", "w.npz"
    with pytest.raises(UserError, match="model.pretrained='w.npz' is .*one of them"):
        config_lib.check(config)


def test_a_weight_decay_that_adam_would_not_apply_is_refused(config):
    config.train.optimizer = "adam"
    with pytest.raises(UserError, match="train.weight_decay=0.05 .*take adamw"):
        config_lib.check(config)
    config.train.weight_decay = 0.0
    config_lib.check(config)


@pytest.mark.parametrize("other", [{"dense": True}, {"import_npz": "logits.npz"}])
def test_dense_soft_labels_of_views_are_refused(config, other):
    config.predict.update(other)
    config_lib.check(config)
    config.predict.views = 4
    with pytest.raises(UserError, match="predict.views.*4.*which have one view"):
        config_lib.check(config)


def test_a_distillation_without_any_loss_is_refused(config):
    config.distill.update({"kl_weight": 0.0, "ce_weight": 0.0})
    config_lib.check(config)  # no teachers: neither is read
    config.distill.mode = "online"
    with pytest.raises(UserError, match="distill.kl_weight=0.0 is not possible"):
        config_lib.check(config)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.4, 0.6, 0.0), ()])
def test_online_teachers_have_a_positive_weight_each(config, weights):
    config.combine.weights = weights
    config.distill.mode = "online"
    with pytest.raises(UserError, match="combine.weights=.*each of 3 combine.teachers"):
        config_lib.check(config)
