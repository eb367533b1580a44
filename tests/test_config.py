import pytest

from aplantida_jax import config as config_lib
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
        ("train.batch_size", 0, "at least 1"),
        ("train.accumulate", 0, "at least 1"),
        ("train.epochs", -1, "at least 1"),
        ("train.log_every", 0, "at least 1"),
        ("eval.batch_size", 0, "at least 1"),
        ("predict.top_k", 0, "at least 1"),
        ("source.batch_size", 0, "at least 1"),
        ("source.batch_size", -1, "at least 1"),
        ("split.fractions", (0.8, 0.2), "sum 1"),
        ("split.fractions", (0.8, 0.1, 0.2), "sum 1"),
        ("split.fractions", (0.9, 0.1, 0.0), "positive"),
        ("split.fractions", (1.1, 0.1, -0.2), "positive"),
        ("split.fractions", ("0.8", "0.1", "0.1"), "three positive numbers"),
        ("model.attention", "flash", "auto, xla, cudnn"),
        ("model.drop_path", 1.0, "below 1"),
        ("model.frozen_norms", "*", "a regular expression (in '*': nothing"),
        ("train.freeze", "blocks_(", "a regular expression (in 'blocks_(': miss"),
        ("train.class_weights", "inverse", "none, balanced, square_root, effective"),
        ("train.class_weights_beta", 1.0, "below 1"),
        ("train.lr_multipliers", ("^head", 10.0), "as (('^head', 10.0),)"),
        ("train.lr_multipliers", (("^head", -1.0),), "0 or more"),
        ("train.lr_multipliers", (("^head", "10"),), "a text and a number"),
        ("train.lr_multipliers", (("(", 1.0),), "a regular expression (in '(': miss"),
        ("export.version", "1/../..", "letters, digits"),
        ("export.version", "", "letters, digits"),
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
