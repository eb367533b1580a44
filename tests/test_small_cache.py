"""Streaming through a cache that holds the validation images, and few others."""

import pytest
from conftest import CLASSES, PER_CLASS, Dataset
from streamed_dataset import IMAGES, served, training

from aplantida_jax import paths
from aplantida_jax.data import pipeline, records
from aplantida_jax.data.cache import Cache, CacheFull
from aplantida_jax.data.spared import Spared
from aplantida_jax.errors import UserError
from aplantida_jax.train import setup

VALIDATION = CLASSES * PER_CLASS["val"]


def bytes_of(config, server, split):
    """How much a split's images take."""
    photos = records.read_photos(paths.split_file(config, split), made_by="split")
    return sum(len(server.images[p.url.rpartition("/")[2]]) for p in photos)


def ids_of(config, split):
    photos = records.read_photos(paths.split_file(config, split), made_by="split")
    return [photo.image_id for photo in photos]


def test_training_never_displaces_what_validation_needs(dataset: Dataset, server):
    config = served(dataset, server, {"train": 0, "val": 10})
    beside = 2.5 * bytes_of(config, server, "train") / 6  # 2.5 of six batches
    config.download.cache_size_gb = (bytes_of(config, server, "val") + beside) / 1e9
    with training(config) as (iterator, data, skipped):
        for _ in range(2):
            for _ in range(IMAGES // config.train.batch_size):
                next(iterator)
            batches = pipeline.evaluation_batches(
                config, data.val, data.images, image_size=32, resize=36
            )
            assert sum(batch["mask"].sum() for batch in batches) == VALIDATION
        assert skipped.count == 0
    asked = server.asked()
    validation = {count for path, count in asked.items() if "val" in path}
    assert validation == {1}  # the 14 of them that were not there
    assert max(asked.values()) > 1  # for training's there is no room to stay
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    assert all(name in cache for name in ids_of(config, "val"))
    cache.close()


@pytest.mark.parametrize("cached", [0, 1000])
def test_a_cache_that_validation_alone_fills_is_refused_at_the_start(
    dataset: Dataset, server, cached
):
    config = served(dataset, server, {"train": 0, "val": cached})
    size = bytes_of(config, server, "val")
    config.download.cache_size_gb = 1.05 * size / 1e9
    with pytest.raises(UserError, match="no room for .*cache_size_gb above") as error:
        setup.load_data(config)
    # What the message says is enough.
    config.download.cache_size_gb = 1.01 * float(str(error.value).rpartition(" ")[2])
    setup.load_data(config).close()
    assert all(count == 1 for count in server.asked().values())


def test_a_validation_image_that_is_lost_is_fetched_by_the_next_start(
    dataset: Dataset, server
):
    config = served(dataset, server, {"train": 1000, "val": 1000})
    victim = ids_of(config, "val")[3]
    data = setup.load_data(config)
    next(paths.cache_dir(config).rglob(victim)).unlink()
    assert data.images.get(victim) is None
    assert data.images.remedy.startswith("run the same command again")
    data.close()
    data = setup.load_data(config)
    assert data.images.get(victim) is not None
    data.close()


def test_the_spared_stay_through_any_number_of_others_and_of_reads(tmp_path):
    cache = Cache(tmp_path / "cache", 1e-6)  # 1000 bytes
    spared = [f"{number:016x}" for number in range(5)]
    for name in spared:
        cache.put(name, b"s" * 100)
    through = Spared(cache, spared)
    for number in range(100, 160):
        assert through.put(f"{number:016x}", b"o" * 100)
        assert cache.get(f"{number:016x}") is not None
    assert [name for name in spared if name not in cache] == []
    assert len(cache) == 10
    assert not through.put("f" * 16, b"x" * 1001)
    with pytest.raises(CacheFull):
        through.put("f" * 16, b"x" * 501)
    assert through.put("f" * 16, b"x" * 500)
    assert len(cache) == 6
    cache.close()
