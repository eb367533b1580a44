"""The pack against the cache: images a second, read at random and trained on.

    python scripts/benchmark_pack.py [--images=2000]

Draws photo-like JPEGs of 512 x 683 pixels into a cache in a temporary directory, packs
them, and reads both from the page cache, in turns; the better of the rounds counts. So
it measures what reading costs the processor; on a disk the pack's fewer files come on
top. Prints lines `name value goal`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aplantida_jax import paths
from aplantida_jax.data import decode, labels, pack, pipeline, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import ImageSource, open_images
from configs import student_finetune

READ_FROM = ("cache", "pack")
ROUNDS = 3
CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as directory:
        config = student_finetune.get_config()
        config.data_dir = directory
        config.pack.shard_mb = 32.0
        config.train.batch_size = 32
        write_splits(config, images)
        start = time.perf_counter()
        pack.run(config, Path(directory))
        print(f"pack_write_images_per_s {images / (time.perf_counter() - start):.0f}")
        sources = {}
        for read_from in READ_FROM:
            config.input.read_from = read_from
            sources[read_from] = open_images(config)
        report("read", lambda source: read(source, config), sources)
        report("train", lambda source: train(source, config, images // 32), sources)


def write_splits(config: Any, images: int) -> None:
    """A tenth each to val and test."""
    taxa = tuple(
        labels.Taxon(i, f"Genus {i}", "", "", "Genus", "", ("ES",), ("EU_SW",))
        for i in range(CLASSES)
    )
    labels.write(paths.classes(config), labels.LabelMap(taxa))
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    generator = np.random.default_rng(0)
    photos = [photo(number, cache, generator) for number in range(images)]
    cache.close()
    photos.sort(key=lambda one: one.image_id)
    tenth = images // 10
    bounds = {"val": (0, tenth), "test": (tenth, 2 * tenth), "train": (2 * tenth, None)}
    for split, (first, last) in bounds.items():
        records.write_photos(paths.split_file(config, split), photos[first:last])


def photo(number: int, cache: Cache, generator: np.random.Generator) -> records.Photo:
    """Shapes of all sizes and some noise: as many bytes as a photo has."""
    image = np.zeros((512, 683, 3), np.float32)
    for cells in (3, 12, 48, 160):
        coarse = generator.normal(0, 120 / cells**0.5, (cells, cells, 3))
        size = image.shape[1::-1]
        image += cv2.resize(
            coarse.astype(np.float32), size, interpolation=cv2.INTER_CUBIC
        )
    data = decode.encode_jpeg(np.clip(image + 128, 0, 255).astype(np.uint8), 90)
    url = f"https://example.org/{number}.jpg"
    image_id = records.image_id_of(url)
    cache.put(image_id, data)
    class_id = number % CLASSES
    names = (str(class_id), f"Genus {class_id}", class_id, url)
    rest = ("benchmark", "CC0-1.0", "cc0", "", ("ES",), ("EU_SW",))
    return records.Photo(image_id, *names, *rest)


def report(
    what: str, run: Callable[[ImageSource], float], sources: dict[str, ImageSource]
) -> None:
    """Rounds in turns, so that what else the machine does meets both."""
    rates = [
        {name: run(source) for name, source in sources.items()} for _ in range(ROUNDS)
    ]
    best = {name: max(rate[name] for rate in rates) for name in sources}
    for name, rate in best.items():
        print(f"{name}_{what}_images_per_s {rate:.0f}")
    print(f"pack_{what}_ratio {best['pack'] / best['cache']:.2f} >=1")


def read(source: ImageSource, config: Any) -> float:
    """Images a second, in a random order, by one thread."""
    path = paths.split_file(config, "train")
    ids = [one.image_id for one in records.read_photos(path, made_by="split")]
    np.random.default_rng(1).shuffle(ids)
    start = time.perf_counter()
    for image_id in ids:
        if source.get(image_id) is None:
            raise RuntimeError(f"{image_id} is not there")
    return len(ids) / (time.perf_counter() - start)


def train(source: ImageSource, config: Any, batches: int) -> float:
    """Images a second of the training pipeline: decode, crop, warp, batch."""
    path = paths.split_file(config, "train")
    examples = pipeline.read_examples(config, path, source, smart_crop=False)
    made = pipeline.make_train(
        config, examples, source, seed=1, skipped=pipeline.Skipped()
    )
    iterator = iter(made)
    next(iterator)
    start = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches * config.train.batch_size / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
