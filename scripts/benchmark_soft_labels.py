"""P5: bytes of a soft label, what packing costs in KL at T = 1 and 3, rows a second.

    .venv/bin/python scripts/benchmark_soft_labels.py [--run=DIRECTORY]

The divergence is KL(dense || packed) in nats, of what the loss makes of a packed row:
kept classes, and the tail spread evenly over all others. `kl_` is at temperature 1;
`kl_in_loss_` is T^2 KL of the rows softened by T = 3, which the loss is of. P5 asks for
two things, each with its own goal here, and no row has both by itself: the bytes at
8,587 classes, and the divergence of a small teacher. As k = 32 of a few classes would
cut nothing, the small teacher's goal is at a k that is the same share of its classes
(1 at least), and the made-up rows have the goal at the real size. `not met` stands
behind a goal that is missed. Of three kinds of rows:

    teacher  the answers of a trained run on its test split: --run names its working
             directory; without it a small teacher of 12 classes is trained here
    sure     made up, 8,587 classes: 0.9 for the class on average, as a teacher has for
             what it was trained on; the n-th of the others has about n^-1.5 of the rest
    unsure   0.3 for the class and n^-1 for the others, which is how an ImageNet network
             answers photos of plants that it never learnt (MobileNetV2, 1,001 classes:
             0.31, and n^-1 from n = 2 to 500; its divergence at k = 32 is 0.18)

What k classes cannot tell is which of the others had more than an even share of the
tail: the divergence is the tail's mass times its own from an even spread. So it is the
teacher's doubt that decides, stage predict says what it comes to, and predict.top_k
is what to raise.

Prints `name value goal` lines.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark_dataset
import numpy as np
import scipy.special
from absl import logging
from ml_collections import ConfigDict

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels, regions
from aplantida_jax.distill import divergence, mixture, rows, store
from aplantida_jax.distill.rows import Layout
from aplantida_jax.evaluate import inference
from aplantida_jax.train import checkpoint, loop
from configs import teacher_global

_CLASSES, _K = 8587, 32
_ROWS = 1024
_TOP_K = (8, 16, 32, 64)
_GOAL = 1 / 390
_KL_GOAL = 0.01
_TEMPERATURE = 3.0
_WEIGHTS = (0.4, 0.4, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, help="working directory of a run")
    run = parser.parse_args().run
    logging.set_verbosity(logging.ERROR)
    print_sizes()
    with tempfile.TemporaryDirectory() as directory:
        if run is None:
            run = train(Path(directory))
        probability, covered = answers_of(run)
        print(f"teacher_classes {probability.shape[1]} -")
        share = max(1, round(_K * probability.shape[1] / _CLASSES))
        print_divergences("teacher", probability, covered, of_goal=share)
        every = np.ones(_CLASSES, bool)
        sure = made_up(0.9, exponent=1.5)
        print_divergences("sure", sure, every, of_goal=_K)
        print_divergences("unsure", made_up(0.3, exponent=1.0), every, of_goal=_K)
        print_rates(sure)


def print_sizes() -> None:
    """Of a teacher's row, of one of three teachers, and of these with a view."""
    for name, layout in (
        ("soft_label", Layout(_K, _CLASSES)),
        ("soft_label_of_3", Layout(_K, _CLASSES, tails=3)),
        ("soft_label_with_view", Layout(_K, _CLASSES, with_views=True)),
        ("soft_label_of_3_with_view", Layout(_K, _CLASSES, with_views=True, tails=3)),
    ):
        size = layout.row_type.itemsize
        print(f"{name}_bytes {size} -")
        ratio = size / (4 * _CLASSES)
        print_at_most(f"{name}_bytes_ratio", ratio, _GOAL)


def print_at_most(name: str, value: float, goal: float) -> None:
    verdict = "" if value <= goal else " not met"
    print(f"{name} {value:.5f} <={goal:.5f}{verdict}", flush=True)


def train(root: Path) -> Path:
    """A small teacher's working directory."""
    config = teacher_global.get_config("demo")
    config.data_dir, config.runs_dir = str(root / "data"), str(root / "runs")
    config.model.image_size, config.input.resize = 32, 36
    config.train.update({"epochs": 8, "batch_size": 32, "learning_rate": 2e-3})
    photos = {"train": 480, "val": 96, "test": 240}
    benchmark_dataset.write(config, classes=12, photos=photos, size=(96, 128))
    workdir = paths.run_dir(config, config.name)
    loop.run(config, workdir)
    return workdir


def answers_of(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float64 [n, c] of a run's test split; bool [c], its classes."""
    config = config_of(run)
    label_map = labels.read(paths.classes(config))
    best = checkpoint.load_best(run, label_map)
    split = paths.split_file(config, "test", config.region)
    said = inference.run(config, best, split, label_map)
    covered = label_map.in_regions(regions.parse(config.region))
    logits = said.logits.astype(np.float64)
    return scipy.special.softmax(logits, axis=1), np.array(covered)


def config_of(run: Path) -> ConfigDict:
    """A run's configuration; fields that came later have today's values."""
    recorded = manifest.read(run, made_by="train")["config"]
    today = teacher_global.get_config().to_dict()
    merged = {
        name: {**value, **recorded.get(name, {})}
        if isinstance(value, dict)
        else recorded.get(name, value)
        for name, value in today.items()
    }
    return ConfigDict(merged)


def made_up(certainty: float, *, exponent: float) -> np.ndarray:
    """Rows [n, 8587] of a class, and all others by a power of their rank.

    Args:
        certainty: of the class, on average; drawn from a beta distribution, a + b = 5.
        exponent: the n-th of the others has n^-exponent, give or take e^0.5.
    """
    rng = np.random.default_rng(0)
    of_class = rng.beta(5 * certainty, 5 * (1 - certainty), (_ROWS, 1))
    others = np.exp(rng.normal(0, 0.5, (_ROWS, _CLASSES - 1)))
    others *= np.arange(1.0, _CLASSES) ** -exponent
    others *= (1 - of_class) / others.sum(axis=1, keepdims=True)
    return rng.permuted(np.concatenate([of_class, others], axis=1), axis=1)


def print_divergences(
    name: str, probability: np.ndarray, covered: np.ndarray, *, of_goal: int
) -> None:
    """The table over k; the goal is that of k = `of_goal`, at temperature 1."""
    for k in sorted({of_goal, *_TOP_K}):
        layout = Layout(k, probability.shape[1])
        ids = np.arange(len(probability), dtype=np.uint64)
        packed = rows.pack(ids, *rows.top(probability, k), layout)
        plain, softened = (
            divergence.divergence(
                *(probability, packed, layout, covered[None]), temperature=at
            )
            for at in (1.0, _TEMPERATURE)
        )
        if k == of_goal:
            print_at_most(f"kl_mean_{name}_k{k}", plain.mean(), _KL_GOAL)
        else:
            print(f"kl_mean_{name}_k{k} {plain.mean():.5f} -")
        print(f"kl_99th_percentile_{name}_k{k} {np.percentile(plain, 99):.5f} -")
        print(f"kl_in_loss_mean_{name}_k{k} {softened.mean():.5f} -")
        print(f"bytes_{name}_k{k} {layout.row_type.itemsize} -", flush=True)


def print_rates(probability: np.ndarray) -> None:
    """Of packing, of which a ViT-B on a GPU asks for 600 a second, and of reading."""
    layout = Layout(_K, _CLASSES)
    ids = np.arange(_ROWS, dtype=np.uint64)
    top = rows.top(probability, _K)
    packed = rows.pack(ids, *top, layout)
    seconds = {
        "top": best_of(lambda: rows.top(probability, _K)),
        "pack": best_of(lambda: rows.pack(ids, *top, layout)),
        "unpack": best_of(lambda: rows.unpack(packed, layout)),
    }
    for name, needed in (("top", "-"), ("pack", ">=6000"), ("unpack", "-")):
        print(f"{name}_rows_per_second {_ROWS / seconds[name]:.0f} {needed}")
    batch = best_of(lambda: rows.unpack(packed[:128], layout))
    print(f"unpack_128_rows_milliseconds {1e3 * batch:.2f} <=5")
    with tempfile.TemporaryDirectory() as directory:
        teachers = [
            mixture.Teacher(str(i), weight, stored(Path(directory) / str(i), packed))
            for i, weight in enumerate(_WEIGHTS)
        ]
        of_three = Layout(_K, _CLASSES, tails=len(teachers))
        asked = np.random.default_rng(1).integers(0, _ROWS, 128).astype(np.uint64)
        batch = best_of(lambda: teachers[0].soft_labels.look_up(asked))
        print(f"look_up_128_rows_milliseconds {1e3 * batch:.2f} <=5")
        mixed = best_of(lambda: mixture.mix(teachers, ids, of_three))
    print(f"combine_rows_per_second {_ROWS / mixed:.0f} -")


def stored(directory: Path, packed: np.ndarray) -> store.SoftLabels:
    label_map = benchmark_dataset.label_map(_CLASSES)
    described: dict[str, Any] = {"made_by": "predict", "label_map": label_map}
    writer = store.Writer(directory, k=_K, key="", provenance=[], **described)
    writer.append(packed)
    return store.SoftLabels(directory, **described)


def best_of(work: Callable[[], Any], times: int = 7) -> float:
    """Seconds of the fastest."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()
