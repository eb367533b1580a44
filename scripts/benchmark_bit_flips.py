"""R3: a flipped bit in soft labels, splits and checkpoints; who does not notice?

    .venv/bin/python scripts/benchmark_bit_flips.py [--flips=1000] [--seed=0]

One bit at a time is flipped in a copy of what a stage left, in any file as often as in
any other, manifests and statistics included. Then everyone who reads it does what they
always do: the next stage compares its inputs with their manifest and opens them, the
same stage starts again, training restores. Who notices refuses, falls back or does the
work again. Undetected is a flip after which anyone goes on with something else than was
written; without effect is one that nobody needs to notice: all have what was written.
How a training run goes on with a damaged checkpoint is in benchmark_resume.py.

Prints `name value goal` lines.
"""

import argparse
import hashlib
import random
import tempfile
from pathlib import Path
from typing import Any

import benchmark_dataset
import benchmark_split
import jax
import numpy as np
from absl import logging
from bit_flips import Target, there, undetected

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels, records, split
from aplantida_jax.distill import dense, rows, store
from aplantida_jax.errors import UserError
from aplantida_jax.train import (
    checkpoint,
    initial_model,
    loop,
    optimizer,
    placement,
    run_directory,
    setup,
    state,
)
from configs import teacher_global

_PHOTOS = 600
_CLASSES, _BLOCKS, _BLOCK_ROWS = 1000, 3, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.set_verbosity(logging.FATAL)  # each flip is a warning
    for write in (soft_labels, splits, checkpoints):
        with tempfile.TemporaryDirectory() as directory:
            target = write(Path(directory))
            rng = random.Random(options.seed)
            found, harmless = undetected(target, options.flips, rng)
        for path, bit in found:
            print(f"  {path.name}: bit {bit}", flush=True)
        print(f"files_of_{target.name} {len(target.files)} -")
        print(f"bit_flips_in_{target.name} {options.flips} 1000")
        print(f"bit_flips_without_effect_{target.name} {harmless} -")
        print(f"undetected_bit_flips_{target.name} {len(found)} 0", flush=True)


class Predicted:
    """A store of random rows and their dense `.npz`, as stage predict leaves it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self._config = teacher_global.get_config()
        self._label_map = benchmark_dataset.label_map(_CLASSES)
        job, writer, beside = self._start(directory)
        rng = np.random.default_rng(0)
        for block in range(_BLOCKS):
            ids = np.arange(_BLOCK_ROWS, dtype=np.uint64)
            ids += np.uint64(block * _BLOCK_ROWS)
            logits = rng.normal(0, 3, (_BLOCK_ROWS, _CLASSES)).astype(np.float32)
            beside.append(ids, ids.astype(np.int64), logits)
            beside.commit()
            top = rows.top(np.asarray(jax.nn.softmax(logits)), writer.layout.k)
            writer.append(rows.pack(ids, *top, writer.layout))
        self._finish(job, writer, beside)

    def _start(self, where: Path) -> tuple[Any, store.Writer, dense.DenseWriter]:
        job = begin(self._config, "predict", where, [])
        writer = store.Writer(
            where,
            k=self._config.predict.top_k,
            label_map=self._label_map,
            made_by="predict",
            key=job.key,
            provenance=[{"name": "teacher", "kind": "teacher", "licences": ["MIT"]}],
        )
        images = _BLOCKS * _BLOCK_ROWS
        return job, writer, dense.DenseWriter(where, writer, images=images)

    def _finish(
        self, job: manifest.Job, writer: store.Writer, beside: dense.DenseWriter
    ) -> None:
        if writer.rows_written < _BLOCKS * _BLOCK_ROWS:
            raise UserError("rows are predicted again")
        outputs = writer.outputs + beside.finish()
        job.finish(outputs=outputs, metrics=writer.metrics())

    def use(self, copy: Path) -> str:
        """Trains on the rows, imports the `.npz`."""
        taken = [
            manifest.Input(copy / name, "predict", finished=True)
            for name in ("store.json", "dense.npz")
        ]
        begin(self._config, "train", copy / "next", taken)
        store.SoftLabels(copy, label_map=self._label_map, made_by="predict")
        return digest([p.read_bytes() for p in there(copy) if p.suffix != ".sha256"])

    def start_again(self, copy: Path) -> str:
        """The same stage, which must not certify what is damaged."""
        up_to_date = manifest.begin(
            self._config, stage="predict", out_dir=copy, inputs=[], depends_on=()
        )
        if up_to_date is None:
            return "nothing to do"
        self._finish(*self._start(copy))
        (copy / manifest.MANIFEST).unlink()  # it has another date
        whole = all(
            path.read_bytes() == (self.directory / path.name).read_bytes()
            for path in copy.iterdir()
        )
        return "nothing to do" if whole else "damage is certified"


def soft_labels(root: Path) -> Target:
    """What stage predict leaves, with the dense soft labels."""
    made = Predicted(root / "store")
    readers = [made.use, made.start_again]
    return Target("soft_labels", made.directory, there(made.directory), readers)


def splits(root: Path) -> Target:
    """What stage split leaves of a generated collection."""
    config = teacher_global.get_config()
    config.data_dir = str(root / "data")
    benchmark_split.write_collection(config, _PHOTOS)
    split.run(config, root)

    def read(copy: Path) -> str:
        of_copy = config.copy_and_resolve_references()
        of_copy.data_dir = str(copy)
        test = paths.split_file(of_copy, "test")
        wanted = [*setup.inputs(of_copy), manifest.Input(test, "split")]
        begin(of_copy, "train", copy / "next", wanted)
        for name in paths.SPLITS:
            list(records.read_photos(paths.split_file(of_copy, name), made_by="split"))
        files.read_json(paths.split_stats(of_copy), made_by="split")
        return files.sha256_tree(paths.splits_dir(of_copy))

    written = there(paths.splits_dir(config))
    return Target("splits", Path(config.data_dir), written, [read])


def checkpoints(root: Path) -> Target:
    """What a run of two epochs leaves."""
    config = teacher_global.get_config("demo")
    config.data_dir, config.runs_dir = str(root / "data"), str(root / "runs")
    config.model.image_size, config.input.resize = 32, 36
    config.train.update({"batch_size": 16, "epochs": 2, "accumulate": 1})
    benchmark_dataset.write(
        config, classes=12, photos={"train": 48, "val": 24}, size=(48, 64)
    )
    loop.run(config, paths.run_dir(config, config.name))
    return of_run(config)


def of_run(config: Any) -> Target:
    """All that a finished run left, but for what TensorBoard shows."""
    run = Trained(config)
    written = [p for p in there(run.workdir) if "tensorboard" not in p.parts]
    readers = [run.evaluate, run.start_again, run.restore]
    return Target("checkpoints", run.workdir, written, readers)


class Trained:
    """A finished run, and who reads it."""

    def __init__(self, config: Any):
        self._config = config
        self.workdir = paths.run_dir(config, config.name)
        self._label_map = labels.read(paths.classes(config))
        self._key = manifest.read(self.workdir, made_by="train")["key"]
        self._like = _fresh(config, self._label_map)
        found = self.workdir.glob("checkpoints/[0-9]*")
        self._steps = sorted(int(path.name) for path in found)

    def evaluate(self, copy: Path) -> str:
        wanted = manifest.Input(paths.best(copy), "train", finished=True)
        begin(self._config, "evaluate", copy / "next", [wanted])
        return digest(checkpoint.load_best(copy, self._label_map).variables)

    def start_again(self, copy: Path) -> str:
        begun = manifest.begin(
            self._config,
            stage="train",
            out_dir=copy,
            inputs=setup.inputs(self._config),
            depends_on=setup.depends_on(self._config),
        )
        if begun is not None:
            raise UserError("the stage runs again")
        described = (copy / manifest.MANIFEST, run_directory.history(copy))
        return digest([path.read_bytes() for path in described])

    def restore(self, copy: Path) -> str:
        """As if it had been stopped after its newest checkpoint."""
        with run_directory.lock(copy, self._key), checkpoint.Checkpoints(copy) as kept:
            restored = kept.restore(self._like)
            if restored is None or int(restored[0].step) != self._steps[-1]:
                raise UserError("it falls back to the one before, or begins anew")
            if kept.whole(self._steps) != self._steps:
                raise UserError("another is not taken for the best any more")
        return digest([*restored, (copy / "run_key.txt").read_bytes()])


def _fresh(config: Any, label_map: labels.LabelMap) -> state.TrainState:
    """A state of the run, for its shapes."""
    _, variables, *_ = initial_model.make(config, label_map)
    tx = optimizer.make(config.train, variables["params"])
    fresh = state.create(variables, tx, ema_decay=config.train.ema_decay)
    return placement.replicate(fresh, placement.shardings(config)[1])


def digest(tree: Any) -> str:
    """Of every array, number and text in a tree, and where it is."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        found.update(jax.tree_util.keystr(path).encode())
        is_text = isinstance(leaf, bytes | str)
        found.update(str(leaf).encode() if is_text else np.asarray(leaf).tobytes())
    return found.hexdigest()


def begin(
    config: Any, stage: str, out_dir: Path, inputs: list[manifest.Input]
) -> manifest.Job:
    """A stage's job, which has never run."""
    job = manifest.begin(
        config, stage=stage, out_dir=out_dir, inputs=inputs, depends_on=()
    )
    assert job is not None
    return job


if __name__ == "__main__":
    main()
