"""A run's working directory: whose checkpoints lie there, and what it tells of itself.

<workdir>/run_key.txt       the key of the run that the rest is of
<workdir>/history.jsonl     a record an epoch
<workdir>/previous-*/       runs of other configurations or data, put aside
"""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import logging

from aplantida_jax import directories, distributed, files, manifest, paths
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint
from aplantida_jax.train.checkpoint_hashes import CheckpointHashes
from aplantida_jax.train.state import Progress

_HISTORY = "history.jsonl"
_MARKER = "run_key.txt"
# What a run leaves in its working directory.
_OF_A_RUN = ("checkpoints", "checkpoint_hashes.json", "best.json", _HISTORY) + (
    "tensorboard",
    "manifest.json",
)


def history(workdir: Path) -> Path:
    return workdir / _HISTORY


def seconds_per_step(workdir: Path) -> float | None:
    """Of the run in `workdir`, validation included; None before two checkpoints.

    By when its checkpoints were written. The shortest time between two of them counts:
    a run may have been stopped for any time between others.
    """
    directories = (Path(workdir) / "checkpoints").glob("[0-9]*")
    written = sorted((int(p.name), p.stat().st_mtime) for p in directories)
    rates = [
        (later - earlier) / (step - before)
        for (before, earlier), (step, later) in itertools.pairwise(written)
        if later > earlier
    ]
    return min(rates, default=None)


@contextlib.contextmanager
def lock(workdir: Path, key: str) -> Iterator[None]:
    """While the block runs, no other run trains there, and nothing of another is there.

    The checkpoints of another configuration or dataset are moved away; nothing is lost.

    Raises:
        UserError: another process is training there.
    """
    with contextlib.ExitStack() as stack:
        with distributed.first_then_all("the working directory is ours") as first:
            if first:
                workdir.mkdir(parents=True, exist_ok=True)
                alone = directories.exclusive(workdir, doing="training in")
                stack.enter_context(alone)
                files.sweep_temporary(workdir)
                _set_aside_other_run(workdir, key)
        yield


def foresee(workdir: Path, key: str) -> None:
    """Says what a run would do with what is there; changes nothing."""
    newest = CheckpointHashes(workdir).newest()
    if newest and _other_key(workdir, key):
        logging.warning(
            "would set aside the run in %s, which is at step %d: its configuration or "
            "data are others; use another --workdir to keep both",
            workdir,
            newest,
        )
    elif newest:
        logging.info("would go on at step %d", newest)


def _set_aside_other_run(workdir: Path, key: str) -> None:
    if old := _other_key(workdir, key):
        aside = workdir / f"previous-{old[:8]}-{int(time.time())}"
        aside.mkdir(parents=True)
        for name in _OF_A_RUN:
            if (workdir / name).exists():
                (workdir / name).rename(aside / name)
        logging.warning(
            "the configuration or the data changed: the old run is in %s", aside
        )
    files.write_text(workdir / _MARKER, key + "\n")


def _other_key(workdir: Path, key: str) -> str:
    """The key of the run that is there, or "" when it is ours or there is none.

    The marker and every checkpoint say whose they are: a flipped bit in one of them,
    or a directory that was copied without its marker, is no other run.
    """
    marker = workdir / _MARKER
    said = _remembered_keys(workdir)
    if marker.exists():
        said.add(marker.read_text(encoding="utf-8", errors="replace").strip())
    return "" if not said or key in said else min(said)


def _remembered_keys(workdir: Path) -> set[str]:
    """`Progress.key` of the checkpoints, as far as they can be read."""
    keys = set()
    for progress in workdir.glob("checkpoints/[0-9]*/progress/metadata"):
        # A damaged one is found out when it is restored.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            keys.add(str(json.loads(progress.read_bytes())["key"]))
    return keys


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
    else:  # it would name weights that are lost
        paths.best(workdir).unlink(missing_ok=True)


def finish(job: manifest.Job, workdir: Path, *, label_map: str) -> None:
    """Writes the manifest of a run that has reached its end."""
    best = files.read_json(paths.best(workdir), made_by="train")
    job.finish(
        outputs=[paths.best(workdir), workdir / best["checkpoint"], history(workdir)],
        metrics=best["metrics"],
        label_map=label_map,
    )


def mend_best(
    progress: Progress, checkpoints: checkpoint.Checkpoints, *, by: str
) -> None:
    """Chooses another best epoch where the checkpoint of the best is damaged.

    The run goes on from its newest checkpoint all the same: to have one epoch's weights
    back is not worth all the steps since.
    """
    lost = progress.best
    if not lost or lost["step"] == progress.step or checkpoints.whole([lost["step"]]):
        return
    checkpoints.put_aside(lost["step"])
    steps = [record["step"] for record in progress.history]
    progress.choose_best(checkpoints.whole(steps), by=by)
    logging.warning(
        "the weights of epoch %d, the best so far, are lost: the best is now %s",
        lost["epoch"],
        f"epoch {progress.best['epoch']}" if progress.best else "the next epoch",
    )


def check(workdir: Path, remembered: Progress, fresh: Progress) -> None:
    """Refuses to go on as another run, with other data or another number of processes.

    Args:
        workdir: of the run.
        remembered: what its checkpoint remembers.
        fresh: what this run would start with.
    """
    if remembered.examples != fresh.examples:
        raise UserError(
            f"the training split has changed under {workdir}: use another --workdir, "
            "or move that one away"
        )
    if remembered.key != fresh.key:
        raise UserError(
            f"the checkpoints in {workdir} are of another configuration or other data: "
            "use another --workdir, or move that one away"
        )
    before, now = len(remembered.iterator), jax.process_count()
    if before != now:
        raise UserError(
            f"the run in {workdir} is of {before} process(es), not of {now}: start as "
            "many as before, or use another --workdir"
        )
