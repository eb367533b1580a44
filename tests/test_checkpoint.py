"""Checkpoints: what is damaged is noticed, what is whole comes back."""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax import files, models, paths
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, optimizer, state


@pytest.fixture
def fresh(dataset: Dataset) -> state.TrainState:
    config = dataset.teacher()
    module = models.create("vit_mini_patch8_64", num_classes=6, image_size=32)
    variables = state.init_variables(module, image_size=32, seed=0)
    tx = optimizer.make(config.train, variables["params"])
    return state.create(variables, tx, ema_decay=0.99)


def _at(fresh: state.TrainState, step: int) -> state.TrainState:
    params = jax.tree.map(lambda p: p + step, fresh.params)
    return fresh.replace(step=jnp.asarray(step, jnp.int32), params=params)


def _save(workdir: Path, fresh: state.TrainState, *steps: int) -> None:
    with checkpoint.Checkpoints(workdir) as checkpoints:
        for step in steps:
            checkpoints.save(step, _at(fresh, step), {})
            checkpoints.commit()


def _flip(path: Path, byte: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= bit
    path.write_bytes(data)


def _flip_a_bit(directory: Path) -> None:
    """In the largest file: where the weights are."""
    victim = max(
        (p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    _flip(victim, victim.stat().st_size // 2, 1)


def test_a_state_comes_back_bit_for_bit(fresh: state.TrainState, tmp_path: Path):
    saved = _at(fresh, 5)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, saved, {"note": [1, 2]})
        checkpoints.commit()
        restored = checkpoints.restore(fresh)
    assert restored is not None
    found, progress = restored
    assert progress == {"note": [1, 2]}
    jax.tree.map(np.testing.assert_array_equal, found, saved)


def test_nothing_to_restore_is_none(fresh: state.TrainState, tmp_path: Path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(fresh) is None


def test_a_flipped_bit_falls_back_to_the_checkpoint_before(
    fresh: state.TrainState, tmp_path: Path
):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, _at(fresh, step), {})
            checkpoints.commit()
        _flip_a_bit(checkpoints.directory(2))
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(fresh)
        assert restored is not None
        assert int(restored[0].step) == 1
        # The step can be written again: orbax does not think that it has it.
        checkpoints.save(2, _at(fresh, 2), {})
        checkpoints.commit()
        again = checkpoints.restore(fresh)
        assert again is not None
        assert int(again[0].step) == 2


@pytest.mark.parametrize("what", ["checkpoint", "hashes"])
def test_only_damaged_checkpoints_are_an_error_at_every_start(
    fresh: state.TrainState, tmp_path: Path, what: str
):
    _save(tmp_path, fresh, 1)
    if what == "checkpoint":
        _flip_a_bit(tmp_path / "checkpoints" / "1")
    else:
        _flip(tmp_path / "checkpoint_hashes.json", 40, 1)
    for _ in range(2):
        with checkpoint.Checkpoints(tmp_path) as checkpoints:
            with pytest.raises(UserError, match="no checkpoint in .* is whole"):
                checkpoints.restore(fresh)
            assert checkpoints.directory(1).exists()


def test_a_checkpoint_that_died_before_its_hash_was_kept_is_not_trusted(
    fresh: state.TrainState, tmp_path: Path
):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, _at(fresh, step), {})
            checkpoints.commit()
    hashes = tmp_path / "checkpoint_hashes.json"
    kept = files.read_json(hashes, made_by="train")
    files.write_json(hashes, {"1": kept["1"]})
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(fresh)
    assert restored is not None
    assert int(restored[0].step) == 1


def test_what_a_killed_process_was_writing_is_removed(
    fresh: state.TrainState, tmp_path: Path
):
    _save(tmp_path, fresh, 1)
    directory = tmp_path / "checkpoints"
    shutil.copytree(directory / "1" / "model", directory / "2.orbax-checkpoint-tmp")
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(fresh) is not None
    assert [path.name for path in directory.iterdir()] == ["1"]


def test_all_of_a_checkpoint_is_synced_before_it_counts(
    fresh: state.TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    _save(tmp_path, fresh, 1)
    directory = tmp_path / "checkpoints"
    recorded = next(i for i, p in enumerate(synced) if ".checkpoint_hashes" in p)
    wanted = {str(path) for path in directory.rglob("*")} | {str(directory)}
    assert wanted <= set(synced[:recorded])


def test_keep_only_deletes_others_but_never_the_newest_two(
    fresh: state.TrainState, tmp_path: Path
):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(step, _at(fresh, step), {})
        checkpoints.commit()
        checkpoints.keep_only({1})
        there = [checkpoints.directory(step).exists() for step in (1, 2, 3, 4)]
        assert there == [True, False, True, True]
        assert checkpoints.whole([1, 2, 3, 4]) == [1, 3, 4]


def test_another_network_does_not_fit(fresh: state.TrainState, tmp_path: Path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, fresh, {})
        checkpoints.commit()
        module = models.create("vit_mini_patch8_64", num_classes=9, image_size=32)
        variables = state.init_variables(module, image_size=32, seed=0)
        other = state.create(variables, optimizer_of(fresh), ema_decay=0.99)
        with pytest.raises(UserError, match="does not fit this configuration"):
            checkpoints.restore(other)


def optimizer_of(fresh: state.TrainState):
    from configs import teacher_global

    return optimizer.make(teacher_global.get_config("demo").train, fresh.params)


def _copy(trained: Dataset, tmp_path: Path) -> Path:
    workdir = paths.run_dir(trained.teacher(), "teacher_global")
    return Path(shutil.copytree(workdir, tmp_path / "run"))


def test_the_best_model_answers(trained: Dataset, tmp_path: Path):
    best = checkpoint.load_best(_copy(trained, tmp_path), trained.label_map)
    images = jnp.zeros((2, 32, 32, 3))
    logits = best.module.apply(best.variables, images, train=False)
    assert logits.shape == (2, len(trained.label_map))
    assert np.isfinite(logits).all()


def test_a_flipped_bit_in_the_best_model_is_refused(trained: Dataset, tmp_path: Path):
    workdir = _copy(trained, tmp_path)
    info = files.read_json(paths.best(workdir), made_by="train")
    _flip_a_bit(workdir / info["checkpoint"])
    with pytest.raises(UserError, match="is damaged: run stage 'train' again"):
        checkpoint.load_best(workdir, trained.label_map)


def test_another_label_map_is_refused(trained: Dataset, tmp_path: Path):
    workdir = _copy(trained, tmp_path)
    shorter = LabelMap(trained.label_map.taxa[:-1])
    with pytest.raises(UserError, match="was made for label map"):
        checkpoint.load_best(workdir, shorter)


def test_a_run_that_is_not_there_names_its_stage(trained: Dataset, tmp_path: Path):
    with pytest.raises(UserError, match="stage 'train' makes it"):
        checkpoint.load_best(tmp_path / "nowhere", trained.label_map)
