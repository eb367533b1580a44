"""Training runs of the small dataset in processes of their own."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from configs import teacher_global

ROOT = Path(__file__).resolve().parent.parent


FIELDS = {
    "model.image_size": 32,
    "model.dtype": "float32",
    "input.resize": 36,
    "train.batch_size": 16,
    "train.epochs": 4,  # of six steps
    "train.patience": 99,
    "train.log_every": 1,
    "train.warmup_epochs": 0.5,
    "eval.batch_size": 16,
}


def config_of(root: Path) -> Any:
    """The demo teacher made as small as `conftest.small` makes it, in float32."""
    config = teacher_global.get_config("demo")
    config.data_dir, config.runs_dir = str(root / "data"), str(root / "workdirs")
    config.update_from_flattened_dict(FIELDS)
    return config


def overrides(root: Path) -> list[str]:
    """The same on the command line; one compilation cache for all runs."""
    fields = {"data_dir": root / "data", "runs_dir": root / "workdirs", **FIELDS}
    return [f"--config.{name}={value}" for name, value in fields.items()]


def start(
    root: Path, workdir: Path, *options: str, devices: int = 1
) -> subprocess.Popen[str]:
    """One process that trains in `workdir`, on simulated devices."""
    return subprocess.Popen(
        [sys.executable, "-m", "aplantida_jax.main"]
        + ["--config=configs/teacher_global.py:demo", f"--workdir={workdir}"]
        + [*overrides(root), *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(devices),
    )


def _environment(devices: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def run_script(script: Path, *, devices: int) -> tuple[int, str, str]:
    """(exit code, standard output, error output) of a script on simulated devices."""
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**_environment(devices), "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout, done.stderr


def start_pair(
    root: Path, workdir: Path, *options: str
) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Two processes that train together; the first is the one that logs."""
    meeting = ["--processes=2", f"--coordinator=127.0.0.1:{free_port()}"]
    first, second = (
        start(root, workdir, *meeting, f"--process={i}", *options) for i in range(2)
    )
    return first, second


def free_port() -> int:
    """A free port that is followed by a free one."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
            with (
                contextlib.suppress(OSError, OverflowError),
                socket.create_server(("127.0.0.1", port + 1)),
            ):
                return port


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Reads its log until a line has the text."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}: {''.join(said)}")


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """(exit code, what was left to read of its log)."""
    said = process.communicate(timeout=300)[1]
    return process.returncode, said
