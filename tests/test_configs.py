import importlib
import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from aplantida_jax import config as config_lib
from aplantida_jax import stages
from configs import common

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / "configs").glob("*.py")
    if path.stem not in ("__init__", "common", "dataset_fields", "presets")
)
CODE = {
    path: path.read_text() for path in sorted((ROOT / "aplantida_jax").rglob("*.py"))
}
SCRIPTS = {path: path.read_text() for path in sorted((ROOT / "scripts").glob("*.sh"))}


def load(name, *variant):
    return importlib.import_module(f"configs.{name}").get_config(*variant)


def leaves(config, prefix=""):
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


FIELDS = sorted(leaves(common.base("x", "train")))


@pytest.mark.parametrize("variant", common.VARIANTS)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_variant_loads_locked_and_possible(name, variant):
    config = load(name, variant)
    config_lib.check(config)
    assert config.name == name
    assert config.stage in stages.STAGES
    config.lock()
    with pytest.raises(AttributeError, match="Did you mean"):
        config.train.learning_rte = 1.0


@pytest.mark.parametrize("variant", common.VARIANTS)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_change_values_and_declare_no_field(name, variant):
    config = load(name, variant)
    assert sorted(leaves(config)) == FIELDS
    plain = common.base(name, "train")
    for field in FIELDS:
        *groups, last = field.split(".")
        theirs, ours = config, plain
        for group in groups:
            theirs, ours = theirs[group], ours[group]
        assert type(theirs[last]) is type(ours[last]), field


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_variants_never_share_their_files(name):
    for variant in common.VARIANTS[1:]:
        config = load(name, variant)
        for field in ("data_dir", "runs_dir", "dist_dir"):
            assert config[field].endswith(f"/{variant}")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_unknown_variant_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"':tiny'.*demo.*photos"):
        load(name, "tiny")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_docstring_is_a_lab_note_with_a_command_that_exists(name):
    note = importlib.import_module(f"configs.{name}").__doc__
    direct = f"python -m aplantida_jax.main --config=configs/{name}.py"
    used = [s for s in re.findall(r"\./(scripts/\w+\.sh)", note) if name in read(s)]
    assert direct in note or used


def read(path):
    return (ROOT / path).read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_file_that_a_config_refers_to_is_an_experiment(name):
    for variant in ("", "demo"):
        config = load(name, variant)
        named = {config.export.run, *config.combine.teachers, *config.report.runs}
        named |= {config.model.init_from} - {""}
        assert named <= set(EXPERIMENTS)
        assert len(config.combine.teachers) == len(config.combine.weights)


def test_options_named_in_scripts_notes_and_messages_exist():
    notes = {ROOT / "configs" / f"{n}.py": read(f"configs/{n}.py") for n in EXPERIMENTS}
    groups = {field.rpartition(".")[0] for field in FIELDS}
    placeholders = {"field"}  # --config.field=value
    found = 0
    for path, text in {**CODE, **SCRIPTS, **notes}.items():
        for option in re.findall(r"--config\.([a-z_]+(?:\.[a-z_]+)*)", text):
            found += 1
            assert option in {*FIELDS, *groups, *placeholders}, path
    assert found > 30


def test_configs_named_in_scripts_and_messages_exist():
    for path, text in {**CODE, **SCRIPTS}.items():
        for name in re.findall(r"configs/(\w+)\.py", text):
            assert name in {*EXPERIMENTS, "common", "presets"}, path


def test_the_stages_of_the_scripts_exist():
    steps = re.findall(
        r"^(?:.*\|\| )?step (\w+) (\w+)", "\n".join(SCRIPTS.values()), re.M
    )
    assert len(steps) > 30
    for experiment, stage in steps:
        assert experiment in EXPERIMENTS
        assert stage in stages.STAGES


# `variant` is a note for the manifest.
@pytest.mark.parametrize("field", [name for name in FIELDS if name != "variant"])
def test_every_field_is_read_somewhere(field):
    name = field.rpartition(".")[2]
    used = re.compile(rf"\.{name}\b|[\"'](?:\w+\.)?{name}[\"']")
    assert any(used.search(text) for text in CODE.values())


def test_fields_read_from_the_configuration_exist():
    top = {field.partition(".")[0] for field in FIELDS}
    inside = {field.rpartition(".")[2] for field in FIELDS}
    methods = {name for name in dir(ConfigDict) if not name.startswith("_")}
    for path, text in CODE.items():
        if path.parent.name == "models":  # they take fields, not configurations
            continue
        read = re.findall(r"(?<![-\"'./])\bconfig\.(\w+)(?:\.(\w+))?", text)
        for group, name in read:
            if group in top and name and name not in methods:
                assert f"{group}.{name}" in FIELDS or group in FIELDS, path
            else:
                assert group in {*top, *inside, *methods}, f"{path}: config.{group}"
