"""Stage `out_of_distribution` on a trained network, and how answers are counted."""

import collections
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
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import answered_unknown, calibrate, out_of_distribution
from aplantida_jax.evaluate.answered_unknown import Said
from aplantida_jax.evaluate.unknown_images import Unknown

HELD_OUT = {"Genusa nova": 5, "Genusx ignota": 4}


def _hold_out(config) -> None:
    """What export and download leave where two species are held out."""
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
    cache.close()
    photos.sort(key=lambda photo: photo.image_id)
    lost = dataclasses.replace(photos[0], image_id="f" * 16, url="images/lost.jpg")
    records.write_photos(paths.held_out(config), [*photos, lost])
    outcomes = [dataclasses.asdict(Outcome(p.image_id, "ok")) for p in photos]
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
        assert row["species"]["interval"][1] == 1.0
        assert row["not_conclusive"]["count"] == 0
    assert kinds["held_out"]["left_out"] == {"not in the cache": 1}
    broken = {"html": 1, "truncated": 1}
    assert kinds["picture:noise"]["left_out"] == broken == kinds["pictures"]["left_out"]
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


def test_species_whose_photos_are_all_lost_are_counted(ready, tmp_path):
    config, workdir = ready
    shutil.copytree(config.data_dir, tmp_path / "data")
    config.data_dir = str(tmp_path / "data")
    config.out_of_distribution.images_dir = ""
    path = paths.held_out(config)
    photos = list(records.read_photos(path, made_by="export_dataset"))
    gone = [dataclasses.replace(p, image_id=p.image_id[::-1]) for p in photos]
    records.write_photos(path, gone)
    out_of_distribution.run(config, workdir)
    found = _read(workdir)
    assert list(found["kinds"]) == ["held_out"]
    row = found["kinds"]["held_out"]
    assert row["images"] == 0
    assert row["left_out"] == {"not in the cache": 10}
    assert row["species"] == {"count": 0, "share": None, "interval": None}
    assert row["scores"]["energy"] == {"auroc": None, "fpr_at_95_tpr": None}


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
    assert "10 photos of held-out species" in caplog.text
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
    config.out_of_distribution.images_dir = ""
    config.data_dir = str(tmp_path / "nothing")
    with caplog.at_level(logging.WARNING, logger="absl"):
        out_of_distribution.run(config, workdir)
    assert "--config.dataset.hold_out_share" in caplog.text
    assert not (workdir / "out_of_distribution").exists()


# Six held-out photos; genera of the label map are A, B and C.
GENERA = ["A", "B", "C"]
NAMES = ["A one", "A two", "B one", "C one"]
PHOTOS = Unknown(
    "held_out",
    [f"{i:016x}" for i in range(6)],
    ["A new", "A new", "A new", "B new", "D new", "D new"],
    ["A", "A", "A", "B", "D", "D"],
    collections.Counter({"not in the cache": 2}),
)
SAID = Said(
    species=np.array([1, 0, 0, 0, 1, 0], bool),
    genus=np.array([0, 1, 0, 1, 0, 0], bool),
    top_class=np.array([1, 0, 0, 3, 2, 2]),
    top_genus=np.array([0, 0, 0, 2, 1, 1]),
    confidence=np.array([0.9, 0.8, 0.3, 0.7, 0.95, 0.1]),
    scores={n: np.arange(6.0) for n in ("confidence", "max_logit", "energy")},
)


def test_hand_counted_answers():
    row = answered_unknown.of_kind(PHOTOS, SAID, SAID, genus_names=GENERA)
    assert row["species"]["count"] == 2
    assert row["species_of_the_right_genus"] == 1
    assert (row["genus"]["right"], row["genus"]["wrong"]) == (1, 1)
    assert row["not_conclusive"] == {
        "count": 2,
        "share": 2 / 6,
        "interval": [pytest.approx(0.0968, abs=1e-4), pytest.approx(0.7, abs=1e-4)],
    }
    assert row["left_out"] == {"not in the cache": 2}
    assert row["scores"]["energy"]["auroc"] == 0.5  # of a sample and itself


def test_held_out_species_are_parted_by_their_genus():
    parts = answered_unknown.by_genus_known(PHOTOS, SAID, GENERA)
    assert {kind: unknown.name for kind, (unknown, _) in parts.items()} == {
        "held_out_known_genus": ["A new", "A new", "A new", "B new"],
        "held_out_new_genus": ["D new", "D new"],
    }
    assert parts["held_out_new_genus"][1].species.tolist() == [True, False]


def test_hand_counted_species():
    rows = answered_unknown.by_species(PHOTOS, SAID, NAMES, GENERA)
    assert [row["latin_name"] for row in rows] == ["D new", "A new", "B new"]
    assert rows[0] == {
        "latin_name": "D new",
        "genus_known": False,
        "images": 2,
        "species": 1,
        "genus_right": 0,
        "genus_wrong": 0,
        "taken_for": {"B one": 1},
    }
    assert (rows[1]["genus_right"], rows[2]["genus_wrong"]) == (1, 1)


def test_a_right_genus_is_no_wrong_answer():
    rows = answered_unknown.wrong_answers([(PHOTOS, SAID)], NAMES, GENERA, limit=9)
    said = [(row["name"], row["said"], row["rank"]) for row in rows]
    assert said == [
        ("D new", "B one", "species"),
        ("A new", "A two", "species"),
        ("B new", "C", "genus"),
    ]
    twice = [(PHOTOS, SAID), (PHOTOS, SAID)]
    two = answered_unknown.wrong_answers(twice, NAMES, GENERA, limit=2)
    assert [row["name"] for row in two] == ["D new", "D new"]  # one of each kind
