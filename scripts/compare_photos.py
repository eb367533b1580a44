"""What helps on a small collection of real photos: one table of trained networks.

    .venv/bin/python scripts/compare_photos.py DUMP.json \
        --small=MOBILENET_0.35_WEIGHTS --large=MOBILENET_1.0_WEIGHTS [--only=NAME ...]

Three networks (MobileNetV2 0.35 and 1.0 from real weights, a small ViT from scratch),
each trained with and without smart crop, beside a linear probe and the nearest class
mean on frozen features; test top-1 with its 95 % interval, macro recall, and top-1 by
how many training images a class has. About half an hour on two CPU cores, stage by
stage through `aplantida_jax.main`, so that it can be stopped and goes on.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BANDS = ("head", "mid", "tail", "one_shot")
PREPARATION = ("export_dataset", "download", "split")

# Run -> (weights, or None from scratch; fields beside those of student_photos.py).
TRAINED: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "mobilenet_0.35": ("small", ()),
    "mobilenet_1.0": (
        "large",
        (
            "model.name=mobilenet_v2_1.0",
            "train.batch_size=32",
            "train.epochs=6",
            "train.learning_rate=3e-4",
        ),
    ),
    "vit_tiny_scratch": (
        None,
        (
            "model.name=vit_tiny_patch16_224",
            "model.image_size=96",
            "input.resize=108",
            "train.epochs=20",
            "train.learning_rate=5e-4",
            "train.warmup_epochs=3.0",
            "train.patience=20",
        ),
    ),
}
CROPS = {
    "centre": ("input.smart_crop=false",),
    "smart": ("input.smart_crop=true",),
}
FROZEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "nearest_mean_0.35": ("small", ()),
    "probe_0.35": ("small", ("baseline.classifier=linear",)),
    "probe_1.0": (
        "large",
        ("baseline.classifier=linear", "model.name=mobilenet_v2_1.0"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dump", type=Path)
    parser.add_argument("--small", type=Path, required=True)
    parser.add_argument("--large", type=Path, required=True)
    parser.add_argument("--only", action="append", help="a run; may be repeated")
    arguments = parser.parse_args()
    weights = {"small": arguments.small, "large": arguments.large}
    for stage in PREPARATION:
        run_stage("dataset", stage, arguments.dump, ())
    print(f"{'run':28} {'top-1 %':>7} {'95 %':>13} {'macro %':>7} ", end="")
    print(" ".join(f"{band:>8}" for band in BANDS) + f" {'minutes':>7}", flush=True)
    for name, config, stages, source, fields in runs():
        if arguments.only and name not in arguments.only:
            continue
        overrides = [f"name={name}", *fields]
        if source:
            overrides.append(f"model.pretrained={weights[source].resolve()}")
            # Files that state none are refused; nothing of this trial ships.
            overrides.append("model.pretrained_licence=Apache-2.0")
        start = time.monotonic()
        for stage in stages:
            run_stage(config, stage, arguments.dump, overrides)
        print_row(name, (time.monotonic() - start) / 60)


def runs():
    """(name, config, stages, key of its weights, fields) of every row."""
    for name, (source, fields) in FROZEN.items():
        yield name, "baseline", ("baseline",), source, fields
    for name, (source, fields) in TRAINED.items():
        for crop, more in CROPS.items():
            stages = ("train", "evaluate")
            yield f"{name}_{crop}", "student_photos", stages, source, fields + more


def run_stage(config: str, stage: str, dump: Path, fields) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "aplantida_jax.main"),
            *(f"--config=configs/{config}.py:photos", f"--config.stage={stage}"),
            *(f"--config.source.uri={dump.resolve()}", "--log_level=warning"),
            *(f"--config.{field}" for field in fields),
        ],
        cwd=ROOT,
        check=True,
    )


def print_row(name: str, minutes: float) -> None:
    path = ROOT / "workdirs" / "photos" / name / "evaluate" / "test" / "metrics.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    low, high = (100 * bound for bound in found["intervals"]["top1_accuracy"])
    bands = [
        f"{100 * found['bands'][band]['top1_accuracy']:8.1f}"
        if band in found["bands"]
        else " " * 8
        for band in BANDS
    ]
    print(
        f"{name:28} {100 * found['top1_accuracy']:7.1f} {low:6.1f}-{high:6.1f} "
        f"{100 * found['macro_recall']:7.1f} {' '.join(bands)} {minutes:7.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
