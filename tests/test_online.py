"""Online distillation, run for real: its rows, its resume, what it refuses and says."""

import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from conftest import CLASSES, Dataset

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import pipeline
from aplantida_jax.distill import combine, predict
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, loop, losses, setup, teacher_runs

NAMES = ("teacher_global", "teacher_eu_sw")


@pytest.fixture(scope="module")
def school(trained: Dataset, tmp_path_factory) -> Dataset:
    """The small dataset with a teacher of all plants and one of a region."""
    root = tmp_path_factory.mktemp("school") / "copy"
    shutil.copytree(trained.root, root)
    copy = Dataset(root, trained.label_map)
    config = regional(copy)
    config.train.epochs = 1
    loop.run(config, paths.run_dir(config, config.name))
    return copy


def regional(school: Dataset):
    config = school.teacher()
    config.name, config.region = "teacher_eu_sw", "EU_SW"
    config.model.init_from = "teacher_global"
    return config


def student_of(school: Dataset):
    """A ViT for smaller images: it compiles in a tenth of a MobileNetV2's time."""
    config = school.student()
    config.model.update({"name": "vit_mini_patch8_64", "image_size": 24})
    config.distill.mode = "online"
    config.combine.update({"teachers": NAMES, "weights": (0.4, 0.6)})
    config.predict.top_k = CLASSES
    config.augment.mixup_probability = 0.5
    config.train.update({"epochs": 3, "learning_rate": 2e-3, "ema_decay": 0.9})
    return config


def test_the_rows_are_those_of_predict_and_combine(school: Dataset, tmp_path: Path):
    config = student_of(school)
    for teacher in (school.teacher(), regional(school)):
        teacher.predict.top_k = CLASSES
        predict.run(teacher, paths.run_dir(teacher, teacher.name))
    combine.run(config, tmp_path)
    where = paths.soft_labels(config, "combined", "train")
    store = SoftLabels(where, label_map=school.label_map, made_by="combine")
    data = setup.load_data(config)
    assert data.teachers is not None
    batches = pipeline.evaluation_batches(
        config, data.train, data.images, image_size=32, resize=config.input.resize
    )
    answer = jax.jit(
        lambda teachers, images, label: teachers.answer(
            images / 255.0, teachers.applies(label)
        )
    )
    alone = 0
    for batch in batches:
        online = answer(data.teachers, batch["image"], batch["label"])
        stored = losses.expand_soft_labels(
            **store.look_up(batch["image_id"]),
            covers=store.covers,
            class_mask=jnp.ones(CLASSES, bool),
        )
        # Packed twice: half a step of 16 / 255 nats at most of its own, and half a
        # step that the others' rounding takes or leaves.
        np.testing.assert_allclose(online, stored, rtol=2 * 16 / 255)
        divergence = scipy.stats.entropy(online, stored, axis=1)
        assert divergence.mean() < 1e-3
        alone += int((~data.teachers.covers[1][batch["label"]]).sum())
    assert 0 < alone < len(data.train)  # of a region and of none
    assert data.teacher_ancestors == store.provenance


def test_rows_that_are_cut_stay_in_a_teachers_region(school: Dataset, tmp_path: Path):
    """A student of all plants learns from a tail of two what online teaches."""
    config, teacher = student_of(school), regional(school)
    teacher.predict.top_k = config.predict.top_k = 2
    config.combine.update({"teachers": NAMES[1:], "weights": (1.0,)})
    config.distill.soft_labels = "regional"
    predict.run(teacher, paths.run_dir(teacher, teacher.name))
    combine.run(config, tmp_path)
    where = paths.soft_labels(config, "regional", "train")
    store = SoftLabels(where, label_map=school.label_map, made_by="combine")
    config.region, config.distill.mode = "EU_SW", "precomputed"
    data = setup.load_data(config)
    covers = np.asarray(setup.constants(config, data).covers)
    online = teacher_runs.load(config, school.label_map)[0]
    np.testing.assert_array_equal(covers, online.covers)
    batches = pipeline.evaluation_batches(
        config, data.train, data.images, image_size=32, resize=config.input.resize
    )
    costs = []
    for batch in batches:
        real = batch["mask"]
        said = online.answer(batch["image"] / 255.0, online.applies(batch["label"]))
        found = store.look_up(batch["image_id"][real])
        assert (found["teacher_tail"] > 0).all()
        stored = losses.expand_soft_labels(
            **found, covers=covers, class_mask=jnp.ones(CLASSES, bool)
        )
        assert (np.asarray(stored)[:, ~covers[0]] == 0).all()
        costs.append(scipy.stats.entropy(np.asarray(said)[real], stored, axis=1))
    made = manifest.read(
        paths.soft_labels(config, teacher.name, "train"), made_by="predict"
    )
    kl_mean = made["metrics"]["kl_mean"]
    assert np.concatenate(costs).mean() == pytest.approx(kl_mean, rel=0.05, abs=1e-4)


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(school: Dataset):
    """Its average included, from an epoch that `keep_epochs` left."""
    config = student_of(school)
    config.train.update({"epochs": 4, "keep_epochs": 3})
    workdir = paths.run_dir(config, config.name)
    loop.run(config, workdir)
    undisturbed = outcome(school, workdir)
    newest = max(int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*"))
    for step in (newest, newest * 3 // 4):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    for name in ("manifest.json", "best.json"):
        (workdir / name).unlink()
    config.train.keep_epochs = 1
    loop.run(config, workdir)
    assert outcome(school, workdir) == undisturbed
    best = files.read_json(paths.best(workdir), made_by="train")
    left = {int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*")}
    assert left == {best["step"], newest * 3 // 4, newest}  # the best, the last two
    kinds = {entry["name"]: entry["kind"] for entry in best["provenance"]}
    assert kinds == {
        "dataset_train.jsonl": "data",
        "dataset_eu_sw_train.jsonl": "data",
        **dict.fromkeys(NAMES, "teacher"),
    }


def outcome(school: Dataset, workdir: Path) -> tuple[str, list[bytes]]:
    best = checkpoint.load_best(workdir, school.label_map)
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(best.variables)]
    return (workdir / "history.jsonl").read_text(), leaves


def test_the_identity_of_a_run_has_its_teachers_only_when_they_are_asked(
    school: Dataset,
):
    config = student_of(school)
    asked = setup.inputs(config)[-2:]
    assert [item.path.parent.name for item in asked] == list(NAMES)
    assert all(item.finished for item in asked)
    assert "combine.weights" in setup.depends_on(config)
    config.distill.mode = "none"
    assert "combine.weights" not in setup.depends_on(config)
    assert not any(
        item.path in [a.path for a in asked] for item in setup.inputs(config)
    )


def test_a_dry_run_says_what_the_teachers_take(school: Dataset, caplog):
    config = student_of(school)
    config.dry_run, config.name = True, "student_forecast"
    with caplog.at_level("INFO", logger="absl"):
        loop.run(config, paths.run_dir(config, config.name))
    assert "2 teachers, 1.38 million parameters" in caplog.text
    assert "the student sees images of 24 pixels, they of 32, 32" in caplog.text
    assert "answer in every step for 16 images at a time" in caplog.text
    assert "distill.teacher_batch_size=4" in caplog.text
    config.distill.teacher_batch_size = 2
    with caplog.at_level("INFO", logger="absl"):
        loop.run(config, paths.run_dir(config, config.name))
    assert "answer in every step for 2 images at a time" in caplog.text
    said = r"each device 5.5 MB of weights, and ([\d.]+) MB while they do"
    whole, parts = map(float, re.findall(said, caplog.text))
    assert parts < whole / 2
    assert not paths.run_dir(config, config.name).exists()


def test_a_teacher_that_is_missing_or_altered_is_named(school: Dataset, tmp_path: Path):
    config = student_of(school)
    config.combine.teachers = ("teacher_global", "teacher_eu_core")
    with pytest.raises(UserError, match=r"--config=configs/teacher_eu_core.py.* first"):
        loop.run(config, tmp_path)
    shutil.copytree(school.root, tmp_path / "copy")
    copy = Dataset(tmp_path / "copy", school.label_map)
    config = student_of(copy)
    best = paths.best(paths.run_dir(config, "teacher_eu_sw"))
    best.write_text(best.read_text().replace("EU_SW", "EU_EAST"))
    with pytest.raises(UserError, match="is not what stage 'train'"):
        loop.run(config, tmp_path / "run")


def test_images_that_no_teacher_knows_are_refused(school: Dataset, tmp_path: Path):
    config = student_of(school)
    config.combine.update({"teachers": NAMES[1:], "weights": (1.0,)})
    with pytest.raises(UserError, match=r"32 of the 96 training images.*none of"):
        loop.run(config, tmp_path)
    config.region = "EU_SW"
    assert setup.load_data(config).teachers is not None


def test_what_has_no_effect_without_labels_is_said(school: Dataset, caplog):
    config = student_of(school)
    config.distill.ce_weight = 0.0
    config.train.update({"label_smoothing": 0.1, "class_weights": "balanced"})
    setup.warn(config)
    assert caplog.text.count("is of the cross-entropy") == 2
    config.distill.ce_weight = 0.1
    setup.warn(config)
    assert caplog.text.count("is of the cross-entropy") == 2
