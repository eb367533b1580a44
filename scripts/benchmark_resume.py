"""R1, R2's training half, R3's checkpoints: kill -9 and flipped bits, and what is left.

    .venv/bin/python scripts/benchmark_resume.py [--kills=50] [--flips=1000] [--seed=0]

Kills: the demo's teacher trains on drawn photos through `main`, saving after every
step, and is killed at chance moments, in its start-up as well as while it writes, and
started again, until it is done; then once more from the beginning, until the kills are
used up. After each kill the newest committed checkpoint must be whole, as must the one
that best.json names, and no older than before. In the end every array of the
checkpoint, the history and the state of the data's order must be those of an
undisturbed run.

Flips: single bits in all files of a checkpoint; undetected are those after which it is
still taken for whole. After some of them the run is really started: it must go on at
the checkpoint before. Then a bit of the best checkpoint, of checkpoint_hashes.json, of
run_key.txt, best.json and history.jsonl: the run must go on at its newest checkpoint,
or the one before, and in the end have nothing damaged among what it needs.

Prints `name value goal` lines.
"""

import argparse
import json
import random
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import benchmark_dataset
import training_runs
from absl import logging
from training_runs import Run

from aplantida_jax import files
from configs import teacher_global

_EPOCHS, _STEPS, _BATCH = 4, 15, 16  # steps an epoch
_START_UP_SECONDS = 3.0  # until a run has shown what it takes
_IN_START_UP = 0.2  # share of the kills before the first step
_RESTORES = 5  # damaged runs that are really started again
_BESIDE = ("checkpoint_hashes.json", "run_key.txt", "best.json", "history.jsonl")
_GOES_ON = re.compile(r"going on at step (\d+)\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # orbax looks for metadata in each item, where it keeps them a level up.
    logging.set_verbosity(logging.ERROR)
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        command = prepare(root)
        Run(command, root / "undisturbed").wait()
        kill_runs(command, root, arguments.kills, rng)
        flip_bits(command, root, arguments.flips, rng)


def prepare(root: Path) -> list[str]:
    """Writes the photos; returns the command."""
    config = teacher_global.get_config("demo")
    config.data_dir = str(root / "data")
    benchmark_dataset.write(
        config,
        classes=12,
        photos={"train": _STEPS * _BATCH, "val": 48},
        size=(120, 160),
    )
    return training_runs.command(
        "configs/teacher_global.py:demo",
        f"--config.data_dir={config.data_dir}",
        f"--config.runs_dir={root / 'runs'}",
        f"--config.train.batch_size={_BATCH}",
        f"--config.train.epochs={_EPOCHS}",
        "--config.train.accumulate=2",
        "--config.train.ema_decay=0.9",
        "--config.train.checkpoint_minutes=0.0",
        "--config.eval.batch_size=16",
    )


def kill_runs(command: list[str], root: Path, kills: int, rng: random.Random) -> None:
    """The kills' part."""
    expected = training_runs.digests(root / "undisturbed")
    killed, torn, different, runs = 0, 0, 0, 0
    while killed < kills or runs == 0:
        runs += 1
        workdir = root / f"disturbed{runs}"
        newest, start_up = 0, _START_UP_SECONDS
        while True:
            run = Run(command, workdir)
            if killed < kills:
                start_up = wait_for_a_moment(run, workdir, start_up, rng)
                run.send(signal.SIGKILL)
            run.wait()
            if run.exit_code == 0:
                break
            if run.exit_code != -signal.SIGKILL:
                raise RuntimeError(run.log()[-1000:])
            killed += 1
            torn += torn_or_lost(workdir, newest)
            newest = training_runs.newest_step(workdir)
        wrong = training_runs.differences(expected, training_runs.digests(workdir))
        different += len(wrong)
        if wrong:
            print(f"  differ: {', '.join(wrong[:5])}", flush=True)
    print(f"training_kills {killed} {kills}")
    print(f"training_torn_or_lost_checkpoints {torn} 0")
    print(f"resume_runs {runs} -")
    print(f"resume_compared {len(expected)} -")
    print(f"resume_differences {different} 0", flush=True)


def wait_for_a_moment(
    run: Run, workdir: Path, start_up: float, rng: random.Random
) -> float:
    """Until the process is somewhere in its start-up, or has done a few steps.

    Returns:
        Seconds that a start-up takes, as far as is known now.
    """
    if rng.random() < _IN_START_UP:
        time.sleep(rng.uniform(0, start_up))
        return start_up
    before = training_runs.newest_step(workdir)
    start_up = run.wait_until(lambda: training_runs.newest_step(workdir) > before)
    wanted = before + rng.randint(1, 4)
    run.wait_until(lambda: training_runs.newest_step(workdir) >= wanted)
    time.sleep(rng.uniform(0, 0.2))
    return start_up


def torn_or_lost(workdir: Path, newest_before: int) -> int:
    """Committed checkpoints that are needed and not there as they were written."""
    newest = training_runs.newest_step(workdir)
    bad = int(newest < newest_before)
    bad += bool(newest) and not training_runs.is_whole(workdir, newest)
    if (workdir / "best.json").exists():
        best = json.loads((workdir / "best.json").read_text())
        model = workdir / best["checkpoint"]
        bad += not model.exists() or files.sha256_tree(model) != best["sha256"]
    return bad


def flip_bits(command: list[str], root: Path, flips: int, rng: random.Random) -> None:
    """The flips' part."""
    stopped = root / "stopped"
    run = Run(command, stopped)
    late = _EPOCHS * _STEPS - _STEPS // 2
    run.wait_until(lambda: training_runs.newest_step(stopped) >= late)
    run.send(signal.SIGTERM)
    run.wait()
    newest, before = sorted(training_runs.recorded(stopped), reverse=True)[:2]
    undetected = 0
    read = [p for p in (stopped / "checkpoints" / str(newest)).rglob("*")]
    read = [path for path in read if path.is_file() and path.stat().st_size]
    for _ in range(flips):
        path = rng.choices(read, [p.stat().st_size for p in read])[0]
        byte, bit = rng.randrange(path.stat().st_size), 1 << rng.randrange(8)
        flip(path, byte, bit)
        undetected += training_runs.is_whole(stopped, newest)
        flip(path, byte, bit)
    print(f"checkpoint_files {len(read)} -")
    print(f"checkpoint_bit_flips {flips} 1000")
    print(f"checkpoint_bit_flips_undetected {undetected} 0")
    fell_back = sum(
        goes_on(command, stopped, rng.choice(read), rng) == before
        for _ in range(_RESTORES)
    )
    print(f"damaged_runs_that_fell_back {fell_back} {_RESTORES}", flush=True)
    went_on = [
        goes_on(command, stopped, path, rng) in (newest, before)
        for path in (best_weights(stopped), *(stopped / name for name in _BESIDE))
    ]
    print(f"runs_with_damage_beside_that_went_on {sum(went_on)} {len(went_on)}")


def best_weights(workdir: Path) -> Path:
    """The largest file of the best checkpoint, which must not be the newest."""
    best = json.loads((workdir / "best.json").read_text())
    if best["step"] == training_runs.newest_step(workdir):
        raise RuntimeError("the best checkpoint is the newest: nothing would be shown")
    found = [p for p in (workdir / best["checkpoint"]).rglob("*") if p.is_file()]
    return max(found, key=lambda path: path.stat().st_size)


def goes_on(
    command: list[str], stopped: Path, victim: Path, rng: random.Random
) -> int | None:
    """Starts a copy of a stopped run, a bit of `victim` flipped, and stops it again.

    Returns:
        The step at which it went on, None when it did not or left something damaged.
    """
    with tempfile.TemporaryDirectory(dir=stopped.parent) as directory:
        workdir = Path(directory) / "run"
        shutil.copytree(stopped, workdir)
        path = workdir / victim.relative_to(stopped)
        flip(path, rng.randrange(path.stat().st_size), 1 << rng.randrange(8))
        run = Run(command, workdir)
        run.wait_for_steps(1)
        run.send(signal.SIGTERM)
        run.wait()
        found = _GOES_ON.search(run.log())
        step = int(found[1]) if found else 0
        return None if not step or torn_or_lost(workdir, step) else step


def flip(path: Path, byte: int, bit: int) -> None:
    """Flips one bit in place; twice is as before."""
    with path.open("r+b") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ bit]))


if __name__ == "__main__":
    main()
