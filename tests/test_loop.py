"""The training loop, run for real: it learns, stops, resumes and refuses."""

import json
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import CLASSES, Dataset
from training_processes import finished, start, wait_for

from aplantida_jax import files, paths
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, loop


def _run_dir(dataset: Dataset) -> Path:
    return paths.run_dir(dataset.teacher(), "teacher_global")


def test_learns_far_above_chance(trained: Dataset):
    best = files.read_json(paths.best(_run_dir(trained)), made_by="train")
    assert best["metrics"]["top1_accuracy"] > 2.5 / CLASSES
    history = (_run_dir(trained) / "history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["train_loss"] for line in history]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]


def test_best_is_the_epoch_with_the_highest_validation_accuracy(trained: Dataset):
    best = files.read_json(paths.best(_run_dir(trained)), made_by="train")
    records = [
        json.loads(line)
        for line in (_run_dir(trained) / "history.jsonl").read_text().splitlines()
    ]
    top = [record["val_top1_accuracy"] for record in records]
    assert best["epoch"] == int(np.argmax(top)) + 1
    assert best["metrics"]["top1_accuracy"] == max(top)


def test_a_second_run_has_nothing_to_do(trained: Dataset):
    config = trained.teacher()
    config.train.update({"epochs": 12, "learning_rate": 3e-3, "patience": 99})
    before = paths.best(_run_dir(trained)).stat().st_mtime_ns
    loop.run(config, _run_dir(trained))
    assert paths.best(_run_dir(trained)).stat().st_mtime_ns == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_and_resumed_equals_undisturbed(
    processes: Dataset, undisturbed: Path, number: signal.Signals
):
    workdir = processes.root / f"stopped_by_{number.name}"
    often = "--config.train.checkpoint_minutes=0.0001"
    process = start(processes.root, workdir, often)
    wait_for(process, "step 9/")
    process.send_signal(number)
    code, said = finished(process)
    if number == signal.SIGTERM:
        assert code == 128 + signal.SIGTERM
        assert "run the same command again" in said
    again = start(processes.root, workdir, often)
    wait_for(again, "going on at step")
    assert finished(again)[0] == 0

    history = (undisturbed / "history.jsonl").read_text()
    assert (workdir / "history.jsonl").read_text() == history
    assert _variables(processes, workdir) == _variables(processes, undisturbed)


def _variables(dataset: Dataset, workdir: Path) -> list[bytes]:
    best = checkpoint.load_best(workdir, dataset.label_map)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(best.variables)]


def test_another_configuration_sets_the_old_run_aside(dataset: Dataset):
    config = dataset.teacher()
    config.train.epochs = 1
    workdir = _run_dir(dataset)
    loop.run(config, workdir)
    old = paths.best(workdir).read_bytes()
    config.train.learning_rate = 5e-4
    loop.run(config, workdir)
    (aside,) = workdir.glob("previous-*")
    assert (aside / "best.json").read_bytes() == old
    assert paths.best(workdir).read_bytes() != old


@pytest.mark.parametrize(
    "options", [{"batch_size": 96}, {"accumulate": 6, "log_every": 50}]
)
def test_an_update_that_overflows_at_the_end_of_an_epoch_is_never_kept(
    dataset: Dataset, options: dict[str, int]
):
    config = dataset.teacher()
    # The losses and gradients before the update are finite, all of the epoch's.
    config.train.update({"epochs": 2, "warmup_epochs": 0.0, "weight_decay": 1e38})
    config.train.update(options)
    with pytest.raises(UserError, match="is not finite at step"):
        loop.run(config, _run_dir(dataset))
    assert not paths.best(_run_dir(dataset)).exists()
    assert not list((_run_dir(dataset) / "checkpoints").glob("[0-9]*"))


def test_early_stopping_ends_the_run(dataset: Dataset):
    config = dataset.teacher()
    config.train.update({"epochs": 30, "patience": 1, "learning_rate": 1e-7})
    loop.run(config, _run_dir(dataset))
    history = (_run_dir(dataset) / "history.jsonl").read_text().splitlines()
    assert len(history) < 30


def test_dry_run_writes_nothing(dataset: Dataset):
    config = dataset.teacher()
    config.dry_run = True
    loop.run(config, _run_dir(dataset))
    assert not _run_dir(dataset).exists()


def test_a_missing_split_names_its_stage(dataset: Dataset):
    config = dataset.teacher()
    paths.split_file(config, "val").unlink()
    with pytest.raises(UserError, match="stage 'split' makes it"):
        loop.run(config, _run_dir(dataset))


def test_a_student_learns_from_soft_labels(trained: Dataset, tmp_path: Path):
    """Predict, combine and distil on the small dataset, with soft labels alone."""
    import shutil

    from aplantida_jax.distill import combine, predict

    shutil.copytree(trained.root, tmp_path / "copy")
    copy = Dataset(tmp_path / "copy", trained.label_map)
    teacher, student = copy.teacher(), copy.student()
    predict.run(teacher, _run_dir(copy))
    student.combine.update({"teachers": ("teacher_global",), "weights": (1.0,)})
    combine.run(student, tmp_path)
    # A ViT as the student: it compiles in a tenth of MobileNetV2's time.
    student.model.name = "vit_mini_patch8_64"
    student.distill.update({"kl_weight": 1.0, "ce_weight": 0.0})
    student.train.update({"epochs": 8, "learning_rate": 3e-3, "patience": 99})
    workdir = paths.run_dir(student, student.name)
    loop.run(student, workdir)
    best = files.read_json(paths.best(workdir), made_by="train")
    assert best["metrics"]["top1_accuracy"] > 2 / CLASSES
    ancestors = {entry["name"] for entry in best["provenance"]}
    assert ancestors == {"teacher_global", "dataset_train.jsonl"}
