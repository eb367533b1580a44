"""A small dataset and its pack, for tests that write, read or damage it."""

import sys
from pathlib import Path
from typing import Any

from conftest import CLASSES, PER_CLASS, Dataset

from aplantida_jax import paths
from aplantida_jax.data import pipeline, records
from aplantida_jax.data.image_source import open_images

IMAGES = CLASSES * sum(PER_CLASS.values())
SHARD_MB = 0.2  # so that the images fill several


def config_for(dataset: Dataset, read_from: str = "pack") -> Any:
    """A configuration that reads from the pack, which may not be there yet."""
    config = dataset.teacher()
    config.pack.shard_mb = SHARD_MB
    config.input.read_from = read_from
    return config


def contents(config: Any) -> dict[str, bytes]:
    """The pack's files but the manifest, which holds times."""
    found = paths.pack_dir(config).iterdir()
    return {p.name: p.read_bytes() for p in found if p.name != "manifest.json"}


def shards_of(config: Any) -> list[Path]:
    """The shards that are there, in order."""
    return sorted(paths.pack_dir(config).glob("*.array_record"))


def ids_of(config: Any) -> list[str]:
    """The images of all splits, sorted."""
    return sorted(
        photo.image_id
        for split in paths.SPLITS
        for photo in records.read_photos(paths.split_file(config, split), made_by="")
    )


def read_all(config: Any) -> dict[str, bytes | None]:
    """Every image of every split, as the pipeline's source has it."""
    source = open_images(config)
    return {image_id: source.get(image_id) for image_id in ids_of(config)}


def train_batches(config: Any, count: int, state: Any = None) -> tuple[list, Any]:
    """Training batches, and the iterator's state after a third of them."""
    images = open_images(config)
    path = paths.split_file(config, "train", "EU_SW")
    examples = pipeline.read_examples(config, path, images, smart_crop=True)
    made = pipeline.make_train(
        config, examples, images, seed=5, skipped=pipeline.Skipped()
    )
    iterator = iter(made)
    if state is not None:
        iterator.set_state(state)
    first = [next(iterator) for _ in range(count // 3)]
    kept = iterator.get_state()
    return first + [next(iterator) for _ in range(count - count // 3)], kept


def command(config: Any, *options: str) -> list[str]:
    """The stage as a process."""
    return [
        *(sys.executable, "-m", "aplantida_jax.main"),
        *("--config=configs/teacher_global.py:demo", "--config.stage=pack"),
        f"--config.data_dir={config.data_dir}",
        f"--config.pack.shard_mb={config.pack.shard_mb}",
        *options,
    ]
