"""P10: from the start of the process to the first training step, first and second run.

    .venv/bin/python scripts/benchmark_start.py [--pairs=3] [--only=demo]

Three experiments, each through `main`: the demo's teacher, MobileNetV2 1.0 at 224
pixels, and `configs/teacher_global.py` as it is (ViT-B/16 at 384) from a Google-format
checkpoint. The first run finds no compiled programs, the second finds those of the
first. Both begin at step 0, in directories of their own; what is timed is the line that
says that step 1 is done.

What a run pays in both cases is the step itself, which on a CPU takes seconds at full
size: `..._step_seconds` says how much of the two it is, and `..._overhead_ratio` is the
same ratio without it. Prints `name value goal` lines, medians over the pairs.
"""

import argparse
import dataclasses
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benchmark_dataset
import google_weights

from configs import teacher_global

ROOT = Path(__file__).resolve().parents[1]
_STEP = re.compile(r"step (\d+)/\d+: loss")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A configuration, the photos that it is started on, and options beside it."""

    name: str
    config: str
    classes: int
    photos: int
    size: tuple[int, int]
    options: tuple[str, ...] = ()
    weights: bool = False


EXPERIMENTS = (
    Experiment("demo", "configs/teacher_global.py:demo", 36, 320, (160, 200)),
    Experiment(
        "mobilenet_v2_1.0",
        "configs/student_finetune.py",
        *(8587, 64, (256, 340)),
        (
            "--config.model.init_from=",
            "--config.train.batch_size=16",
            "--config.model.dtype=float32",
        ),
    ),
    Experiment(
        "vit_base_patch16_384",
        *("configs/teacher_global.py", 8587, 16, (512, 680)),
        weights=True,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", default="", help="one experiment's name")
    arguments = parser.parse_args()
    for experiment in EXPERIMENTS:
        if arguments.only in ("", experiment.name):
            with tempfile.TemporaryDirectory() as directory:
                measure(experiment, Path(directory), arguments.pairs)


def measure(experiment: Experiment, root: Path, pairs: int) -> None:
    """Prints the medians of `pairs` of starts."""
    command = prepare(experiment, root)
    rows = []
    for _ in range(pairs):
        shutil.rmtree(root / "runs", ignore_errors=True)
        first, _ = start(command, root / "runs" / "first")
        rows.append((first, *start(command, root / "runs" / "second")))
    first, second, step = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    ratio = statistics.median(row[1] / row[0] for row in rows)
    # A slow step may vary by more than a fast start takes.
    overhead = max(second - step, 0.0) / (first - step)
    name = f"start_{experiment.name}"
    print(f"{name}_first_run_seconds {first:.2f} -")
    print(f"{name}_second_run_seconds {second:.2f} -")
    print(f"{name}_step_seconds {step:.2f} -")
    print(f"{name}_second_to_first {ratio:.2f} <=0.3")
    print(f"{name}_overhead_ratio {overhead:.2f} -", flush=True)


def prepare(experiment: Experiment, root: Path) -> list[str]:
    """Writes the data; returns the command without its --workdir."""
    config = teacher_global.get_config()
    config.data_dir = str(root / "data")
    benchmark_dataset.write(
        config,
        classes=experiment.classes,
        photos={"train": experiment.photos, "val": 8},
        size=experiment.size,
    )
    command = [sys.executable, "-m", "aplantida_jax.main"]
    command += [f"--config={experiment.config}", *experiment.options]
    command += [f"--config.data_dir={config.data_dir}"]
    command += [f"--config.runs_dir={root / 'runs'}", "--config.train.log_every=1"]
    if experiment.weights:
        weights = root / "ViT-B_16.npz"
        google_weights.write(weights, model=config.model.name, image_size=224)
        command += [f"--config.model.pretrained={weights}"]
        command += ["--config.model.pretrained_licence=CC0-1.0"]  # random values
    return command


def start(command: list[str], workdir: Path) -> tuple[float, float]:
    """Seconds to the end of step 1, and of step 3 alone; the run is then stopped.

    Raises:
        RuntimeError: it ended before; says why.
    """
    begun = time.monotonic()
    child = subprocess.Popen(
        [*command, f"--workdir={workdir}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    lines, done = [], {}
    with child:
        for line in child.stderr:
            lines.append(line)
            if found := _STEP.search(line):
                done[int(found[1])] = time.monotonic() - begun
            if 3 in done:
                child.kill()
                break
    if 3 not in done:
        raise RuntimeError("".join(lines[-5:]))
    return done[1], done[3] - done[2]


if __name__ == "__main__":
    main()
