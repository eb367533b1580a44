"""--dry_run of training: it refuses what training would, says sizes, writes nothing."""

import os
import re
from pathlib import Path

import jax
import pytest
from conftest import Dataset
from safetensors.numpy import save_file
from tiny_vit import MINI, google_arrays

from aplantida_jax import paths
from aplantida_jax.errors import UserError
from aplantida_jax.train import loop, run_directory


@pytest.fixture
def config(dataset: Dataset):
    config = dataset.teacher()
    config.dry_run = True
    return config


def everything(root: Path) -> dict[Path, bytes]:
    """Files but for the one that SQLite's readers meet in, and a log of no change."""
    found = (p for p in root.rglob("*") if p.is_file() and p.suffix != ".sqlite-shm")
    read = {path: path.read_bytes() for path in found}
    return {p: data for p, data in read.items() if data or p.suffix != ".sqlite-wal"}


def said(config, caplog) -> str:
    with caplog.at_level("INFO", logger="absl"):
        loop.run(config, paths.run_dir(config, config.name))
    return caplog.text


def test_it_says_counts_disk_and_that_time_is_unknown_and_writes_nothing(
    config, dataset: Dataset, caplog
):
    before = everything(dataset.root)
    text = said(config, caplog)
    assert "96 training and 24 validation images, 6 classes, 18 steps of 16" in text
    assert "18 updates of 16 images" in text
    assert re.search(r"up to 6 at a time, 0\.\d+ GB, go into .*GB are free", text)
    assert "how long it takes is not known" in text
    assert everything(dataset.root) == before
    assert not Path(config.runs_dir).exists()


def test_the_sizes_are_those_of_the_run(trained: Dataset, caplog):
    config = trained.teacher()
    workdir = paths.run_dir(config, config.name)
    config.dry_run = True
    text = said(config, caplog)
    assert "would set aside the run" in text  # it has fewer epochs
    newest = max(
        (p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()),
        key=lambda p: int(p.name),
    )
    on_disk = sum(p.stat().st_size for p in newest.rglob("*") if p.is_file())
    size = float(re.search(r"a checkpoint has ([\d.]+) MB", text)[1])
    assert size == pytest.approx(on_disk / 1e6, rel=0.3)
    millions = float(re.search(r"([\d.]+) million parameters", text)[1])
    assert 3 * 4 * millions == pytest.approx(size, rel=0.05)  # with Adam's moments
    assert "hours for all 18 steps" in text


def test_the_pace_is_that_of_the_checkpoints_without_a_pause(tmp_path):
    for step, second in ((10, 1000), (20, 1050), (40, 9000), (50, 9060)):
        directory = tmp_path / "checkpoints" / str(step)
        directory.mkdir(parents=True)
        os.utime(directory, (second, second))
    assert run_directory.seconds_per_step(tmp_path) == 5.0
    assert run_directory.seconds_per_step(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model.name": "vit_mini_patch8_46"}, "did you mean 'vit_mini_patch8_64'"),
        ({"model.image_size": 36}, "image_size 36 is not a multiple of 8"),
        ({"model.drop_path": 0.1, "model.name": "mobilenet_v2_0.35"}, "no such sett"),
        ({"train.freeze": "nomatch"}, "freeze='nomatch' freezes 0 of"),
        ({"train.lr_multipliers": (("nomatch", 2.0),)}, "'nomatch' matches"),
        ({"train.batch_size": 97}, "set --config.train.batch_size to at most 96"),
    ],
)
def test_what_training_would_refuse_is_refused(config, fields, message):
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=re.escape(message)):
        loop.run(config, paths.run_dir(config, config.name))


def test_weights_that_do_not_fit_or_may_not_ship_are_refused(
    config, dataset: Dataset, caplog
):
    path = dataset.root / "own.safetensors"
    arrays = {name: a.astype("f4") for name, a in google_arrays(**MINI).items()}
    save_file(arrays, path, metadata={"license": "cc-by-nc-4.0"})
    config.model.pretrained = str(path)
    with pytest.raises(UserError, match="may not ship"):
        said(config, caplog)
    config.dataset.licence_profile = "experimental"
    assert "dry run: a checkpoint has" in said(config, caplog)
    config.model.name = "mobilenet_v2_0.35"
    with pytest.raises(UserError, match="no setting gelu.*another kind of model"):
        said(config, caplog)


def test_a_batch_that_the_devices_cannot_share_is_refused(config, monkeypatch):
    here = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: here * 3)
    with pytest.raises(UserError, match="does not divide among 3 devices"):
        loop.run(config, paths.run_dir(config, config.name))


@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 0)])
def test_images_alone_in_their_batch_are_warned_of(config, caplog, size, count):
    config.train.batch_size = size
    config.augment.mixup_probability = 0.5
    assert said(config, caplog).count("no second image") == count
