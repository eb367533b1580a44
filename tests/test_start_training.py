"""start_training.sh, for real: in the background, once, stopped, gone on, at boot."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_dataset

from aplantida_jax import files

ROOT = Path(__file__).resolve().parents[1]
# A model that is compiled in seconds and trains for longer than the test.
_FIELDS = (
    *("model.name=vit_mini_patch8_64", "model.image_size=32", "model.dtype=float32"),
    *("input.resize=36", "train.batch_size=16", "train.accumulate=1"),
    *("train.epochs=2000", "train.patience=2000", "train.log_every=1"),
    *("eval.batch_size=16", "download.cache_size_gb=1.0"),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory like the repository's, with a dataset whose splits are made."""
    write_dataset(tmp_path)
    for name in ("configs", "aplantida_jax"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "start_training.sh", tmp_path / "scripts")
    files.write_json(tmp_path / "data/splits/all/manifest.json", {"outputs": {}})
    return tmp_path


def _start(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = f"{project / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["scripts/start_training.sh", "global", *options]
        + [f"--config.{field}" for field in _FIELDS],
        cwd=project,
        env={**os.environ, "PATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


def _wait_for(log: Path, text: str) -> None:
    for _ in range(600):
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {text!r} in {log.read_text() if log.exists() else log}")


def _stop(project: Path) -> None:
    pid = int((project / "workdirs/teacher_global/train.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    _wait_for(project / "workdirs/teacher_global/train.log", "run the same command")
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)


def _crontab(project: Path) -> Path:
    """cron stays out of it: a crontab command that keeps its table in a file."""
    table = project / "table"
    command = project / "bin" / "crontab"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\n[ "$1" = -l ] && exec cat "{table}"\n'
        f'cat >"{table}.new" && mv "{table}.new" "{table}"\n'
    )
    command.chmod(0o755)
    return table


def test_starts_once_stops_and_goes_on(project: Path):
    log = project / "workdirs/teacher_global/train.log"
    started = _start(project)
    assert started.returncode == 0, started.stderr
    _wait_for(log, "step 2/")
    twice = _start(project)
    assert twice.returncode == 1
    assert "already training" in twice.stderr
    _stop(project)
    # The number of a process that lives, but is not ours, as after a reboot.
    pid_file = project / "workdirs/teacher_global/train.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    old = f"@reboot another # aplantida_jax {project} global"
    table = _crontab(project)
    table.write_text(f"0 4 * * * backup\n{old}\n")
    assert _start(project, "--at-boot").returncode == 0
    _wait_for(log, "going on at step")
    backup, line = table.read_text().splitlines()
    assert backup == "0 4 * * * backup"
    assert line.endswith(f"# aplantida_jax {project} global")
    command = line.removeprefix("@reboot ").replace(r"\%", "%")
    again = subprocess.run(
        ["sh", "-c", command.replace("sleep 60", "exit 3")], cwd=project
    )
    assert again.returncode == 3  # cron would try again
    assert "already training" in log.read_text()
    _stop(project)


def test_a_mistake_is_seen_at_once_and_nothing_starts(project: Path):
    found = _start(project, "--config.train.learning_rte=1")
    assert found.returncode == 2
    assert "learning_rate" in found.stderr
    assert not (project / "workdirs/teacher_global/train.pid").exists()
