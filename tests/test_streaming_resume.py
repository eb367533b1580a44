"""A streaming run that is told to stop, and goes on: the same batches, bit for bit."""

import contextlib
import dataclasses
import shutil
import threading
import time

import numpy as np
import pytest
from conftest import Dataset
from streamed_dataset import IMAGES, served, training

from aplantida_jax import paths
from aplantida_jax.data import records
from aplantida_jax.data.image_source import Stopped
from aplantida_jax.train import setup


def assert_same(found, expected):
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_run_that_goes_on_sees_the_pixels_of_an_undisturbed_one(
    dataset: Dataset, server
):
    """Its second start finds boxes in the cache that its first could not."""
    config = served(dataset, server, {"train": 10, "val": 1000})
    shutil.copytree(config.data_dir, f"{config.data_dir}_before")
    with training(config) as (iterator, data, _):
        assert np.isnan(data.train.box).any(axis=1).sum() == IMAGES - 10
        expected = [next(iterator) for _ in range(8)]
        assert len(np.unique(data.train.box[:, 0])) > IMAGES // 2
    shutil.rmtree(config.data_dir)
    shutil.move(f"{config.data_dir}_before", config.data_dir)
    with training(config) as (iterator, _, _):
        first = [next(iterator) for _ in range(4)]
        state = iterator.get_state()
    with training(config, state) as (iterator, data, _):
        assert np.isnan(data.train.box).any(axis=1).sum() < IMAGES - 10
        second = [next(iterator) for _ in range(4)]
    for found, batch in zip(first + second, expected, strict=True):
        assert_same(found, batch)


def many(config, server, count):
    """The same pictures under `count` more addresses."""
    path = paths.split_file(config, "train")
    photos = list(records.read_photos(path, made_by="split"))
    pictures = list(server.images.values())
    for number in range(count):
        server.images[f"x{number}.jpg"] = pictures[number % len(pictures)]
        url = server.url(f"image/x{number}.jpg")
        photos.append(
            dataclasses.replace(
                photos[number % IMAGES], image_id=records.image_id_of(url), url=url
            )
        )
    records.write_photos(path, sorted(photos, key=lambda photo: photo.image_id))


def test_a_stop_with_thousands_of_images_to_come_skips_none(dataset: Dataset, server):
    config = served(dataset, server, {"train": 0, "val": 1000})
    config.download.requests_per_second = 500.0
    many(config, server, 2000)
    with training(config) as (iterator, data, skipped):
        expected = [next(iterator) for _ in range(2)]
        server.delay_s = 0.3  # so that the others wait for their turn
        thread = threading.Thread(target=lambda: (time.sleep(0.1), data.stop()))
        thread.start()
        with contextlib.suppress(Stopped):
            while True:
                state = iterator.get_state()
                expected.append(next(iterator))
        thread.join()
        assert skipped.count == 0
        with pytest.raises(Stopped):
            next(iterator)
    server.delay_s = 0.0
    config.input.threads = 16
    with training(config, state) as (iterator, _, _):
        after = next(iterator)
    with training(config) as (iterator, _, _):
        for batch in [*expected, after]:
            assert_same(next(iterator), batch)


def test_a_closed_stream_reads_what_is_cached_and_nothing_else(
    dataset: Dataset, server
):
    config = served(dataset, server, {"train": 1, "val": 1000})
    data = setup.load_data(config)
    there, other = (f"{int(number):016x}" for number in data.train.image_id[:2])
    data.close()
    assert data.train_images.get(there) is not None
    with pytest.raises(Stopped):
        data.train_images.get(other)
    assert server.asked() == {}
