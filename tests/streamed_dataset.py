"""The small dataset on a server, and its training set as the loop reads it there."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from conftest import CLASSES, PER_CLASS, Dataset

from aplantida_jax import paths
from aplantida_jax.data import pipeline, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.train import setup

IMAGES = CLASSES * PER_CLASS["train"]


def served(dataset: Dataset, server: Any, keep: dict[str, int]) -> Any:
    """The dataset's images on the server, and of each split so many in the cache."""
    config = dataset.teacher()
    config.input.stream = True
    config.input.threads = 4
    config.source.uri = ""
    config.train.epochs = 2
    config.download.private_hosts = (server.host,)
    config.download.shrink_short_side = 0
    config.dataset.min_image_side = 50
    cache = Cache(paths.cache_dir(config), 1.0)
    for split in ("train", "val"):
        path = paths.split_file(config, split)
        photos = list(records.read_photos(path, made_by="split"))
        for number, photo in enumerate(photos):
            name = photo.url.rpartition("/")[2]
            server.images[name] = cache.get(photo.image_id)
            if number >= keep[split]:
                next(cache.directory.rglob(photo.image_id)).unlink()
            url = server.url(f"image/{name}")
            photos[number] = dataclasses.replace(photo, url=url)
        records.write_photos(path, photos)
    return config


@contextlib.contextmanager
def training(config: Any, state: Any = None) -> Iterator[tuple[Any, Any, Any]]:
    """The training set's iterator as the loop makes it, its data, and what it skips."""
    data = setup.load_data(config)
    skipped = pipeline.Skipped()
    made = pipeline.make_train(
        config, data.train, data.train_images, seed=1, skipped=skipped
    )
    iterator = iter(made)
    if state is not None:
        iterator.set_state(state)
    with contextlib.closing(data):
        yield iterator, data, skipped
