"""The input pipeline over real JPEGs: order, resume, sampling, sharding, padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CLASSES, PER_CLASS, Dataset

from aplantida_jax import paths
from aplantida_jax.data import order, pipeline
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import open_images
from aplantida_jax.errors import UserError


def _examples(dataset: Dataset, split: str = "train") -> tuple[Any, Any, Any]:
    config = dataset.teacher()
    cache = open_images(config)
    path = paths.split_file(config, split)
    return (
        config,
        cache,
        pipeline.read_examples(config, path, cache, smart_crop=False),
    )


def _train(dataset: Dataset, *, sampling: str = "uniform", **options: Any) -> Any:
    config, cache, examples = _examples(dataset)
    config.train.sampling = sampling
    made = pipeline.make_train(
        config, examples, cache, seed=1, skipped=pipeline.Skipped(), **options
    )
    return iter(made)


def test_an_epoch_holds_every_image_once_and_the_next_is_in_another_order(
    dataset: Dataset,
):
    iterator = _train(dataset)
    steps = CLASSES * PER_CLASS["train"] // 16
    first = np.concatenate([next(iterator)["image_id"] for _ in range(steps)])
    second = np.concatenate([next(iterator)["image_id"] for _ in range(steps)])
    assert len(np.unique(first)) == CLASSES * PER_CLASS["train"]
    assert set(first) == set(second)
    assert not np.array_equal(first, second)


def test_batches_are_uint8_squares_with_labels(dataset: Dataset):
    batch = next(_train(dataset))
    assert batch["image"].shape == (16, 32, 32, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    assert batch["image_id"].dtype == np.uint64


def test_a_restored_iterator_gives_the_same_pixels(dataset: Dataset):
    iterator = _train(dataset)
    for _ in range(3):
        next(iterator)
    kept = iterator.get_state()
    expected = [next(iterator) for _ in range(8)]
    again = _train(dataset)
    again.set_state(kept)
    for batch in expected:
        found = next(again)
        for name, value in batch.items():
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("sampling", ["uniform", "class_balanced"])
def test_the_rows_of_all_processes_are_the_batch_of_one(dataset: Dataset, sampling):
    """Bit for bit, augmentation included, over more than an epoch."""
    alone = _train(dataset, sampling=sampling)
    expected = [next(alone) for _ in range(8)]
    for count in (2, 4):
        shards = [
            _train(dataset, sampling=sampling, shard=(i, count)) for i in range(count)
        ]
        for batch in expected:
            parts = [next(shard) for shard in shards]
            for name, value in batch.items():
                found = np.concatenate([part[name] for part in parts])
                np.testing.assert_array_equal(found, value)


def test_a_process_reads_only_its_own_images(dataset: Dataset):
    """An image that one process cannot read costs the others nothing."""
    config, cache, examples = _examples(dataset)
    alone = next(_train(dataset))["image_id"]
    next(cache.directory.rglob(f"{int(alone[0]):016x}*")).unlink()
    rows = [next(_train(dataset, shard=(i, 2)))["image_id"] for i in range(2)]
    np.testing.assert_array_equal(rows[1], alone[8:])
    np.testing.assert_array_equal(rows[0][:7], alone[1:8])


def test_with_images_that_cannot_be_read_each_process_goes_on_exactly(dataset: Dataset):
    """Whose batches are then its own: each has come further by what it left out."""
    config, cache, examples = _examples(dataset)
    gone = [f"{int(number):016x}" for number in examples.image_id[::7]]
    for name in gone:
        next(cache.directory.rglob(f"{name}*")).unlink()
    for shard in ((0, 2), (1, 2)):
        iterator = _train(dataset, shard=shard)
        for _ in range(5):
            next(iterator)
        kept = iterator.get_state()
        expected = [next(iterator)["image_id"] for _ in range(8)]
        again = _train(dataset, shard=shard)
        again.set_state(kept)
        found = [next(again)["image_id"] for _ in range(8)]
        np.testing.assert_array_equal(found, expected)
        assert not set(np.ravel(found)) & {int(name, 16) for name in gone}


def test_an_image_missing_from_the_cache_is_skipped_and_counted(dataset: Dataset):
    config, cache, examples = _examples(dataset)
    gone = f"{int(examples.image_id[5]):016x}"
    next(cache.directory.rglob(f"{gone}*")).unlink()
    skipped = pipeline.Skipped()
    made = pipeline.make_train(config, examples, cache, seed=1, skipped=skipped)
    iterator = iter(made)
    seen = np.concatenate([next(iterator)["image_id"] for _ in range(12)])
    assert int(gone, 16) not in set(map(int, seen))
    assert skipped.count > 0


def test_training_without_any_image_ends_and_says_what_to_do(dataset, tmp_path):
    config, _, examples = _examples(dataset)
    empty = Cache(tmp_path / "cache", 1.0)
    made = pipeline.make_train(
        config, examples, empty, seed=1, skipped=pipeline.Skipped()
    )
    with pytest.raises(UserError, match=r"10\d\d images in a row.*'download'"):
        next(iter(made))


def test_the_extra_function_adds_to_a_batch(dataset: Dataset):
    iterator = _train(dataset, extra=lambda b: {**b, "twice": b["label"] * 2})
    batch = next(iterator)
    np.testing.assert_array_equal(batch["twice"], 2 * batch["label"])


def test_sampling_weights_by_hand():
    label = np.array([0, 0, 0, 0, 1])
    balanced = order.sampling_weights(label, "class_balanced")
    np.testing.assert_allclose(balanced, [0.125] * 4 + [0.5])
    root = order.sampling_weights(label, "square_root")
    np.testing.assert_allclose(root, [1 / 6] * 4 + [1 / 3])
    assert order.sampling_weights(label, "uniform") is None


def test_class_balanced_sampling_draws_classes_alike(dataset: Dataset):
    config, cache, examples = _examples(dataset)
    rare = np.concatenate([np.arange(90), np.flatnonzero(examples.label == 0)[:1]])
    few = pipeline.Examples(
        examples.image_id[rare], examples.label[rare], examples.box[rare]
    )
    config.train.sampling = "class_balanced"
    made = pipeline.make_train(config, few, cache, seed=3, skipped=pipeline.Skipped())
    iterator = iter(made)
    label = np.concatenate([next(iterator)["label"] for _ in range(60)])
    share = np.bincount(label, minlength=CLASSES) / len(label)
    # 960 draws: a share of 1/6 has a standard deviation of 0.012.
    np.testing.assert_allclose(share, 1 / CLASSES, atol=0.05)


def test_evaluation_sees_every_image_once_in_order_and_masks_the_padding(
    dataset: Dataset,
):
    config, cache, examples = _examples(dataset, "val")
    batches = list(
        pipeline.evaluation_batches(config, examples, cache, image_size=32, resize=36)
    )
    assert all(len(batch["label"]) == 16 for batch in batches)
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.sum() == len(examples) == CLASSES * PER_CLASS["val"]
    ids = np.concatenate([batch["image_id"] for batch in batches])[mask]
    np.testing.assert_array_equal(ids, examples.image_id)


def test_the_evaluation_rows_of_all_processes_are_the_batches_of_one(dataset: Dataset):
    config, cache, examples = _examples(dataset, "val")
    few = pipeline.Examples(
        examples.image_id[:17], examples.label[:17], examples.box[:17]
    )

    def batches(shard: order.Shard) -> list[pipeline.Batch]:
        made = pipeline.evaluation_batches(
            config, few, cache, image_size=32, resize=36, shard=shard
        )
        return list(made)

    alone = batches(order.ALONE)
    assert [int(batch["mask"].sum()) for batch in alone] == [16, 1]
    for count in (2, 4):
        parts = [batches((i, count)) for i in range(count)]
        assert {len(part) for part in parts} == {2}
        for k, batch in enumerate(alone):
            for name, value in batch.items():
                found = np.concatenate([part[k][name] for part in parts])
                np.testing.assert_array_equal(found, value)
                assert found.dtype == value.dtype


def test_evaluation_refuses_a_split_whose_image_is_gone(dataset: Dataset):
    config, cache, examples = _examples(dataset, "val")
    next(cache.directory.rglob(f"{int(examples.image_id[0]):016x}*")).unlink()
    batches = pipeline.evaluation_batches(
        config, examples, cache, image_size=32, resize=36
    )
    with pytest.raises(UserError, match="cannot be read"):
        list(batches)


def test_an_empty_split_is_refused(dataset: Dataset, tmp_path: Path):
    from aplantida_jax.data import records

    config, cache, _ = _examples(dataset)
    empty = tmp_path / "empty.jsonl"
    records.write_photos(empty, [])
    with pytest.raises(UserError, match="has no images"):
        pipeline.read_examples(config, empty, cache, smart_crop=False)


def test_the_fingerprint_tells_datasets_apart(dataset: Dataset):
    _, _, examples = _examples(dataset)
    label = examples.label.copy()
    label[0] = (label[0] + 1) % CLASSES
    other = pipeline.Examples(examples.image_id, label, examples.box)
    assert other.fingerprint != examples.fingerprint
