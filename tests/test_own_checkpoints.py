"""A run's checkpoint as pretrained weights: other classes and sizes, its licences."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import Dataset

from aplantida_jax import files, models, paths
from aplantida_jax.errors import UserError
from aplantida_jax.models import load_pretrained
from aplantida_jax.models.pretrained import describe
from aplantida_jax.train import (
    checkpoint,
    initial_model,
    pretraining,
    setup,
    state,
)

LABEL_MAP = "f" * 64
DATA = {"name": "dataset_train.jsonl", "kind": "data", "licences": ["CC-BY-4.0"]}
IMAGENET = {"name": "vit.npz", "kind": "weights", "licences": ["Apache-2.0"]}


MINI = {"name": "vit_mini_patch8_64", "depth": 2, "gelu": "exact"}


def write_run(workdir, *, licences=("Apache-2.0",), **fields):
    """A run as the training loop leaves it, of random parameters; returns them."""
    model = {"num_classes": 6, "image_size": 32, **(fields or MINI)}
    module = models.create(**model)
    shapes = state.variable_shapes(module, image_size=model["image_size"])
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda v: jnp.asarray(rng.random(v.shape), "f4"), shapes)
    info = {
        **{"name": "teacher_global", "step": 7, "epoch": 2, "label_map": LABEL_MAP},
        **{"model": model, "region": "", "metrics": {}},
        "input": {"mean": [0.5] * 3, "std": [0.25] * 3, "resize": 36},
        "provenance": [DATA, {**IMAGENET, "licences": list(licences)}],
    }
    with checkpoint.Checkpoints(workdir) as checkpoints:
        train_state = state.create(variables, optax.sgd(1.0), ema_decay=0.0)
        checkpoints.save(7, train_state, {})
        checkpoints.commit()
        checkpoint.write_best(workdir, info, checkpoints)
    return variables


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "teacher_global"
    return workdir, write_run(workdir)


def module_and_zeros(**fields):
    model = {"num_classes": 6, "image_size": 32, "depth": 2, "gelu": "exact", **fields}
    module = models.create("vit_mini_patch8_64", **model)
    shapes = state.variable_shapes(module, image_size=model["image_size"])
    return module, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize(
    "part", [".", "checkpoints/7", "checkpoints/7/model"], ids=["run", "step", "model"]
)
def test_everything_comes_back(run, part):
    workdir, variables = run
    module, zeros = module_and_zeros()
    found, report = load_pretrained(workdir / part, module, zeros, label_map=LABEL_MAP)
    jax.tree.map(np.testing.assert_array_equal, found["params"], variables["params"])
    assert (report.format, report.new, report.ignored) == ("aplantida_jax", (), ())


def test_describe_says_what_it_is_and_what_it_inherits(run):
    origin = describe(run[0])
    assert (origin.image_size, origin.num_classes) == (32, 6)
    assert (origin.mean, origin.std) == ((0.5,) * 3, (0.25,) * 3)
    assert origin.settings == {"gelu": "exact"}
    assert origin.label_map == LABEL_MAP
    assert origin.licence == "Apache-2.0, CC-BY-4.0"
    teacher = {"name": "teacher_global", "kind": "teacher", "licences": []}
    assert origin.ancestors == (teacher, DATA, IMAGENET)


def test_other_classes_get_a_new_head_and_another_size_new_positions(run):
    module, zeros = module_and_zeros(num_classes=9, image_size=48)
    found, report = load_pretrained(run[0], module, zeros)
    assert report.new == ("params/head/bias", "params/head/kernel")
    assert report.resampled == ("params/pos_embedding",)
    assert not np.asarray(found["params"]["head"]["kernel"]).any()
    before = run[1]["params"]["blocks_1"]["mlp"]["up"]["kernel"]
    after = found["params"]["blocks_1"]["mlp"]["up"]["kernel"]
    np.testing.assert_array_equal(after, before)


def test_as_many_classes_of_another_label_map_are_other_classes(run):
    module, zeros = module_and_zeros()
    _, report = load_pretrained(run[0], module, zeros, label_map="0" * 64)
    assert report.new == ("params/head/bias", "params/head/kernel")
    assert "params/head/kernel" in report.ignored


def test_statistics_and_a_factorised_head_come_too(tmp_path):
    settings = {"padding": "torch", "bn_eps": 1e-5}
    fields = {"name": "mobilenet_v2_0.35", "head_rank": 4, **settings}
    run = tmp_path / "student"
    variables = write_run(run, **fields)
    module = models.create(num_classes=6, **fields)
    shapes = state.variable_shapes(module, image_size=32)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    found, report = load_pretrained(run, module, zeros, label_map=LABEL_MAP)
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    assert report.new == ()
    assert describe(run).settings == settings


def damaged(run, tmp_path):
    workdir = tmp_path / "damaged"
    shutil.copytree(run[0], workdir)
    return workdir


def test_a_flipped_bit_is_noticed(run, tmp_path):
    workdir = damaged(run, tmp_path)
    largest = max(
        (p for p in workdir.rglob("model/**/*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    for part in (".", "checkpoints/7/model"):
        with pytest.raises(UserError, match="is damaged, or was never finished"):
            describe(workdir / part)


def test_a_best_json_of_another_network_is_noticed(run, tmp_path):
    workdir = damaged(run, tmp_path)
    best = json.loads((workdir / "best.json").read_text())
    best["model"]["depth"] = 3
    files.write_json(workdir / "best.json", best)
    module, zeros = module_and_zeros(depth=3)
    with pytest.raises(UserError, match="is not the network of best.json") as caught:
        load_pretrained(workdir, module, zeros)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["", "checkpoints", "nowhere"])
def test_a_directory_that_is_none_says_what_to_give(tmp_path, part):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match="give the run's working directory"):
        describe(tmp_path / part)


def test_another_kind_of_network_is_refused(run):
    module = models.create("mobilenet_v2_0.35", num_classes=6)
    with pytest.raises(UserError, match="for a VisionTransformer, but .* MobileNetV2"):
        load_pretrained(run[0], module, {})


def test_a_run_starts_from_it_and_inherits(tmp_path, dataset: Dataset):
    run = tmp_path / "parent"
    write_run(run, **{**MINI, "depth": 4})
    config = dataset.teacher()
    config.model.image_size = 48
    config.model.pretrained = str(run)
    _, variables, fields, ancestors = initial_model.make(config, dataset.label_map)
    assert fields["gelu"] == "exact"
    assert config.input.mean == (0.5,) * 3
    assert [a["name"] for a in ancestors] == [
        "teacher_global",
        "dataset_train.jsonl",
        "vit.npz",
    ]
    assert variables["params"]["pos_embedding"].shape == (1, 37, 128)
    assert [i.path for i in setup.inputs(config)][-1] == paths.best(run)


def test_a_taint_is_inherited_and_refused_at_once(tmp_path, dataset: Dataset):
    run = tmp_path / "parent"
    write_run(run, licences=("CC-BY-NC-4.0",), **MINI)
    config = dataset.teacher()
    config.model.pretrained = str(run)
    ancestors = pretraining.provenance(config, describe(run))
    with pytest.raises(
        UserError, match="'vit.npz': CC-BY-NC-4.0 is not for production"
    ):
        pretraining.require_licence(config, ancestors)
    config.dataset.licence_profile = "experimental"
    pretraining.require_licence(config, ancestors)
    config.model.pretrained_licence = "MIT"
    with pytest.raises(UserError, match="is a run, whose licences are recorded"):
        pretraining.provenance(config, describe(run))
