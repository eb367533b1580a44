"""configs/teacher_global.py at full size: real steps on this machine, stopped, resumed.

    .venv/bin/python scripts/full_size_teacher.py [--steps=6] [--accumulate=4]

Writes a ViT-B/16 checkpoint in Google's format (random values, positions of a 224 pixel
grid, 1,000 classes), a label map of 8,587 classes and a few JPEGs, and trains at 384
pixels, batch 4, for one epoch of so many steps, through `main`: once undisturbed, and
once stopped by SIGTERM after two steps, in the middle of an accumulation, and started
again. The configuration's own 16 batches an update would take minutes to the first one
on a CPU, hence the option.

Prints `name value goal` lines. Needs about 10 GB of memory and 6 GB of disk.
"""

import argparse
import re
import signal
import tempfile
from pathlib import Path

import benchmark_dataset
import google_weights
import training_runs
from absl import logging
from training_runs import Run

from configs import teacher_global

_CLASSES = 8587
_STOP_AFTER = 2  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--accumulate", type=int, default=4, help="batches an update")
    parser.add_argument("--dir", default=None, help="where to work; default: /tmp")
    arguments = parser.parse_args()
    # orbax looks for metadata in each item, where it keeps them a level up.
    logging.set_verbosity(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        root = Path(directory)
        command = prepare(root, arguments.steps, arguments.accumulate)
        report_undisturbed(train(command, root / "undisturbed"), root / "undisturbed")
        stop_and_go_on(command, root)
        expected = training_runs.digests(root / "undisturbed")
        found = training_runs.digests(root / "stopped")
        wrong = training_runs.differences(expected, found)
    print(f"full_size_compared {len(expected)} -")
    print(f"full_size_resume_differences {len(wrong)} 0")


def prepare(root: Path, steps: int, accumulate: int) -> list[str]:
    """Writes weights and photos; returns the command."""
    config = teacher_global.get_config()
    config.data_dir = str(root / "data")
    benchmark_dataset.write(
        config,
        classes=_CLASSES,
        photos={"train": steps * config.train.batch_size, "val": 4},
        size=(512, 680),
    )
    weights = root / "ViT-B_16.npz"
    google_weights.write(weights, model=config.model.name, image_size=224)
    return training_runs.command(
        "configs/teacher_global.py",
        f"--config.model.pretrained={weights}",
        "--config.model.pretrained_licence=CC0-1.0",  # random values
        f"--config.data_dir={config.data_dir}",
        f"--config.runs_dir={root / 'runs'}",
        f"--config.train.accumulate={accumulate}",
        "--config.train.epochs=1",
        "--config.train.log_every=1",
        "--config.eval.batch_size=4",
    )


def train(command: list[str], workdir: Path) -> tuple[Run, list[float]]:
    """A run to its end, and how long after its start each step was done.

    Raises:
        RuntimeError: it failed; says why.
    """
    run = Run(command, workdir)
    times: list[float] = []
    while run.running():
        times.append(run.wait_for_steps(len(times) + 1))
    if run.exit_code != 0:
        raise RuntimeError(run.log()[-2000:])
    return run, times[: len(run.steps())]


def report_undisturbed(done: tuple[Run, list[float]], workdir: Path) -> None:
    run, times = done
    newest = workdir / "checkpoints" / str(max(training_runs.recorded(workdir)))
    stored = sum(p.stat().st_size for p in newest.rglob("*") if p.is_file())
    for line in re.findall(r"\S+\.npz: .*", run.log()):
        print(f"  {line.replace(str(workdir.parent) + '/', '')}")
    print(f"full_size_first_step_seconds {times[0]:.1f} -")
    print(f"full_size_step_seconds {(times[-1] - times[0]) / (len(times) - 1):.1f} -")
    print(f"full_size_whole_run_seconds {run.seconds():.1f} -")
    print(f"full_size_peak_memory_gb {run.peak_bytes / 1e9:.2f} -")
    print(f"full_size_checkpoint_gb {stored / 1e9:.2f} -", flush=True)


def stop_and_go_on(command: list[str], root: Path) -> None:
    """The run that is stopped by SIGTERM, and the one that goes on from there."""
    run = Run(command, root / "stopped")
    run.wait_for_steps(_STOP_AFTER)
    asked = run.seconds()
    run.send(signal.SIGTERM)
    run.wait()
    said = re.search(r"step (\d+) is saved", run.log())
    print(f"full_size_stopped_after_step {said[1] if said else 'none'} -")
    print(f"full_size_stop_seconds {run.seconds() - asked:.1f} -")
    print(f"full_size_stop_exit_code {run.exit_code} {128 + signal.SIGTERM}")
    run, times = train(command, root / "stopped")
    went_on = re.search(r"going on at step (\d+)", run.log())
    wanted = said[1] if said else "none"
    print(f"full_size_went_on_at_step {went_on[1] if went_on else 'none'} {wanted}")
    print(f"full_size_resume_to_first_step_seconds {times[0]:.1f} -", flush=True)


if __name__ == "__main__":
    main()
