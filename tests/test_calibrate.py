"""Stage `calibrate`, and the choice of temperature and thresholds behind it."""

import dataclasses
import json
import shutil
from pathlib import Path

import finished_runs
import numpy as np
import pytest
from conftest import CLASSES, PER_CLASS, Dataset
from finished_runs import Skill

from aplantida_jax import files, paths
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import calibrate, decision, vector_verdict


@pytest.fixture
def ready(trained: Dataset, tmp_path: Path):
    config = trained.teacher()
    workdir = tmp_path / "run"
    shutil.copytree(paths.run_dir(config, config.name), workdir)
    return config, workdir


def _scored(n: int, skill: Skill, *, seed: int):
    ids, label = finished_runs.drawn(n, CLASSES, seed=seed)
    return finished_runs.score(ids, label, CLASSES, skill)


@pytest.fixture
def fit():
    """An overconfident model on enough photos."""
    skill = Skill(3.0, 12.0)
    val, test = _scored(2000, skill, seed=1), _scored(2001, skill, seed=2)
    return finished_runs.fit("run", finished_runs.label_map(), val, test)


def test_the_stage_writes_everything(ready):
    config, workdir = ready
    calibrate.run(config, workdir)
    found = json.loads(paths.calibration(workdir).read_text())
    assert found["label_map"] == labels.read(paths.classes(config)).fingerprint
    info = json.loads(paths.best(workdir).read_text())
    assert found["checkpoint"] == info["sha256"]
    assert found["vector_scaling"]["cross_validated_on_val"]["folds"] == 5
    assert found["images"] == CLASSES * PER_CLASS["test"]
    assert found["val"]["images"] == CLASSES * PER_CLASS["val"]
    assert found["temperature"] > 0
    assert any("only 24 images" in note for note in found["notes"])
    for name in ("reliability.png", "risk_coverage.png"):
        picture = workdir / "calibrate" / name
        assert picture.read_bytes().startswith(b"\x89PNG")
    before = paths.calibration(workdir).stat().st_mtime_ns
    calibrate.run(config, workdir)
    assert paths.calibration(workdir).stat().st_mtime_ns == before


def test_vector_scaling_comes_last_and_what_gets_worse_is_said(
    ready, monkeypatch, caplog
):
    config, workdir = ready

    def out_of_memory(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(vector_verdict, "assess", out_of_memory)
        with pytest.raises(MemoryError):
            calibrate.run(config, workdir)
    found = json.loads(paths.calibration(workdir).read_text())
    assert found["temperature"] > 0
    assert found["vector_scaling"] is None
    with caplog.at_level("INFO", logger="absl"):
        calibrate.run(config, workdir)  # it is not taken for finished
    found = json.loads(paths.calibration(workdir).read_text())
    for error, name in (("ece", "ECE"), ("loss", "loss")):
        worse = found[f"{error}_after"] > found[f"{error}_before"]
        assert (f"makes the {name} worse on test" in caplog.text) == worse
    disagree = "val and test disagree" in caplog.text
    assert disagree != found["vector_scaling"]["agree"]


def test_dry_run_writes_nothing(ready):
    config, workdir = ready
    config.dry_run = True
    calibrate.run(config, workdir)
    assert not (workdir / "calibrate").exists()


def test_a_regional_model_is_calibrated_on_its_region_only(ready):
    config, workdir = ready
    info = json.loads(paths.best(workdir).read_text())
    files.write_json(paths.best(workdir), {**info, "region": "EU_SW"})
    (workdir / "manifest.json").unlink()
    with pytest.raises(UserError, match="--config.region=EU_SW"):
        calibrate.run(config, workdir)
    config.region = "EU_SW"
    calibrate.run(config, workdir)
    found = json.loads(paths.calibration(workdir).read_text())
    assert found["class_mask"]["classes"] == 4


def test_calibrating_mends_overconfidence(fit):
    assert fit["temperature"] > 2
    assert fit["temperature_found"]
    for error in ("ece", "adaptive_ece", "classwise_ece", "loss"):
        assert fit[f"{error}_after"] < fit[f"{error}_before"]
    assert fit["ece_after"] < 0.03
    assert fit["notes"] == []


def test_the_thresholds_reach_the_target_on_val(fit):
    assert 0.4 <= fit["threshold"] <= 0.95
    assert fit["val"]["accuracy"] >= 0.95
    assert fit["accuracy"] == pytest.approx(0.95, abs=0.03)
    row = next(r for r in fit["threshold_table"] if r["threshold"] == fit["threshold"])
    assert row["coverage"] == fit["coverage"]
    assert row["accuracy"] == fit["accuracy"]
    low, high = fit["accuracy_interval"]
    assert low < fit["accuracy"] < high


def test_species_genus_and_nothing_add_up(fit):
    total = fit["coverage"] + fit["genus_coverage"] + fit["not_conclusive_rate"]
    assert total == pytest.approx(1)
    assert fit["genus_threshold"] is None or fit["genus_coverage"] > 0


def test_test_has_no_say_in_the_choice():
    skill = Skill(3.0, 12.0)
    val = _scored(2000, skill, seed=1)
    chosen = [
        finished_runs.fit(
            "run", finished_runs.label_map(), val, _scored(n, skill, seed=9)
        )
        for n in (300, 700)
    ]
    for field in ("temperature", "threshold", "genus_threshold", "best_available"):
        assert chosen[0][field] == chosen[1][field]
    assert chosen[0]["coverage"] != chosen[1]["coverage"]


def test_a_hopeless_model_never_answers_and_says_how_near_it_came():
    val, test = _scored(500, Skill(0.6, 3.0), seed=1), _scored(400, Skill(0.6), seed=2)
    found = finished_runs.fit("run", finished_runs.label_map(), val, test)
    assert found["threshold"] is None
    assert found["coverage"] == 0
    assert found["accuracy"] is None
    assert found["accuracy_interval"] is None
    assert found["best_available"]["accuracy"] < 0.95
    assert "the best is" in found["notes"][0]


def test_a_few_lucky_answers_do_not_make_a_threshold():
    # Nineteen certain and right, the others flat: 95 % could be had at any threshold.
    def scored(n):
        label = np.zeros(n, np.int32)
        logits = np.zeros((n, CLASSES), np.float32)
        logits[:19, 0] = 20.0
        logits[19:, 1] = 1.0
        return decision.Scored(np.arange(n, dtype=np.uint64), label, logits)

    found = finished_runs.fit(
        "run", finished_runs.label_map(), scored(300), scored(200)
    )
    assert found["threshold"] is None


def test_genus_is_answered_where_species_are_alike():
    # The two species of a pair can't be told apart, their genus can: the classes are
    # 0 1 2 of one genus and 3 4 5 of the other.
    rng = np.random.default_rng(0)

    def scored(n):
        label = rng.integers(CLASSES, size=n).astype(np.int32)
        logits = rng.normal(size=(n, CLASSES)) * 0.3
        same_genus = label[:, None] // 3 == np.arange(CLASSES) // 3
        logits = (logits + 6.0 * same_genus).astype(np.float32)
        ids = np.arange(n, dtype=np.uint64)
        return decision.Scored(ids, label, logits)

    found = finished_runs.fit(
        "run", finished_runs.label_map(), scored(600), scored(500)
    )
    assert found["threshold"] is None
    assert found["genus_threshold"] == 0.4
    assert found["genus_coverage"] == 1.0
    assert found["genus_accuracy"] == 1.0
    assert found["not_conclusive_rate"] == 0.0


def test_shuffled_labels_of_test_change_nothing_that_is_chosen():
    skill = Skill(3.0, 12.0)
    val, test = _scored(2000, skill, seed=1), _scored(500, skill, seed=2)
    shuffled = np.random.default_rng(0).permutation(test.label)
    found = [
        finished_runs.fit("run", finished_runs.label_map(), val, other)
        for other in (test, dataclasses.replace(test, label=shuffled))
    ]
    chosen = ("temperature", "threshold", "assured_threshold", "genus_threshold")
    for field in (*chosen, "left_under_threshold", "val", "notes"):
        assert found[0][field] == found[1][field]
    assert found[0]["loss_after"] < found[1]["loss_after"]


def test_an_assured_threshold_is_higher_and_more_accurate(fit):
    assert fit["assured_threshold"] >= fit["threshold"]
    rows = fit["val"]["threshold_table"]
    above = [row for row in rows if row["threshold"] >= fit["assured_threshold"]]
    assert all(row["accuracy_interval"][0] >= 0.95 for row in above)
    below = rows[len(rows) - len(above) - 1]
    assert below["accuracy_interval"][0] < 0.95


def test_a_threshold_that_rests_on_few_answers_says_so():
    # 30 certain answers, 29 of them right: 97 %, but as well 83 %.
    label = np.arange(120, dtype=np.int32) % CLASSES
    logits = np.zeros((120, CLASSES), np.float32)
    logits[np.arange(30), label[:30]] = 12.0
    logits[0] = np.roll(logits[0], 1)
    scored = decision.Scored(np.arange(120, dtype=np.uint64), label, logits)
    found = finished_runs.fit("run", finished_runs.label_map(), scored, scored)
    note = next(note for note in found["notes"] if "rests on" in note)
    assert "30 answers of val" in note
    assert "83.3% to 99.4%" in note


@pytest.mark.parametrize(("shift", "said"), [(0, "every answer"), (1, "no answer")])
def test_without_a_minimum_the_temperature_stays_one(shift, said):
    label = np.arange(120, dtype=np.int32) % CLASSES
    logits = 8 * np.eye(CLASSES, dtype=np.float32)[(label + shift) % CLASSES]
    scored = decision.Scored(np.arange(120, dtype=np.uint64), label, logits)
    found = finished_runs.fit("run", finished_runs.label_map(), scored, scored)
    assert found["temperature"] == 1.0
    assert not found["temperature_found"]
    assert any(said in note for note in found["notes"])
    assert found["ece_before"] == found["ece_after"]


def test_one_photo_and_classes_without_any_are_told_of():
    one = decision.Scored(
        np.ones(1, np.uint64), np.zeros(1, np.int32), np.eye(1, CLASSES) * 3.0
    )
    found = finished_runs.fit("run", finished_runs.label_map(), one, one)
    assert any("only one image" in note for note in found["notes"])
    assert any("5 of 6 classes have no image" in note for note in found["notes"])
    assert found["threshold"] is None
    json.dumps(found, allow_nan=False)


def test_it_says_why_the_genus_is_never_answered():
    # Species of different genera are mistaken for each other: summing does not help.
    rng = np.random.default_rng(0)
    label = rng.integers(CLASSES, size=400).astype(np.int32)
    logits = rng.normal(size=(400, CLASSES)).astype(np.float32)
    logits += 2.0 * (label[:, None] % 3 == np.arange(CLASSES) % 3)
    scored = decision.Scored(np.arange(400, dtype=np.uint64), label, logits)
    found = finished_runs.fit("run", finished_runs.label_map(), scored, scored)
    assert found["genus_threshold"] is None
    note = next(note for note in found["notes"] if "genus is never answered" in note)
    left = found["left_under_threshold"]
    assert f"{left['images']} answers on val" in note
    assert f"{left['genus_accuracy']:.1%} the right genus" in note


def test_intervals_are_by_group():
    # Every photo four times over: four times the photos, and not a bit surer.
    splits = [_scored(400, Skill(3.0, 12.0), seed=seed) for seed in (1, 2)]
    repeated = [
        decision.Scored(
            np.arange(1600, dtype=np.uint64),
            *(np.repeat(x, 4, axis=0) for x in (s.label, s.logits, s.image_id)),
        )
        for s in splits
    ]
    once, four = (
        finished_runs.fit("run", finished_runs.label_map(), *pair)
        for pair in (splits, repeated)
    )
    assert four["bootstrap"]["groups"] == once["bootstrap"]["groups"] == 400
    for name in ("coverage", "accuracy"):
        assert four[name] == once[name]
        expected = once[f"{name}_interval"]
        assert four[f"{name}_interval"] == pytest.approx(expected, abs=0.003)
    for name, ends in once["intervals"].items():
        assert four["intervals"][name] == pytest.approx(ends, abs=0.01), name
        low, high = ends
        assert low < high
    assert once["intervals"]["ece_change"][1] < 0
    assert once["intervals"]["ece_after"][0] <= once["ece_after"]


def test_it_is_json(fit):
    json.dumps(fit, allow_nan=False)
