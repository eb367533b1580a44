"""A run's working directory: whose checkpoints lie there, and what it tells of itself.

<workdir>/run_key.txt       the key of the run that the rest is of
<workdir>/history.jsonl     a record an epoch
<workdir>/previous-*/       runs of other configurations or data, put aside
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
from absl import logging

from aplantida_jax import distributed, files
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint
from aplantida_jax.train.state import Progress

_HISTORY = "history.jsonl"
# What a run leaves in its working directory.
_OF_A_RUN = ("checkpoints", "checkpoint_hashes.json", "best.json", _HISTORY) + (
    "tensorboard",
    "manifest.json",
)


def history(workdir: Path) -> Path:
    return workdir / _HISTORY


def set_aside_other_run(workdir: Path, key: str) -> None:
    """Moves the checkpoints of another configuration or dataset away; loses nothing."""
    with distributed.first_then_all("the working directory is ours") as first:
        if first:
            _set_aside_other_run(workdir, key)


def _set_aside_other_run(workdir: Path, key: str) -> None:
    marker = workdir / "run_key.txt"
    old = marker.read_text().strip() if marker.exists() else key
    if old != key:
        aside = workdir / f"previous-{old[:8]}-{int(time.time())}"
        aside.mkdir(parents=True)
        for name in _OF_A_RUN:
            if (workdir / name).exists():
                (workdir / name).rename(aside / name)
        logging.warning(
            "the configuration or the data changed: the old run is in %s", aside
        )
    files.write_text(marker, key + "\n")


def publish(
    workdir: Path,
    saved: Progress,
    about: dict[str, Any],
    checkpoints: checkpoint.Checkpoints,
) -> None:
    """Writes the history and what others may use: the best epoch, with `about`."""
    lines = [json.dumps(record) + "\n" for record in saved.history]
    files.write_text(history(workdir), "".join(lines))
    if saved.best:
        checkpoint.write_best(workdir, {**about, **saved.best}, checkpoints)


def check(workdir: Path, progress: Progress, examples: str) -> None:
    """Refuses to go on with other data, or another number of processes.

    Args:
        workdir: of the run.
        progress: what its checkpoint remembers.
        examples: fingerprint of the training set.
    """
    if progress.examples != examples:
        raise UserError(
            f"the training split has changed under {workdir}: use another --workdir, "
            "or move that one away"
        )
    before, now = len(progress.iterator), jax.process_count()
    if before != now:
        raise UserError(
            f"the run in {workdir} is of {before} process(es), not of {now}: start as "
            "many as before, or use another --workdir"
        )
