"""What smart crop costs: an epoch with kept boxes beside one without.

    python scripts/benchmark_smart_crop.py [--images=2000] [--rounds=7]

Draws plants of 512 pixels, as stage download keeps them, into a cache; computes their
boxes once, then reads epochs of `pipeline.make_train` at 384 pixels with and without
them, in turns. An epoch includes opening the split, which reads the kept boxes. Prints
the median over the rounds of (with / without), in lines `name value goal`.
"""

import argparse
import concurrent.futures
import os
import statistics
import tempfile
import time
from typing import Any

import benchmark_dataset

from aplantida_jax import paths
from aplantida_jax.data import decode, pipeline, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import open_images
from aplantida_jax.demo.species import SPECIES
from configs import teacher_global

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"load_average {os.getloadavg()[0]:.1f} <0.5")
    with tempfile.TemporaryDirectory() as directory:
        config = teacher_global.get_config()
        config.data_dir = directory
        config.train.batch_size = BATCH
        config.input.threads = os.cpu_count() or 1
        write_split(config, options.images)
        start = time.perf_counter()
        read(config, smart_crop=True)
        seconds = (time.perf_counter() - start) / options.images * 1000
        print(f"boxes_once_s_per_1000_images {seconds:.2f}")
        epoch(config, smart_crop=False)  # everything is in memory from here on
        ratios = [one_round(config) for _ in range(options.rounds)]
    print(f"epoch_with_kept_boxes_ratio {statistics.median(ratios):.3f} <=1.05")


def write_split(config: Any, count: int) -> None:
    """A training split whose images are in the cache."""
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        photos = list(pool.map(lambda number: photo(number, cache), range(count)))
    photos.sort(key=lambda one: one.image_id)
    records.write_photos(paths.split_file(config, "train"), photos)
    cache.close()


def photo(number: int, cache: Cache) -> records.Photo:
    species = number % len(SPECIES)
    image = benchmark_dataset.plant(number)
    url = f"https://example.org/{number}.jpg"
    image_id = records.image_id_of(url)
    cache.put(image_id, decode.encode_jpeg(decode.shrink(image, 512), 90))
    names = (str(species), f"Genus {species}", species, url)
    rest = ("benchmark", "CC0-1.0", "cc0", "", ("ES",), ("EU_SW",))
    return records.Photo(image_id, *names, *rest)


def read(config: Any, *, smart_crop: bool) -> tuple[Any, pipeline.Examples]:
    images = open_images(config)
    path = paths.split_file(config, "train")
    return images, pipeline.read_examples(config, path, images, smart_crop=smart_crop)


def epoch(config: Any, *, smart_crop: bool) -> float:
    """Seconds from opening the split to its last batch."""
    start = time.perf_counter()
    images, examples = read(config, smart_crop=smart_crop)
    iterator = iter(
        pipeline.make_train(
            config, examples, images, seed=1, skipped=pipeline.Skipped()
        )
    )
    for _ in range(len(examples) // BATCH):
        next(iterator)
    return time.perf_counter() - start


def one_round(config: Any) -> float:
    """Each twice, in an order that a steady drift of the machine's speed evens out."""
    one = epoch(config, smart_crop=True)
    without = epoch(config, smart_crop=False) + epoch(config, smart_crop=False)
    return (one + epoch(config, smart_crop=True)) / without


if __name__ == "__main__":
    main()
