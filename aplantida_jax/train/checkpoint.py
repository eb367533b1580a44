"""Checkpoints: orbax, asynchronous, with the iterator, and a hash of what was written.

    <workdir>/checkpoints/<step>/        orbax, committed by a rename
        {model, train, progress, shapes}
    <workdir>/checkpoint_hashes.json     {step: SHA-256 of its files}
    <workdir>/best.json                  what the run offers to others

`model` holds the variables to evaluate, `train` the rest of the state, `progress` plain
JSON: the grain iterator's state and what the loop remembers. orbax restores flipped
bits without a word, so a restore verifies the hash first and falls back to the
checkpoint before, which is always kept. A thread beside the training makes sure that
all of it would survive a power cut, and makes the hash.

With several processes each writes its part; the first hashes, judges and deletes, and
the others do as it says. All call everything at the same steps.
"""

import concurrent.futures
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from aplantida_jax import distributed, files, manifest, models, paths
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.errors import UserError
from aplantida_jax.train.checkpoint_hashes import CheckpointHashes
from aplantida_jax.train.state import (
    TrainState,
    evaluation_variables,
    training_variables,
    variable_shapes,
)

Progress = dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; a context manager that waits for pending writes."""

    def __init__(self, workdir: Path):
        self._directory = Path(workdir).resolve() / "checkpoints"
        self._hashes = CheckpointHashes(Path(workdir).resolve())
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                create=True,
                enable_async_checkpointing=True,
                # What a killed process was writing: no other one is, see `lock`.
                cleanup_tmp_directories=True,
            ),
        )
        self._pending: int | None = None
        self._committed = False
        self._hasher = concurrent.futures.ThreadPoolExecutor(1)
        self._hash: concurrent.futures.Future[str] | None = None  # of the last save

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exc: object) -> None:
        self._manager.close()
        self._hasher.shutdown()

    def directory(self, step: int) -> Path:
        return self._directory / str(step)

    def save(self, step: int, state: TrainState, progress: Progress) -> None:
        """Starts writing; `commit` says when it is on the disk."""
        self.commit()
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(evaluation_variables(state)),
                train=ocp.args.StandardSave(training_variables(state)),
                progress=ocp.args.JsonSave(progress),
                shapes=ocp.args.JsonSave(_shapes(state)),
            ),
        )
        self._pending = step

    def is_written(self) -> bool:
        """Whether `commit` would have nothing to wait for in this process."""
        if self._pending is None:
            return True
        if self._manager.is_saving_in_progress():
            return False
        if not distributed.is_first():
            return True
        return self._hashing(self._pending).done()

    def commit(self) -> None:
        """Waits until all have written the last save, and records its hash.

        Raises:
            UserError: it could not be written, e.g. the disk is full.
        """
        if self._pending is None:
            return
        step = self._pending
        self._pending = None
        try:
            # save() returns True, and latest_step() counts it, before the disk has it.
            self._manager.wait_until_finished()
        except Exception as error:  # orbax passes on whatever the writer thread met
            raise UserError(
                f"checkpoint {self.directory(step)} could not be written ({error}): "
                "the ones before it are whole; make room and run again"
            ) from error
        with distributed.first_then_all("the checkpoint is committed") as first:
            if first:
                self._hashes.add(step, self._hashing(step).result())
        self._hash = None
        self._committed = True

    def _hashing(self, step: int) -> concurrent.futures.Future[str]:
        """The hash of what was written, begun by the first call."""
        if self._hash is None:
            self._hash = self._hasher.submit(_sync_and_hash, self.directory(step))
        return self._hash

    def take_committed(self) -> bool:
        """Whether a save was committed since the last call."""
        committed, self._committed = self._committed, False
        return committed

    def keep_only(self, steps: set[int]) -> None:
        """Deletes committed checkpoints, but for `steps` and the newest two.

        A damaged newest one can fall back to the other, in the first epoch too.
        """
        there = sorted(self._manager.all_steps())
        kept = {*steps, *there[-2:]}
        for step in there:
            if step not in kept:
                self._manager.delete(step)
        if distributed.is_first():
            self._hashes.keep_only(kept)

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The newest checkpoint that is whole, or None when there is none.

        Args:
            like: a state of the same run, for structure, shapes and sharding.

        Raises:
            UserError: checkpoints exist, but none is whole, or they are of another
                configuration.
        """
        steps = self._manager.all_steps()
        step = distributed.first_says(lambda: self._hashes.newest_whole(steps))
        self._manager.reload()
        if step is None:
            return None
        self._check_shapes(step, like)
        return self._restore(step, like)

    def whole(self, steps: Sequence[int]) -> list[int]:
        """Those whose checkpoints are there with the bytes that were committed."""
        return distributed.first_says(
            lambda: [step for step in steps if self._hashes.is_whole(step)]
        )

    def put_aside(self, step: int) -> None:
        """Takes a damaged checkpoint out of the way."""
        with distributed.first_then_all("the damaged one is aside") as first:
            if first:
                self._hashes.put_aside(step)
        self._manager.reload()

    def _check_shapes(self, step: int, like: TrainState) -> None:
        """Before orbax reads arrays: it leaves threads in trouble when one differs."""
        only_shapes = ocp.args.Composite(shapes=ocp.args.JsonRestore())
        found = self._manager.restore(step, args=only_shapes)["shapes"]
        wanted = _shapes(like)
        names = found.keys() | wanted.keys()
        wrong = sorted(n for n in names if found.get(n) != wanted.get(n))
        if wrong:
            raise UserError(
                f"checkpoint {self.directory(step)} does not fit this configuration "
                f"({len(wrong)} arrays differ, e.g. {wrong[0]}): move "
                f"{self._directory.parent} away, or use another --workdir"
            )

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardRestore(_abstract(evaluation_variables(like))),
                train=ocp.args.StandardRestore(_abstract(training_variables(like))),
                progress=ocp.args.JsonRestore(),
            ),
        )
        model, rest = restored["model"], restored["train"]
        raw = rest if like.ema else model
        state = like.replace(
            step=rest["step"],
            opt_state=rest["opt_state"],
            sums=rest["sums"],
            batch_stats=raw["batch_stats"],
            params=raw["params"],
            ema=model if like.ema else {},
        )
        return state, restored["progress"]


@dataclasses.dataclass(frozen=True, eq=False)
class Best:
    """A trained model, ready to answer.

    Attributes:
        module: flax module.
        variables: {"params", "batch_stats"}.
        info: best.json: name, step, epoch, model, input, region, metrics, label_map,
            provenance, checkpoint (relative to the workdir), sha256.
    """

    module: Any
    variables: Any
    info: dict[str, Any]


def write_best(workdir: Path, info: dict[str, Any], checkpoints: Checkpoints) -> None:
    """Publishes a committed checkpoint; `info["step"]` names it."""
    model = checkpoints.directory(info["step"]) / "model"
    described = {
        **info,
        "checkpoint": model.relative_to(Path(workdir).resolve()).as_posix(),
        "sha256": files.sha256_tree(model),
    }
    files.write_json(paths.best(workdir), described)


def load_best(workdir: Path, label_map: LabelMap) -> Best:
    """Loads what a training run offers.

    Raises:
        UserError: no run there, made for another label map, or damaged.
    """
    described = paths.best(workdir)
    info = files.read_json(described, made_by="train")
    manifest.check_label_map(
        info["label_map"], label_map.fingerprint, where=described, made_by="train"
    )
    directory = Path(workdir).resolve() / info["checkpoint"]
    if not directory.exists() or files.sha256_tree(directory) != info["sha256"]:
        raise UserError(
            f"{directory} is damaged: run stage 'train' again (it falls back to the "
            "best epoch whose checkpoint is whole)"
        )
    module = models.create(**info["model"])
    shapes = variable_shapes(module, image_size=info["model"]["image_size"])
    # Every checkpoint has batch_stats; a ViT's are empty.
    variables = {"batch_stats": {}, **shapes}
    with ocp.StandardCheckpointer() as checkpointer:
        variables = checkpointer.restore(directory, _abstract(variables))
    return Best(module, variables, info)


def _sync_and_hash(directory: Path) -> str:
    """The hash of what a power cut would leave too: orbax syncs only the arrays."""
    files.sync_tree(directory)
    return files.sha256_tree(directory)


def _shapes(state: TrainState) -> dict[str, list[int]]:
    """The shape of every array of a state, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): list(leaf.shape) for path, leaf in leaves}


def _abstract(tree: Any) -> Any:
    """Shapes, types and placement; on the first device where nothing says otherwise."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def describe(leaf: Any) -> jax.ShapeDtypeStruct:
        sharding = getattr(leaf, "sharding", None) or here
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(describe, tree)
