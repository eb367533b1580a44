"""Stage `evaluate` on a trained model, and what its numbers are made of."""

import json
import shutil
from pathlib import Path

import finished_runs
import numpy as np
import pytest
from conftest import CLASSES, PER_CLASS, Dataset
from finished_runs import OPTIONS, Skill

from aplantida_jax import files, paths
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import evaluate, outputs, summary

IMAGES = CLASSES * PER_CLASS["test"]


@pytest.fixture
def ready(trained: Dataset, tmp_path: Path):
    """A configuration, and a copy of the trained run to write into."""
    config = trained.teacher()
    config.eval.bootstrap = 50
    workdir = tmp_path / "run"
    shutil.copytree(paths.run_dir(config, config.name), workdir)
    return config, workdir


def _metrics(workdir: Path, where: str = "test") -> dict:
    return json.loads((workdir / "evaluate" / where / "metrics.json").read_text())


def test_the_numbers_are_those_of_the_predictions(ready):
    config, workdir = ready
    evaluate.run(config, workdir)
    found = _metrics(workdir)
    with np.load(workdir / "evaluate" / "test" / "predictions.npz") as stored:
        top1 = (stored["top_class"][:, 0] == stored["label"]).mean()
        top5 = (stored["top_class"] == stored["label"][:, None]).any(axis=1).mean()
        assert len(stored["image_id"]) == IMAGES
    assert found["images"] == IMAGES
    assert found["top1_accuracy"] == top1
    assert found["top5_accuracy"] == top5
    assert found["top1_accuracy"] > 2 / CLASSES
    assert found["class_mask"] is None
    assert found["chance_top1_accuracy"] == pytest.approx(1 / CLASSES)


def test_every_field_is_there(ready):
    config, workdir = ready
    evaluate.run(config, workdir)
    found = _metrics(workdir)
    for field in ("loss", "macro_recall", "genus_accuracy", "ece", "mce"):
        assert isinstance(found[field], float)
    for field in ("top1_accuracy", "top5_accuracy", "loss", "macro_recall", "ece"):
        low, high = found["intervals"][field]
        assert low <= high
    low, high = found["intervals"]["top1_accuracy"]
    assert low <= found["top1_accuracy"] <= high
    assert set(found["per_region"]) == {"EU_SW", "EU_NORTH", "EU_EAST"}
    # Half of the classes grow in EU_SW: see conftest's countries.
    assert found["per_region"]["EU_SW"]["images"] == 4 * PER_CLASS["test"]
    assert found["bands"]["mid"]["images"] == IMAGES
    assert found["country"]["here"]["images"] == 2 * PER_CLASS["test"]
    directory = workdir / "evaluate" / "test"
    assert found["bootstrap"] == {
        "resampled": "groups",
        "groups": IMAGES,
        "resamples": 50,
        "seed": config.seed,
    }
    region = found["per_region"]["EU_SW"]
    for row in (region, found["bands"]["mid"]):
        for field in ("top1_accuracy", "top5_accuracy", "macro_recall"):
            low, high = row["intervals"][field]
            assert low <= row[field] <= high
    for picture in ("regions.png", "confusions.png"):
        assert (directory / picture).read_bytes().startswith(b"\x89PNG")
    rows = json.loads((directory / "per_class.json").read_text())["classes"]
    assert len(rows) == CLASSES
    assert rows[0]["recall"] <= rows[-1]["recall"]
    assert rows[0]["train_images"] == PER_CLASS["train"]
    low, high = rows[0]["recall_interval"]
    assert low <= rows[0]["recall"] <= high
    html = (directory / "index.html").read_text()
    assert html.count("data:image/jpeg") >= 3  # photos from the cache


def test_a_second_run_has_nothing_to_do(ready):
    config, workdir = ready
    evaluate.run(config, workdir)
    path = workdir / "evaluate" / "test" / "metrics.json"
    before = path.stat().st_mtime_ns
    evaluate.run(config, workdir)
    assert path.stat().st_mtime_ns == before


def test_dry_run_writes_nothing(ready):
    config, workdir = ready
    config.dry_run = True
    evaluate.run(config, workdir)
    assert not (workdir / "evaluate").exists()


def test_without_a_trained_model_the_stage_is_named(ready, tmp_path):
    config, _ = ready
    with pytest.raises(UserError, match="stage 'train'"):
        evaluate.run(config, tmp_path / "empty")


def test_a_regional_teacher_answers_its_own_classes_and_says_so(ready):
    config, workdir = ready
    info = json.loads(paths.best(workdir).read_text())
    files.write_json(paths.best(workdir), {**info, "region": "EU_SW"})
    # The training's manifest would refuse a best.json that it did not write.
    (workdir / "manifest.json").unlink()
    config.region = "EU_SW"
    evaluate.run(config, workdir)
    found = _metrics(workdir, "eu_sw_test")
    assert found["class_mask"] == {
        "region": "EU_SW",
        "classes": 4,
        "of": CLASSES,
        "images_outside": 0,
    }
    assert found["chance_top1_accuracy"] == 0.25
    assert found["per_region"]["EU_SW"]["images"] == found["images"]
    config.region = ""
    evaluate.run(config, workdir)
    elsewhere = _metrics(workdir)
    assert elsewhere["class_mask"]["images_outside"] == 2 * PER_CLASS["test"]
    assert elsewhere["loss"] is None
    assert elsewhere["top1_accuracy"] <= 4 / 6


def test_logits_that_are_not_finite_name_the_run():
    with pytest.raises(UserError, match=r"best\.json.*diverged"):
        outputs.check_logits(np.array([[0.0, np.nan]]), of="best.json")


class TestSummary:
    @pytest.fixture
    def scored(self):
        ids, label = finished_runs.drawn(400, CLASSES, seed=3)
        return finished_runs.score(ids, label, CLASSES, Skill(1.5))

    def _of(self, scored, **changes):
        about = finished_runs.subject("run", finished_runs.label_map())
        options = summary.Options(**{**vars(OPTIONS), **changes})
        arrays = (scored.image_id, scored.label, scored.logits)
        group = scored.image_id
        return summary.summarise(about, *arrays, group=group, options=options)[0]

    def test_copies_of_the_photos_leave_the_intervals_as_they_are(self, scored):
        about = finished_runs.subject("run", finished_runs.label_map())
        arrays = (scored.image_id, scored.label, scored.logits)
        many = tuple(np.repeat(array, 4, axis=0) for array in arrays)
        once, copied, fooled = (
            summary.summarise(about, *photos, group=group, options=OPTIONS)[0]
            for photos, group in (
                (arrays, scored.image_id),
                (many, many[0]),
                (many, np.arange(1600, dtype=np.uint64)),
            )
        )
        assert copied["bootstrap"]["groups"] == 400
        for field, ends in once["intervals"].items():
            np.testing.assert_allclose(copied["intervals"][field], ends, rtol=1e-5)
        narrow = fooled["intervals"]["top1_accuracy"]
        assert np.ptp(narrow) < 0.7 * np.ptp(once["intervals"]["top1_accuracy"])

    def test_the_gain_of_the_prior_is_paired(self, scored):
        found = self._of(scored, country_prior=1.0)["country"]["here"]
        with_prior, without = found["with_prior"], found["without_prior"]
        gain = found["gain"]["top1_accuracy"]
        step = with_prior["top1_accuracy"] - without["top1_accuracy"]
        assert gain == pytest.approx(step)
        low, high = found["gain"]["interval"]
        assert low < gain < high
        assert high - low < np.ptp(without["intervals"]["top1_accuracy"])

    def test_a_mask_helps_within_its_region(self, scored):
        row = self._of(scored)["per_region"]["EU_SW"]
        assert row["classes"] == 4
        assert row["masked_top1_accuracy"] > row["top1_accuracy"]

    def test_the_country_prior_helps_there_and_costs_elsewhere(self, scored):
        found = self._of(scored, country_prior=1.0)["country"]
        here, away = found["here"], found["elsewhere"]
        assert here["images"] + away["images"] == 400
        accuracy = "top1_accuracy"
        assert here["with_prior"][accuracy] > here["without_prior"][accuracy]
        assert away["with_prior"][accuracy] < away["without_prior"][accuracy]

    def test_the_country_prior_can_be_off(self, scored):
        assert self._of(scored, country_prior=0.0)["country"] is None
        assert self._of(scored, country="")["country"] is None

    def test_a_country_without_plants_changes_nothing(self, scored):
        found = self._of(scored, country="XX")["country"]
        assert found["classes"] == 0
        assert found["here"]["without_prior"]["top1_accuracy"] is None
        away = found["elsewhere"]
        assert away["with_prior"]["loss"] == away["without_prior"]["loss"]

    def test_confusions_have_names(self, scored):
        row = self._of(scored)["confusions"][0]
        assert (
            row["true_name"] == finished_runs.label_map().taxa[row["true"]].latin_name
        )
        assert isinstance(row["same_genus"], bool)

    def test_it_is_json(self, scored):
        json.dumps(self._of(scored), allow_nan=False)
