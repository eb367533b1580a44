"""Reading the command line into a checked, locked configuration.

The fields themselves are in `configs/common.py`, each once, with a comment.
"""

import math
import os
import re
from typing import Any

from absl import flags

from aplantida_jax import config_bounds, redaction
from aplantida_jax.config_bounds import value_of
from aplantida_jax.data import licences, regions
from aplantida_jax.errors import UserError

_CHOICES = {
    "split.method": ("grouped", "random"),
    "input.read_from": ("cache", "pack"),
    "model.dtype": ("float32", "bfloat16"),
    "model.attention": ("auto", "xla", "cudnn"),
    "train.class_weights": ("none", "balanced", "square_root", "effective_number"),
    "train.optimizer": ("adamw", "adam"),
    "train.best_by": ("top1_accuracy", "macro_recall"),
    "train.sampling": ("uniform", "class_balanced", "square_root"),
    "baseline.classifier": ("nearest_mean", "linear"),
    "distill.mode": ("none", "precomputed", "online"),
    "eval.split": ("train", "val", "test"),
    "predict.split": ("train", "val", "test"),
    "export.weights": ("float32", "float16", "uint8"),
    "export.backend": ("wasm", "cpu", "webgl"),
}
# What becomes part of a path: a plain name, in the directory where it belongs.
_NAMES = (
    *("name", "model.init_from", "distill.soft_labels", "combine.teachers"),
    *("export.run", "export.name", "export.version", "report.version", "report.runs"),
    "compare.name",
)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_OPTIONAL_NAMES = ("model.init_from", "compare.name")
# A password has no place on a command line, which every user of a machine can see.
_ADDRESS_VARIABLE = "APLANTIDA_MONGODB_URI"
DEFAULT_ADDRESS = "mongodb://localhost:27017/"


def parse_flags(argv: list[str], config_flag: Any, *, dry_run: Any) -> Any:
    """Parses the command line; every mistake is a UserError with exit code 2.

    A `source.uri` left at its default gives way to APLANTIDA_MONGODB_URI.
    """
    try:
        rest = flags.FLAGS(argv)
        config = config_flag.value
        if config is not None:
            config.dry_run = dry_run.value  # raises when the file did not load
    except flags.Error as error:
        raise _wrong(_short(error)) from None
    except (AttributeError, KeyError) as error:
        # ml_collections says: 'learning_rte'\nDid you mean "learning_rate" ...?
        reason = re.sub(r"\\n|\n", ": ", str(error.args[0] if error.args else error))
        raise _wrong("no such config field: " + re.sub(r"[\\']", "", reason)) from None
    except (OSError, TypeError, ValueError) as error:
        # ml_collections keeps the error of a file that did not load until it is used.
        reason = _short(error).rpartition("failure to load: ")[2]
        raise _wrong(f"--config: {reason}") from None
    if len(rest) > 1:
        raise _wrong(
            f"unexpected argument '{redaction.redact(rest[1])}': options look like "
            "--config.field=value (with two dashes and '=')"
        )
    if config is None:
        raise _wrong("--config is missing: e.g. --config=configs/teacher_global.py")
    if config.source.uri == DEFAULT_ADDRESS:
        config.source.uri = _address() or DEFAULT_ADDRESS
    return config


def _address() -> str:
    """The database's address from the environment, "" for none."""
    address = os.environ.get(_ADDRESS_VARIABLE, "")
    if address and not re.match(r"mongodb(\+srv)?://", address):
        raise _wrong(f"{_ADDRESS_VARIABLE} must be a mongodb:// or mongodb+srv:// URI")
    return address


def require_gpu() -> None:
    """Starts JAX on the GPU, so that there being none is said before any work."""
    import jax  # stages that never compute don't pay for it

    try:
        jax.devices("cuda")
    except (RuntimeError, AssertionError):
        raise _wrong(
            "--device=gpu: JAX finds no GPU; install it with EXTRA=cuda12 "
            "./scripts/setup.sh, or leave --device out"
        ) from None


def check(config: Any) -> None:
    """Refuses values that would fail later, before any work starts.

    Raises:
        UserError: names the field, its value and what it may be.
    """
    for field, choices in _CHOICES.items():
        if value_of(config, field) not in choices:
            _refuse(field, value_of(config, field), "one of " + ", ".join(choices))
    if config.dataset.licence_profile not in licences.PROFILES:
        _refuse(
            "dataset.licence_profile",
            config.dataset.licence_profile,
            "one of " + ", ".join(licences.PROFILES),
        )
    for region in regions.parse(config.region):
        if region not in regions.REGIONS:
            _refuse("region", config.region, "of " + ", ".join(regions.REGIONS))
    for field, allowed in config_bounds.refused(config):
        _refuse(field, value_of(config, field), allowed)
    for field in _NAMES:
        _check_name(config, field)
    if config.input.stream and config.input.read_from != "cache":
        _refuse("input.stream", True, "False while input.read_from is not 'cache'")
    _check_training(config)
    _check_compared(config.compare.runs)
    if config.predict.views and (config.predict.dense or config.predict.import_npz):
        allowed = "0 with predict.dense or predict.import_npz, which have one view"
        _refuse("predict.views", config.predict.views, allowed)
    for region in config.split.regions:
        if not isinstance(region, str):
            _refuse("split.regions", config.split.regions, "texts, as 'EU_SW'")
    _check_fractions(config.split.fractions)


def _check_name(config: Any, field: str) -> None:
    value = value_of(config, field)
    names = [value] if isinstance(value, str) else value
    for name in names:
        if name == "" and field in _OPTIONAL_NAMES:
            continue
        if not re.fullmatch(_NAME, str(name)):
            allowed = "of letters, digits, '_', '.', '-', and not begin with '.' or '-'"
            _refuse(field, value, allowed)


def _check_compared(runs: Any) -> None:
    """Two runs or more, none twice; "a+b" is two that differ in their seed."""
    names = [name for run in runs for name in str(run).split("+")]
    good = all(re.fullmatch(_NAME, name) for name in names)
    if not good or len(runs) < 2 or len(set(names)) < len(names):
        allowed = "two names of runs or more, all different, as ('a', 'b_s1+b_s2')"
        _refuse("compare.runs", runs, allowed)


def _check_fractions(fractions: Any) -> None:
    numbers = [value for value in fractions if isinstance(value, int | float)]
    positive = len(numbers) == len(fractions) == 3 and min(numbers) > 0
    if not positive or abs(sum(numbers) - 1) > 1e-6:
        _refuse("split.fractions", fractions, "three positive numbers with sum 1")


def _check_training(config: Any) -> None:
    model, train = config.model, config.train
    if config.input.resize < model.image_size:
        allowed = f"at least model.image_size, {model.image_size}, which is cut from it"
        _refuse("input.resize", config.input.resize, allowed)
    if model.init_from and model.pretrained:
        allowed = f"left out beside model.init_from={model.init_from!r}: one of them"
        _refuse("model.pretrained", model.pretrained, allowed)
    if train.optimizer == "adam" and train.weight_decay > 0:
        allowed = "0 with train.optimizer=adam, which has none: take adamw"
        _refuse("train.weight_decay", train.weight_decay, allowed)
    _check_distillation(config)
    _check_multipliers(train.lr_multipliers)
    patterns = [("train.lr_multipliers", pair[0]) for pair in train.lr_multipliers]
    patterns += [
        (f, value_of(config, f)) for f in ("train.freeze", "model.frozen_norms")
    ]
    for field, pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            allowed = f"a regular expression (in {pattern!r}: {error})"
            _refuse(field, value_of(config, field), allowed)


def _check_distillation(config: Any) -> None:
    mode = config.distill.mode
    if mode != "none" and config.distill.kl_weight == 0:
        allowed = (
            f"above 0 with distill.mode={mode!r}, whose teachers would teach nothing: "
            "for labels alone take distill.mode=none"
        )
        _refuse("distill.kl_weight", 0.0, allowed)
    if mode == "online":
        teachers, weights = config.combine.teachers, config.combine.weights
        if not teachers or len(teachers) != len(weights) or min(weights) <= 0:
            allowed = f"a positive number for each of {len(teachers)} combine.teachers"
            _refuse("combine.weights", tuple(weights), allowed)


def _check_multipliers(pairs: Any) -> None:
    for pair in pairs:
        if not (
            isinstance(pair, tuple)
            and [type(part) for part in pair] in ([str, float], [str, int])
            and 0 <= pair[1] < math.inf
        ):
            allowed = "pairs of a text and a number, 0 or more, as (('^head', 10.0),)"
            _refuse("train.lr_multipliers", pairs, allowed)


def _refuse(field: str, value: Any, allowed: str) -> None:
    raise UserError(
        f"--config.{field}={value!r} is not possible: it must be {allowed}", exit_code=2
    )


def _wrong(message: str) -> UserError:
    """What is wrong with the command line, without the passwords that it may hold."""
    return UserError(redaction.redact(message), exit_code=2)


def _short(error: Exception) -> str:
    """The first and the last line of a message, without the traceback in between."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(dict.fromkeys([*lines[:1], *lines[-1:]])) or type(error).__name__
