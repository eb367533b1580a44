"""A run's directory: one run at a time, and no flipped bit in it restarts one."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from conftest import Dataset

from aplantida_jax import directories, files, models, paths
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, loop, optimizer, run_directory, state
from aplantida_jax.train.checkpoint_hashes import CheckpointHashes

KEY = "0123456789abcdef" * 4
OTHER = "f" * 64


def _config(dataset: Dataset) -> Any:
    config = dataset.teacher()
    config.train.update({"epochs": 30, "patience": 1, "learning_rate": 1e-7})
    return config


def _flip(path: Path, byte: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= bit
    path.write_bytes(data)


def _progress_of(workdir: Path, step: int) -> dict[str, Any]:
    path = workdir / "checkpoints" / str(step) / "progress" / "metadata"
    return json.loads(path.read_text())


def _as_if_of(workdir: Path, key: str) -> None:
    """Checkpoints as far as they say whose they are."""
    text = json.dumps({"key": key, "step": 5})
    files.write_text(workdir / "checkpoints" / "5" / "progress" / "metadata", text)
    files.write_json(workdir / "checkpoint_hashes.json", {"5": "0" * 64})


def test_a_damaged_best_costs_its_weights_and_no_step(
    trained: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Of a run that early stopping ended: its best epoch is not its newest."""
    workdir = tmp_path / "run"
    loop.run(_config(trained), workdir)  # with the programs that `trained` compiled
    best = files.read_json(paths.best(workdir), made_by="train")
    newest = CheckpointHashes(workdir).newest()
    assert best["step"] < newest
    history = (workdir / "history.jsonl").read_bytes()
    weights = workdir / best["checkpoint"]
    largest = max(
        (p for p in weights.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    _flip(largest, largest.stat().st_size // 2)
    with pytest.raises(UserError, match="run stage 'train' again"):
        checkpoint.load_best(workdir, trained.label_map)

    with caplog.at_level("INFO", logger="absl"):
        loop.run(_config(trained), workdir)
    assert f"going on at step {newest}" in caplog.text
    assert f"the weights of epoch {best['epoch']}, the best so far" in caplog.text
    # Nothing was trained again, and the next best epoch answers.
    assert (workdir / "history.jsonl").read_bytes() == history
    found = checkpoint.load_best(workdir, trained.label_map)
    assert found.info["epoch"] == best["epoch"] + 1
    assert (workdir / "checkpoints" / f"damaged-{best['step']}").exists()


def test_with_no_other_whole_epoch_the_next_one_is_the_best(
    dataset: Dataset, tmp_path: Path
):
    config = dataset.teacher()
    module = models.create("vit_mini_patch8_64", num_classes=6, image_size=32)
    variables = state.init_variables(module, image_size=32, seed=0)
    tx = optimizer.make(config.train, variables["params"])
    fresh = state.create(variables, tx, ema_decay=0.0)
    progress = state.Progress(KEY, "e", step=4)
    record = {"epoch": 1, "step": 3, "val_top1_accuracy": 0.5}
    progress.history.append(record)
    progress.best = {"epoch": 1, "step": 3, "metrics": {"top1_accuracy": 0.5}}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        for step in (3, 4):
            checkpoints.save(step, fresh.replace(step=jnp.int32(step)), {})
        checkpoints.commit()
        about = {"label_map": "m"}
        run_directory.publish(tmp_path, progress, about, checkpoints)
        _flip(checkpoints.directory(3) / "progress" / "metadata", 0)
        run_directory.mend_best(progress, checkpoints, by="top1_accuracy")
        assert progress.best == {}
        run_directory.publish(tmp_path, progress, about, checkpoints)
        assert not paths.best(tmp_path).exists()
        found = checkpoints.restore(fresh)
    assert found is not None
    assert int(jax.device_get(found[0].step)) == 4


def test_a_second_training_in_the_same_directory_is_refused(dataset: Dataset):
    workdir = dataset.root / "run"
    workdir.mkdir()
    with directories.exclusive(workdir), pytest.raises(UserError) as caught:
        loop.run(_config(dataset), workdir)
    assert str(caught.value) == (
        f"another process is training in {workdir}: wait until it ends"
    )
    assert list(workdir.iterdir()) == []


def test_any_flipped_bit_of_the_marker_leaves_the_run_where_it_is(tmp_path: Path):
    _as_if_of(tmp_path, KEY)
    marker = tmp_path / "run_key.txt"
    for byte in range(len(KEY) + 1):
        files.write_text(marker, KEY + "\n")
        _flip(marker, byte, 1 << byte % 8)
        with run_directory.lock(tmp_path, KEY):
            assert marker.read_text() == KEY + "\n"
    marker.unlink()
    with run_directory.lock(tmp_path, KEY):
        assert marker.exists()
    progress = tmp_path / "checkpoints" / "5" / "progress" / "metadata"
    for byte in range(0, progress.stat().st_size, 3):
        _flip(progress, byte, 1 << byte % 8)
        with run_directory.lock(tmp_path, KEY):
            assert progress.exists()
        _flip(progress, byte, 1 << byte % 8)
    assert list(tmp_path.glob("previous-*")) == []


@pytest.mark.parametrize("marked", [True, False])
def test_another_runs_checkpoints_are_set_aside_marked_or_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, marked: bool
):
    _as_if_of(tmp_path, OTHER)
    if marked:
        files.write_text(tmp_path / "run_key.txt", OTHER + "\n")
    with caplog.at_level("INFO", logger="absl"):
        run_directory.foresee(tmp_path, OTHER)
        run_directory.foresee(tmp_path, KEY)
    assert "would go on at step 5" in caplog.text
    assert f"would set aside the run in {tmp_path}, which is at step 5" in caplog.text
    assert list(tmp_path.glob("previous-*")) == []
    with run_directory.lock(tmp_path, KEY):
        (aside,) = tmp_path.glob("previous-ffffffff-*")
    assert _progress_of(aside, 5)["key"] == OTHER
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"examples": "other"}, "training split has changed"),
        ({"key": OTHER}, "are of another configuration or other data"),
        ({"iterator": [{}, {}]}, r"is of 2 process\(es\), not of 1"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change, message):
    fresh = state.Progress(KEY, "e")
    run_directory.check(tmp_path, state.Progress(KEY, "e", iterator=[{}]), fresh)
    fields = {"key": KEY, "examples": "e", "iterator": [{}], **change}
    with pytest.raises(UserError, match=message):
        run_directory.check(tmp_path, state.Progress(**fields), fresh)
