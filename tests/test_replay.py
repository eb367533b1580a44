"""The promise of recorded views: the student sees what its teacher's rows are about.

A real teacher, real JPEGs, a real store: predict with views, combine, then the batches
of a run and what its step makes of them.
"""

import shutil
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax import manifest, paths
from aplantida_jax.data import pipeline, view_batches
from aplantida_jax.distill import combine, predict
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.distill.teacher import Teacher, make_step
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, inputs, loop, losses, replay, setup
from aplantida_jax.train.feed import Feed

VIEWS = 3


@pytest.fixture(scope="module")
def labelled(trained: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small dataset, its teacher, and combined soft labels of recorded views."""
    root = tmp_path_factory.mktemp("labelled")
    shutil.copytree(trained.root, root, dirs_exist_ok=True)
    dataset = Dataset(root, trained.label_map)
    config = teacher_config(dataset)
    predict.run(config, paths.run_dir(config, config.name))
    config.combine.update({"teachers": (config.name,), "weights": (1.0,)})
    combine.run(config, paths.run_dir(config, config.name))
    return dataset


def teacher_config(dataset: Dataset) -> Any:
    config = dataset.teacher()
    config.predict.views = VIEWS
    config.augment.update({"erasing": 0.5, "blur": 0.3, "hue": 0.1})
    return config


def student(dataset: Dataset) -> Any:
    """As a student is configured: with another augmentation than the teacher's.

    And another input.resize, with which files are decoded at another scale.
    """
    config = dataset.student()
    config.distill.mode = "precomputed"
    config.input.resize = 96
    config.augment.update({"rotation": 1.0, "erasing": 0.0, "brightness": 0.0})
    return replay.follow(config)


@pytest.fixture
def store(labelled: Dataset) -> SoftLabels:
    path = paths.soft_labels(labelled.student(), "combined", "train")
    return SoftLabels(path, label_map=labelled.label_map, made_by="combine")


def feed(dataset: Dataset) -> tuple[Any, setup.Data, Feed]:
    config = student(dataset)
    data = setup.load_data(config)
    return config, data, Feed(config, data)


def view_numbers(store: SoftLabels, batch: pipeline.Batch) -> np.ndarray:
    """Which view each row of a batch shows, by the seed of its colours."""
    ids = np.repeat(batch["image_id"], VIEWS)
    number = np.tile(np.arange(VIEWS, dtype=np.uint8), len(batch["image_id"]))
    seeds = store.view_records(ids, number)["seed"].reshape(-1, VIEWS)
    same = seeds == batch["seed"][:, None]
    assert (same.sum(axis=1) == 1).all()
    return same.argmax(axis=1).astype(np.uint8)


def seen_by_the_teacher(
    dataset: Dataset, data: setup.Data
) -> dict[int, pipeline.Batch]:
    """The uint8 pictures that predict rendered, by the seed of their colours."""
    config = teacher_config(dataset)
    batches = view_batches.batches(
        config, data.train, data.images, image_size=32, resize=config.input.resize
    )
    return {
        int(batch["seed"][row]): batch["image"][row]
        for batch in batches
        for row in np.flatnonzero(batch["mask"])
    }


def test_the_students_pictures_are_those_of_the_teacher(labelled, store):
    _, data, batches = feed(labelled)
    expected = seen_by_the_teacher(labelled, data)
    numbers = []
    for _ in range(8):
        batch = batches.next()
        for row, seed in enumerate(batch["seed"].tolist()):
            np.testing.assert_array_equal(batch["image"][row], expected[seed])
        numbers.append(view_numbers(store, batch))
    share = np.bincount(np.concatenate(numbers), minlength=VIEWS) / (8 * 16)
    np.testing.assert_allclose(share, 1 / VIEWS, atol=0.15)  # 3.6 standard deviations


class Pixels(nn.Module):
    """Answers with the picture itself, so that what a network sees can be read."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        del train
        return images.reshape(images.shape[0], -1)


def test_the_colours_are_those_of_the_teacher_bit_for_bit(labelled):
    config, data, batches = feed(labelled)
    batch = batches.next()
    mean, std = tuple(config.input.mean), tuple(config.input.std)
    augment = teacher_config(labelled).augment
    step = make_step(Pixels(), mean=mean, std=std, top_k=1, augment=augment)
    shown = {name: batch[name] for name in ("image", "seed")}
    everything = np.ones(32 * 32 * 3, bool)
    seen = step({}, shown, everything)["logits"].reshape(batch["image"].shape)
    constants = setup.constants(config, data)

    @jax.jit
    def of_the_student(batch: Any) -> jax.Array:
        rng, _ = inputs.keys(config.seed, 0)
        images = inputs.prepare(rng, batch, constants, config).images
        return (images - jnp.array(mean)) / jnp.array(std)

    replayed = of_the_student({n: v for n, v in batch.items() if n != "image_id"})
    np.testing.assert_array_equal(replayed, seen)
    plain = (batch["image"] / 255 - np.array(mean)) / np.array(std)
    assert (np.abs(replayed - plain).max(axis=(1, 2, 3)) > 0.1).all()


def test_the_row_that_reaches_the_loss_is_of_the_view_that_is_shown(labelled, store):
    config, data, batches = feed(labelled)
    best = checkpoint.load_best(
        paths.run_dir(config, "teacher_global"), labelled.label_map
    )
    teacher = Teacher(
        best, labelled.label_map, top_k=32, augment=teacher_config(labelled).augment
    )
    constants = setup.constants(config, data)
    rng, _ = inputs.keys(config.seed, 0)
    own, others = [], []
    for _ in range(3):
        batch = batches.next()
        number = view_numbers(store, batch)
        found = inputs.prepare(rng, batch, constants, config).teacher
        row = store.look_up(batch["image_id"], number)
        expected = losses.expand_soft_labels(
            **row, covers=store.covers, class_mask=constants.class_mask
        )
        np.testing.assert_array_equal(found, expected)
        # And it is what the teacher says of the pixels that the student is shown.
        said = jax.nn.softmax(teacher.ask(batch)["logits"])
        own.append(divergence(said, found))
        aside = store.look_up(batch["image_id"], (number + 1) % VIEWS)
        other = losses.expand_soft_labels(
            **aside, covers=store.covers, class_mask=constants.class_mask
        )
        others.append(divergence(said, other))
    # 16^2 / 255^2 / 24 nats: the rounding of a packed row.
    assert np.mean(own) < 2e-4
    assert np.mean(others) > 10 * np.mean(own)


def divergence(p: Any, q: Any) -> np.ndarray:
    return np.asarray((p * jnp.log(p / q)).sum(axis=1))


def test_a_restored_feed_replays_the_same_views(labelled):
    _, _, batches = feed(labelled)
    for _ in range(3):
        batches.next()
    kept = batches.position
    expected = [batches.next() for _ in range(5)]
    _, _, again = feed(labelled)
    again.go_on_from(kept)
    for batch in expected:
        found = again.next()
        assert found.keys() == batch.keys() >= {"seed", "teacher_class"}
        for name, value in batch.items():
            np.testing.assert_array_equal(found[name], value)


def test_the_rows_of_two_processes_are_the_batch_of_one(labelled, store):
    config, data, batches = feed(labelled)
    shards = [
        iter(
            pipeline.make_train(
                *(config, data.train, data.images),
                seed=config.seed,
                skipped=pipeline.Skipped(),
                shard=(process, 2),
                extra=replay.look_up(store),
                recorded=replay.recorded(store),
            )
        )
        for process in range(2)
    ]
    for _ in range(4):
        batch = batches.next()
        parts = [next(shard) for shard in shards]
        for name, value in batch.items():
            found = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(found, value)


def test_a_student_trains_on_the_views_and_says_what_gave_way(labelled, caplog):
    config = labelled.student()
    config.distill.mode = "precomputed"
    config.model.update(labelled.teacher().model)  # compiles in a third of the time
    config.train.epochs = 1
    config.augment.rotation = 1.0
    config.input.smart_crop = False
    with caplog.at_level("INFO", logger="absl"):
        loop.run(config, paths.run_dir(config, config.name))
    assert "augment follows the soft labels, 3 recorded views" in caplog.text
    assert "augment.rotation 20.0 instead of 1.0" in caplog.text
    assert "input.smart_crop True instead of False" in caplog.text
    workdir = paths.run_dir(config, config.name)
    best = checkpoint.load_best(workdir, labelled.label_map)
    assert best.info["metrics"]["loss"] < 10
    # The manifest says what the run was, and what has no effect makes no other run.
    recorded = manifest.read(workdir, made_by="train")["config"]
    assert recorded["augment"]["rotation"] == 20.0
    assert recorded["input"]["smart_crop"] is True
    config.augment.rotation = 77.0
    with caplog.at_level("INFO", logger="absl"):
        loop.run(config, workdir)
    assert "nothing to do" in caplog.text


def test_the_views_do_not_decide_what_validation_sees(labelled):
    for smart_crop in (True, False):
        config = student(labelled)
        config.input.update({"smart_crop": smart_crop, "eval_smart_crop": True})
        assert (setup.load_data(config).val.box != 0.5).any()
        config.input.eval_smart_crop = False
        assert (setup.load_data(config).val.box[:, 2] == 1).all()


def test_without_the_store_its_reader_says_so(labelled, tmp_path):
    config = labelled.student()
    config.distill.update({"mode": "precomputed", "soft_labels": "elsewhere"})
    with pytest.raises(UserError, match="store.json is missing: stage 'combine'"):
        loop.run(config, tmp_path)


def test_without_recorded_views_a_run_keeps_its_own_augmentation(
    trained: Dataset, tmp_path: Path
):
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True)
    dataset = Dataset(tmp_path, trained.label_map)
    config = dataset.teacher()
    predict.run(config, paths.run_dir(config, config.name))
    config.combine.update({"teachers": (config.name,), "weights": (1.0,)})
    combine.run(config, paths.run_dir(config, config.name))
    asked = dataset.student()
    assert replay.follow(asked) is asked  # which does not distil
    asked.distill.mode = "precomputed"
    assert replay.follow(asked) is asked
    batch = Feed(asked, setup.load_data(asked)).next()
    assert "seed" not in batch
    assert batch["teacher_class"].shape[0] == 16
