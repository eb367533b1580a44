"""The parts that the training benchmarks stand on measure what they say."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax import models, paths
from aplantida_jax.models import formats, load_pretrained
from aplantida_jax.train import state

ROOT = Path(__file__).resolve().parents[1]
PARITY = ROOT.parent / "shared" / "parity" / "google_vit_b16_style.npz"
MODEL = "vit_mini_patch8_64"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script by its name."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


def test_the_written_google_checkpoint_loads_whole(script, tmp_path: Path):
    path = tmp_path / "weights.npz"
    script("google_weights").write(path, model=MODEL, image_size=32)
    module = models.create(MODEL, num_classes=7)
    fresh = state.init_variables(module, image_size=64, seed=0)
    variables, report = load_pretrained(path, module, fresh)
    assert report.resampled == ("params/pos_embedding",)
    assert set(report.new) == {"params/head/kernel", "params/head/bias"}
    with np.load(path) as arrays:
        query = arrays[
            "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel"
        ]
    ours = variables["params"]["blocks_1"]["attention"]["qkv"]["kernel"]
    np.testing.assert_array_equal(ours[:, 0], query)


def test_its_names_are_those_of_a_published_one(script, tmp_path: Path):
    if not PARITY.exists():
        pytest.skip(f"no reference weights in {PARITY.parent}")
    path = tmp_path / "weights.npz"
    script("google_weights").write(path, model=MODEL, image_size=64)

    def of_one_block(file: Path) -> set[str]:
        with np.load(file) as arrays:  # modules are numbered in one of two ways
            names, _ = formats.normalise(dict(arrays))
        first, others = "encoderblock_0", "encoderblock_"
        return {name for name in names if first in name or others not in name}

    assert of_one_block(path) == of_one_block(PARITY)


def test_a_vits_forward_pass_is_counted_as_known(script):
    count = script("benchmark_train_step")._vit_multiply_adds
    base = models.create("vit_base_patch16_384", num_classes=1000)
    # 55.5 G multiply-adds, the figure for ViT-B/16 at 384 pixels that is known.
    assert count(base, 384) / 1e9 == pytest.approx(55.5, abs=0.05)


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H200", 989.4),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.4),
        ("NVIDIA A100-SXM4-40GB", 311.9),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 3060", 25.5),
        ("NVIDIA GeForce RTX 3060 Ti", 32.4),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", 21.9),
        # Others whose names begin alike: no figure is better than a wrong one.
        *(
            (name, 0.0)
            for name in (
                *("NVIDIA L40S", "NVIDIA L40", "NVIDIA GH200 480GB", "NVIDIA H100 NVL"),
                *("NVIDIA A100X", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 3080 Ti"),
                *("NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D"),
                *("NVIDIA GeForce RTX 3080 Laptop GPU", "cpu", "TPU v4"),
            )
        ),
    ],
)
def test_a_peak_is_of_the_device_itself(script, device, tflops):
    assert script("benchmark_train_step").peak_tflops(device) == tflops


def test_the_attention_that_is_named_is_the_one_that_runs(script):
    named = script("benchmark_train_step")._attention
    # "auto" was asked for, and a CPU has none of cuDNN's.
    assert named(models.create(MODEL, num_classes=7)) == "xla"
    assert named(models.create("mobilenet_v2_0.35", num_classes=7)) == "-"


def test_the_count_is_that_of_the_matrix_products_which_xla_sees(script):
    count = script("benchmark_train_step")._vit_multiply_adds
    module = models.create(MODEL, num_classes=7)
    shapes = state.variable_shapes(module, image_size=64)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    flops = jax.jit(module.apply).lower(shapes, image).cost_analysis()["flops"]
    # XLA's count has the softmax, norms and activations too.
    assert 2 * count(module, 64) < flops < 1.1 * 2 * count(module, 64)


def test_digests_tell_every_array_and_a_flipped_bit(script, trained: Dataset, tmp_path):
    runs, flip = script("training_runs"), script("benchmark_resume").flip
    config = trained.teacher()
    workdir = tmp_path / "run"
    shutil.copytree(paths.run_dir(config, config.name), workdir)
    newest = max(runs.recorded(workdir))
    found = runs.digests(workdir)
    module = models.create(MODEL, num_classes=6, image_size=32)
    parameters = jax.tree.leaves(state.variable_shapes(module, image_size=32))
    kept = [name for name in found if name.startswith("model/params/")]
    assert len(kept) == len(parameters)
    assert len([name for name in found if "/opt_state/" in name]) > 2 * len(parameters)
    assert {"history.jsonl", "progress/iterator", "progress/best"} <= found.keys()
    assert runs.differences(found, runs.digests(workdir)) == []
    assert runs.differences(found, found | {kept[0]: "0"}) == [kept[0]]
    assert runs.is_whole(workdir, newest)
    data = max(
        (p for p in (workdir / "checkpoints" / str(newest)).rglob("*") if p.is_file()),
        key=lambda path: path.stat().st_size,
    )
    flip(data, 100, 4)
    assert not runs.is_whole(workdir, newest)
    flip(data, 100, 4)
    assert runs.is_whole(workdir, newest)


def test_a_second_start_compiles_nothing_whatever_its_rate(script, tmp_path: Path):
    start = script("benchmark_start")
    experiment = start.Experiment(
        "tiny", "configs/teacher_global.py:demo", 6, 64, (40, 48), weights=False
    )
    command = start.prepare(experiment, tmp_path)
    command += ["--config.model.image_size=32", "--config.train.batch_size=16"]
    cache = tmp_path / "runs" / "xla_cache"

    def programs() -> set[str]:
        return {path.name for path in cache.glob("*-cache")}

    start.start(command, tmp_path / "first")
    first = programs()
    assert len([name for name in first if name.startswith("jit_train_step")]) == 1
    start.start([*command, "--config.train.learning_rate=0.01"], tmp_path / "second")
    assert programs() == first
