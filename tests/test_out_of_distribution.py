"""Stage `out_of_distribution` on a trained network."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import conftest
import cv2
import numpy as np
import pytest

from aplantida_jax import files, paths
from aplantida_jax.data import labels, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.hold_out import NO_CLASS
from aplantida_jax.data.journal import Outcome
from aplantida_jax.demo import unknown_pictures
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import calibrate, out_of_distribution

HELD_OUT = {"Genusa nova": 5, "Genusx ignota": 4}


def _hold_out(config) -> None:
    """What export and download leave where two species are held out.

    Of the first, one photo is lost, and of another a web page was kept.
    """
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    rng = np.random.default_rng(5)
    photos = []
    for number, (name, count) in enumerate(HELD_OUT.items()):
        genus = name.split()[0]
        about = {"common_name": "", "common_name_en": "", "family": ""}
        about |= {"countries": ("ES",), "regions": ("EU_SW",)}
        taxon = labels.Taxon(NO_CLASS, name, genus=genus, **about)
        photos += [
            conftest._photo(taxon, f"held-out-{number}", i, cache, rng)
            for i in range(count)
        ]
    photos.sort(key=lambda photo: photo.image_id)
    for image_id, url in (("e" * 16, "page.jpg"), ("f" * 16, "lost.jpg")):
        photos.append(dataclasses.replace(photos[0], image_id=image_id, url=url))
    cache.put("e" * 16, b"<html>not found</html>")
    cache.close()
    records.write_photos(paths.held_out(config), photos)
    outcomes = [dataclasses.asdict(Outcome(p.image_id, "ok")) for p in photos[:-1]]
    files.write_jsonl(paths.download_index(config), outcomes)


def _pictures(folder: Path) -> None:
    """Two kinds of pictures, and two files that are none."""
    rng = np.random.default_rng(1)
    for kind, name in (("noise", "{}.jpg"), ("black", "{}.png")):
        (folder / kind).mkdir(parents=True)
        for i in range(3):
            image = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
            image //= 1 if kind == "noise" else 60
            cv2.imwrite(str(folder / kind / name.format(i)), image)
    (folder / "noise" / "page.jpg").write_text("<html>not found</html>")
    whole = (folder / "noise" / "0.jpg").read_bytes()
    (folder / "noise" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "black" / ".hidden").write_text("not a picture either")


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """A root with a trained and calibrated run that answers everything."""
    root = tmp_path_factory.mktemp("calibrated") / "copy"
    shutil.copytree(trained.root, root)
    config = dataclasses.replace(trained, root=root).teacher()
    _hold_out(config)
    _pictures(root / "pictures")
    config.out_of_distribution.images_dir = str(root / "pictures")
    config.calibrate.accuracy_target = 0.01
    config.calibrate.threshold_range = (0.01, 0.95)
    calibrate.run(config, paths.run_dir(config, config.name))
    return config


@pytest.fixture
def ready(calibrated, tmp_path):
    config = calibrated.copy_and_resolve_references()
    workdir = tmp_path / "run"
    shutil.copytree(paths.run_dir(config, config.name), workdir)
    return config, workdir


def _read(workdir: Path):
    return json.loads(paths.out_of_distribution(workdir).read_text())


def _check_what_was_sampled(kinds: dict) -> None:
    """And that there is an interval where there are several of it."""
    assert {kind: row["sampled"] for kind, row in kinds.items()} == {
        "held_out": {"what": "species", "groups": 2},
        "held_out_known_genus": {"what": "species", "groups": 1},
        "held_out_new_genus": {"what": "species", "groups": 1},
        "pictures": {"what": "kinds", "groups": 2},
        "picture:black": {"what": "pictures", "groups": 3},
        "picture:noise": {"what": "pictures", "groups": 3},
    }
    for kind, row in kinds.items():
        several = row["sampled"]["groups"] > 1
        for interval in (
            row["species"]["interval"],
            row["scores"]["confidence"]["auroc_interval"],
        ):
            assert (interval is not None) == several, kind
    broken = {"html": 1, "truncated": 1}
    assert kinds["picture:noise"]["left_out"] == broken == kinds["pictures"]["left_out"]


def test_a_model_that_answers_everything_is_always_wrong(ready):
    config, workdir = ready
    out_of_distribution.run(config, workdir)
    found = _read(workdir)
    kinds = found["kinds"]
    assert {kind: row["images"] for kind, row in kinds.items()} == {
        "held_out": 9,
        "held_out_known_genus": 5,
        "held_out_new_genus": 4,
        "pictures": 6,
        "picture:black": 3,
        "picture:noise": 3,
    }
    for row in kinds.values():
        assert row["species"]["share"] == 1.0
        assert row["not_conclusive"]["count"] == 0
    assert kinds["held_out"]["left_out"] == {"html": 1, "not in the cache": 1}
    _check_what_was_sampled(kinds)
    calibration = json.loads(paths.calibration(workdir).read_text())
    assert found["known"]["species"]["share"] == calibration["coverage"]
    assert found["threshold"] == calibration["threshold"]
    assert len(found["wrong_answers"]) == config.out_of_distribution.examples
    confidence = [row["confidence"] for row in found["wrong_answers"]]
    assert confidence == sorted(confidence, reverse=True)
    assert {row["latin_name"]: row["images"] for row in found["species"]} == HELD_OUT
    picture = workdir / "out_of_distribution" / "answered.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    json.dumps(found, allow_nan=False)


def test_again_there_is_nothing_to_do_until_a_picture_changes(ready, tmp_path):
    config, workdir = ready
    folder = tmp_path / "pictures"
    shutil.copytree(config.out_of_distribution.images_dir, folder)
    config.out_of_distribution.images_dir = str(folder)
    out_of_distribution.run(config, workdir)
    path = paths.out_of_distribution(workdir)
    first = path.stat().st_mtime_ns
    out_of_distribution.run(config, workdir)
    assert path.stat().st_mtime_ns == first
    (folder / "noise" / "page.jpg").unlink()
    out_of_distribution.run(config, workdir)
    assert _read(workdir)["kinds"]["pictures"]["left_out"] == {"truncated": 1}


def test_a_model_without_thresholds_answers_nothing(ready):
    config, workdir = ready
    path = paths.calibration(workdir)
    silent = {"threshold": None, "genus_threshold": None}
    files.write_json(path, {**json.loads(path.read_text()), **silent})
    (path.parent / "manifest.json").unlink()
    out_of_distribution.run(config, workdir)
    found = _read(workdir)
    for row in (found["known"], *found["kinds"].values()):
        assert row["not_conclusive"]["share"] == 1.0
    assert found["wrong_answers"] == []


def test_lost_photos_are_counted_and_pictures_are_drawn(ready, tmp_path):
    config, workdir = ready
    shutil.copytree(config.data_dir, tmp_path / "data")
    config.data_dir = str(tmp_path / "data")
    config.out_of_distribution.update({"images_dir": "", "drawn": 1})
    path = paths.held_out(config)
    photos = list(records.read_photos(path, made_by="export_dataset"))
    gone = [dataclasses.replace(p, image_id=p.image_id[::-1]) for p in photos]
    records.write_photos(path, gone)
    out_of_distribution.run(config, workdir)
    found = _read(workdir)
    drawn = found["kinds"]["pictures"]
    assert drawn["images"] == len(unknown_pictures.KINDS) == len(found["kinds"]) - 2
    assert drawn["sampled"] == {"what": "kinds", "groups": drawn["images"]}
    assert len(list((workdir / "out_of_distribution").rglob("*.jpg"))) == 9
    row = found["kinds"]["held_out"]
    assert row["images"] == 0
    assert row["left_out"] == {"not in the cache": 10, "html": 1}
    assert row["species"] == {"count": 0, "share": None, "interval": None}
    assert set(row["scores"]["energy"].values()) == {None}


def test_a_calibration_of_another_checkpoint_is_refused(ready):
    config, workdir = ready
    path = paths.calibration(workdir)
    other = {**json.loads(path.read_text()), "checkpoint": "0" * 64}
    files.write_json(path, other)
    (path.parent / "manifest.json").unlink()
    with pytest.raises(UserError, match="run stage 'calibrate' again"):
        out_of_distribution.run(config, workdir)


def test_a_dry_run_counts_and_writes_nothing(ready, caplog):
    config, workdir = ready
    config.dry_run = True
    with caplog.at_level(logging.INFO, logger="absl"):
        out_of_distribution.run(config, workdir)
    assert "11 photos of held-out species" in caplog.text
    assert "3 pictures of kind black" in caplog.text
    assert not (workdir / "out_of_distribution").exists()


def test_folders_without_pictures_are_refused(ready, tmp_path):
    config, workdir = ready
    config.out_of_distribution.images_dir = str(tmp_path / "none")
    with pytest.raises(UserError, match="is no folder"):
        out_of_distribution.run(config, workdir)
    (tmp_path / "none" / "empty").mkdir(parents=True)
    (tmp_path / "none" / "loose.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="one sub-folder for each kind"):
        out_of_distribution.run(config, workdir)


def test_with_nothing_to_ask_it_says_how_to_have_something(ready, tmp_path, caplog):
    config, workdir = ready
    config.out_of_distribution.update({"images_dir": "", "drawn": 0})
    config.data_dir = str(tmp_path / "nothing")
    with caplog.at_level(logging.WARNING, logger="absl"):
        out_of_distribution.run(config, workdir)
    assert "nothing to ask about: hold species out" in caplog.text
    assert not (workdir / "out_of_distribution").exists()
