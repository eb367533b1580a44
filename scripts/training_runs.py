"""Training runs for benchmarks: started through `main`, watched, stopped, compared."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from aplantida_jax import files

ROOT = Path(__file__).resolve().parents[1]
STEP = re.compile(r"step (\d+)/\d+: loss")


class Run:
    """A process that trains; its log is in a file beside its working directory."""

    def __init__(self, command: list[str], workdir: Path):
        self._log = Path(f"{workdir}.log")
        self._begun = time.monotonic()
        self.peak_bytes = 0
        self.exit_code: int | None = None
        with self._log.open("w") as stderr:
            self._child = subprocess.Popen(
                [*command, f"--workdir={workdir}"], cwd=ROOT, stderr=stderr
            )

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def steps(self) -> list[int]:
        """The steps that it said are done."""
        return [int(step) for step in STEP.findall(self.log())]

    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def running(self) -> bool:
        if self.exit_code is None:
            pid, status, usage = os.wait4(self._child.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
                self._child.returncode = self.exit_code
                self.peak_bytes = usage.ru_maxrss * 1024
        return self.exit_code is None

    def send(self, signal_number: int) -> None:
        if self.running():
            self._child.send_signal(signal_number)

    def wait(self) -> None:
        while self.running():
            time.sleep(0.02)

    def wait_until(self, condition: Callable[[], bool]) -> float:
        """Waits for the condition or for the process's end.

        Returns:
            Seconds since its start.
        """
        while self.running() and not condition():
            time.sleep(0.005)
        return self.seconds()

    def wait_for_steps(self, count: int) -> float:
        """`wait_until` it said that so many steps are done."""
        return self.wait_until(lambda: len(self.steps()) >= count)


def command(config: str, *options: str) -> list[str]:
    """`main` with a configuration file, without its --workdir."""
    return [sys.executable, "-m", "aplantida_jax.main", f"--config={config}", *options]


def recorded(workdir: Path) -> dict[int, str]:
    """The committed checkpoints: step -> hash of its files."""
    path = workdir / "checkpoint_hashes.json"
    if not path.exists():
        return {}
    return {int(step): digest for step, digest in json.loads(path.read_text()).items()}


def newest_step(workdir: Path) -> int:
    """Of the committed checkpoints; 0 before the first."""
    return max(recorded(workdir), default=0)


def is_whole(workdir: Path, step: int) -> bool:
    directory = workdir / "checkpoints" / str(step)
    digest = recorded(workdir).get(step)
    return directory.exists() and files.sha256_tree(directory) == digest


def digests(workdir: Path) -> dict[str, str]:
    """What a run has come to: SHA-256 of every array of its newest checkpoint.

    Parameters, running statistics, optimiser state and sums; and of what the loop
    remembers: history, best epoch, and where the data's order stands.
    """
    newest = workdir / "checkpoints" / str(newest_step(workdir))
    found = {"history.jsonl": files.sha256_file(workdir / "history.jsonl")}
    for part in ("model", "train"):
        with ocp.PyTreeCheckpointer() as checkpointer:
            structure = checkpointer.metadata(newest / part).item_metadata.tree
            as_numpy = jax.tree.map(
                lambda _: ocp.RestoreArgs(restore_type=np.ndarray), structure
            )
            tree = checkpointer.restore(newest / part, restore_args=as_numpy)
        leaves = ocp.tree.to_flat_dict(tree, sep="/")
        for name, leaf in leaves.items():
            array = np.asarray(leaf)
            about = f"{array.dtype}{array.shape}".encode()
            found[f"{part}/{name}"] = hashlib.sha256(
                about + array.tobytes()
            ).hexdigest()
    remembered = json.loads((newest / "progress" / "metadata").read_text())
    for name, value in remembered.items():
        text = json.dumps(value, sort_keys=True)
        found[f"progress/{name}"] = hashlib.sha256(text.encode()).hexdigest()
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The names of what is not the same in both."""
    return sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))
