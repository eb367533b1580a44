"""The pack holds what the cache holds, and whoever reads it cannot tell them apart."""

import concurrent.futures
import json
import shutil
from typing import Any

import numpy as np
import pytest
from conftest import Dataset
from packed_dataset import (
    IMAGES,
    SHARD_MB,
    config_for,
    contents,
    ids_of,
    read_all,
    shards_of,
    train_batches,
)

from aplantida_jax import config as config_lib
from aplantida_jax import manifest, paths
from aplantida_jax.data import decode, labels, pack, packed, pipeline, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import open_images
from aplantida_jax.data.packed import Pack
from aplantida_jax.errors import UserError


@pytest.fixture
def config(dataset: Dataset) -> Any:
    """The configuration of a dataset that has been packed."""
    config = config_for(dataset)
    pack.run(config, dataset.root)
    return config


def _assert_same(first: list, second: list) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(other[name], value)


def test_the_pack_holds_every_image_of_every_split_as_the_cache_does(config):
    cache = Cache(paths.cache_dir(config), 1.0)
    found = read_all(config)
    assert len(found) == IMAGES
    assert found == {image_id: cache.get(image_id) for image_id in found}
    opened = Pack(paths.pack_dir(config))
    assert opened.image_ids.tolist() == [int(image_id, 16) for image_id in found]
    assert len(shards_of(config)) > 3
    # ArrayRecord ends a file with two blocks of 64 KiB that may be all but empty.
    for path in shards_of(config)[:-1]:
        assert -0.01 < path.stat().st_size / 1e6 - SHARD_MB < 0.14
    assert opened.get("f" * 16) is None
    assert opened.get("0" * 16) is None


def test_training_sees_the_same_pixels_in_the_same_order(dataset, config):
    from_cache, _ = train_batches(config_for(dataset, "cache"), 9)
    from_pack, _ = train_batches(config, 9)
    _assert_same(from_cache, from_pack)


def test_training_that_began_on_the_cache_resumes_on_the_pack(dataset, config):
    from_cache, kept = train_batches(config_for(dataset, "cache"), 9)
    from_pack, _ = train_batches(config, 6, kept)
    _assert_same(from_cache[3:], from_pack)


def test_where_the_images_are_read_from_makes_no_new_run(dataset, tmp_path):
    keys = []
    for read_from in ("cache", "pack"):
        job = manifest.begin(
            config_for(dataset, read_from),
            stage="train",
            out_dir=tmp_path,
            inputs=[],
            depends_on=("input", "model"),
        )
        assert job is not None
        keys.append(job.key)
    assert keys[0] == keys[1]


def test_evaluation_sees_the_same_pixels(dataset, config):
    found = []
    for read_from in ("cache", "pack"):
        source = open_images(config_for(dataset, read_from))
        path = paths.split_file(config, "test")
        examples = pipeline.read_examples(config, path, source, smart_crop=False)
        batches = pipeline.evaluation_batches(
            config, examples, source, image_size=32, resize=36
        )
        found.append(list(batches))
    _assert_same(*found)


def test_threads_may_read_at_a_time(config):
    expected = read_all(config)
    source = open_images(config)
    order = list(expected) * 20
    np.random.default_rng(0).shuffle(order)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for image_id, data in zip(order, pool.map(source.get, order), strict=True):
            assert data == expected[image_id]


def test_a_second_run_writes_nothing_and_a_second_pack_is_the_same(config, tmp_path):
    first = contents(config)
    times = [path.stat().st_mtime_ns for path in paths.pack_dir(config).iterdir()]
    pack.run(config, tmp_path)
    assert times == [p.stat().st_mtime_ns for p in paths.pack_dir(config).iterdir()]
    shutil.rmtree(paths.pack_dir(config))
    pack.run(config, tmp_path)
    assert contents(config) == first


def test_a_pack_that_is_not_there_names_its_stage(dataset):
    with pytest.raises(UserError, match="stage 'pack' makes it"):
        open_images(config_for(dataset))


def _swap_splits(config: Any) -> None:
    val, test = (paths.split_file(config, split) for split in ("val", "test"))
    exchanged = val.read_bytes(), test.read_bytes()
    test.write_bytes(exchanged[0])
    val.write_bytes(exchanged[1])


def test_a_pack_of_other_splits_is_refused_and_its_shards_are_kept(config, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in shards_of(config)}
    _swap_splits(config)
    with pytest.raises(UserError, match=r"dataset_val.jsonl: run stage 'pack' again"):
        open_images(config)
    pack.run(config, tmp_path)
    assert len(read_all(config)) == IMAGES
    assert before == {path: path.stat().st_mtime_ns for path in shards_of(config)}


def test_fewer_images_leave_no_shard_of_the_larger_pack(config, tmp_path):
    path = paths.split_file(config, "train")
    photos = list(records.read_photos(path, made_by=""))
    records.write_photos(path, photos[:20])
    pack.run(config, tmp_path)
    assert len(read_all(config)) == len(ids_of(config)) < IMAGES
    table = json.loads((paths.pack_dir(config) / packed.SHARDS).read_text())
    assert [shard["name"] for shard in table] == [p.name for p in shards_of(config)]


def test_a_pack_of_another_label_map_is_refused(dataset, config):
    taxa = dataset.label_map.taxa
    labels.write(paths.classes(config), labels.LabelMap(taxa[:-1]))
    with pytest.raises(UserError, match="label map .*stage 'pack'"):
        open_images(config)


def test_splits_of_images_yet_to_come_are_packed_without_them(dataset, tmp_path):
    config = config_for(dataset)
    gone = ids_of(config)[7]
    next(paths.cache_dir(config).rglob(gone)).unlink()
    config.split.cached_only = False
    paths.download_dir(config).mkdir()
    paths.download_index(config).write_bytes(b"as the download left it")
    pack.run(config, tmp_path)
    made = json.loads((paths.pack_dir(config) / "manifest.json").read_text())
    assert made["metrics"]["skipped"] == 1
    assert made["metrics"]["images"] == IMAGES - 1
    assert [i for i, data in read_all(config).items() if data is None] == [gone]


def test_images_can_be_made_smaller_and_then_it_is_said(dataset, tmp_path):
    config = config_for(dataset)
    config.input.pack_short_side = 48
    pack.run(config, tmp_path)
    shapes = {
        decode.decode(data, max_pixels=10**6).shape
        for data in read_all(config).values()
        if data is not None
    }
    assert shapes == {(48, 60, 3)}
    config.input.pack_short_side = 0
    with pytest.raises(UserError, match="pack_short_side=48, not 0"):
        open_images(config)


def test_a_dry_run_counts_and_writes_nothing(dataset, tmp_path, caplog):
    config = config_for(dataset)
    config.dry_run = True
    with caplog.at_level("INFO", logger="absl"):
        pack.run(config, tmp_path)
    assert not paths.pack_dir(config).exists()
    config.dry_run = False
    pack.run(config, tmp_path)
    shards = len(shards_of(config))
    planned = f"dry run: {IMAGES} images, about 0.00 GB in {shards} shards;"
    assert planned in caplog.text


def test_nowhere_else_to_read_from(dataset):
    config = config_for(dataset, "tape")
    with pytest.raises(UserError, match=r"read_from='tape'.*cache, pack"):
        config_lib.check(config)
