"""R3: a flipped bit in soft labels, splits and checkpoints; who does not notice?

    .venv/bin/python scripts/benchmark_bit_flips.py [--flips=1000] [--seed=0]

One bit at a time is flipped in a file of each kind, any file as often as any other,
manifests and statistics included. Then what reads it next does what it always does:
its inputs are compared with their stage's manifest, then it opens them. Undetected is
what it takes for whole. How a training run goes on with a damaged checkpoint is in
benchmark_resume.py.

Prints `name value goal` lines.
"""

import argparse
import contextlib
import dataclasses
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import benchmark_dataset
import benchmark_split
import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels, records, split
from aplantida_jax.distill import rows, store
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, loop, setup
from aplantida_jax.train.checkpoint_hashes import CheckpointHashes
from configs import teacher_global

_PHOTOS = 600
_SHARDS, _SHARD_ROWS = 3, 500


@dataclasses.dataclass(frozen=True)
class Target:
    """Files of one kind, and what opens them next: UserError when it notices."""

    name: str
    files: list[Path]
    open: Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # each flip is a warning
    for write in (soft_labels, splits, checkpoints):
        with tempfile.TemporaryDirectory() as directory:
            target = write(Path(directory))
            found = undetected(target, options.flips, random.Random(options.seed))
        for path, bit in found:
            print(f"  {path.name}: bit {bit}", flush=True)
        print(f"files_of_{target.name} {len(target.files)} -")
        print(f"bit_flips_in_{target.name} {options.flips} 1000")
        print(f"undetected_bit_flips_{target.name} {len(found)} 0", flush=True)


def undetected(
    target: Target, flips: int, rng: random.Random
) -> list[tuple[Path, int]]:
    """The flips that were not noticed.

    Raises:
        UserError: what is not damaged does not open.
    """
    target.open()
    missed = []
    for _ in range(flips):
        path = rng.choice(target.files)
        bit = rng.randrange(8 * path.stat().st_size)
        with flipped(path, bit):
            try:
                target.open()
            except UserError:
                continue
        missed.append((path, bit))
    return missed


@contextlib.contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """One bit of a file is another, until the block ends."""
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        yield
    finally:
        path.write_bytes(whole)


def soft_labels(root: Path) -> Target:
    """A store of random rows, as stage combine leaves it."""
    config = teacher_global.get_config()
    config.data_dir = str(root)
    label_map = benchmark_dataset.label_map(8587)
    directory = paths.soft_labels(config, "combined", "train")
    wanted = manifest.Input(directory / "store.json", "combine", finished=True)
    job = begin(config, "combine", directory, [])
    writer = store.Writer(
        directory,
        k=config.predict.top_k,
        label_map=label_map,
        made_by="combine",
        key=job.key,
        provenance=[{"name": "teacher", "kind": "teacher", "licences": ["MIT"]}],
    )
    rng = np.random.default_rng(0)
    for shard in range(_SHARDS):
        ids = np.arange(_SHARD_ROWS, dtype=np.uint64) + np.uint64(shard * _SHARD_ROWS)
        probability = rng.dirichlet(np.full(len(label_map), 0.01), _SHARD_ROWS)
        top = rows.top(probability, config.predict.top_k)
        writer.append(rows.pack(ids, *top, writer.layout))
    job.finish(outputs=writer.outputs, metrics=writer.metrics())

    def read() -> None:
        begin(config, "train", root / "next", [wanted])
        store.SoftLabels(directory, label_map=label_map, made_by="combine")

    return Target("soft_labels", there(directory), read)


def splits(root: Path) -> Target:
    """What stage split leaves of a generated collection."""
    config = teacher_global.get_config()
    config.data_dir = str(root)
    benchmark_split.write_collection(config, _PHOTOS)
    split.run(config, root)
    test = paths.split_file(config, "test")

    def read() -> None:
        wanted = [*setup.inputs(config), manifest.Input(test, "split")]
        begin(config, "train", root / "next", wanted)
        for name in paths.SPLITS:
            list(records.read_photos(paths.split_file(config, name), made_by="split"))
        files.read_json(paths.split_stats(config), made_by="split")

    return Target("splits", there(paths.splits_dir(config)), read)


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
    """The newest checkpoint of a finished run, and what describes the best."""
    workdir = paths.run_dir(config, config.name)
    label_map = labels.read(paths.classes(config))
    hashes = CheckpointHashes(workdir)
    newest = hashes.newest()
    best = paths.best(workdir)

    def read() -> None:
        if not hashes.is_whole(newest):
            raise UserError("a run that goes on falls back to the one before")
        wanted = manifest.Input(best, "train", finished=True)
        begin(config, "evaluate", workdir / "next", [wanted])
        checkpoint.load_best(workdir, label_map)

    described = [best, workdir / manifest.MANIFEST]
    written = there(workdir / "checkpoints" / str(newest))
    return Target("checkpoints", written + described, read)


def begin(
    config: Any, stage: str, out_dir: Path, inputs: list[manifest.Input]
) -> manifest.Job:
    """A stage's job, which has never run."""
    job = manifest.begin(
        config, stage=stage, out_dir=out_dir, inputs=inputs, depends_on=()
    )
    assert job is not None
    return job


def there(directory: Path) -> list[Path]:
    """Every file under a directory that has a bit to flip."""
    found = sorted(p for p in directory.rglob("*") if p.is_file())
    return [path for path in found if path.stat().st_size]


if __name__ == "__main__":
    main()
