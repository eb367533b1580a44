"""What is there is read, what is not is listed with the command that makes it."""

import dataclasses

import finished_project
import finished_runs
import numpy as np
import pytest
from finished_runs import Skill

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels, records
from aplantida_jax.distill import rows, store
from aplantida_jax.errors import UserError
from aplantida_jax.reporting import gather, run_sections
from configs import report


@pytest.fixture
def config(tmp_path):
    """Label map and splits on disk; no cache, no runs."""
    config = report.get_config("demo")
    config.data_dir = str(tmp_path / "data")
    config.runs_dir = str(tmp_path / "workdirs")
    config.dist_dir = str(tmp_path / "dist")
    label_map = finished_runs.label_map()
    labels.write(paths.classes(config), label_map)
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        photos = [
            _photo(taxon, f"{split}-{number}")
            for taxon in label_map.taxa
            for number in range(count)
        ]
        photos.sort(key=lambda photo: photo.image_id)
        records.write_photos(paths.split_file(config, split), photos)
    files.write_json(paths.split_stats(config), finished_project.split(label_map))
    return config


def _photo(taxon, name):
    url = f"images/{taxon.class_id}-{name}.jpg"
    return records.Photo(
        image_id=records.image_id_of(url),
        plant_id=str(taxon.class_id),
        latin_name=taxon.latin_name,
        class_id=taxon.class_id,
        url=url,
        source="test",
        licence="CC-BY-4.0",
        licence_raw="cc-by",
        attribution="author",
        countries=taxon.countries,
        regions=taxon.regions,
    )


def test_nothing_there_is_listed_and_no_error(config):
    found = gather.gather(config)
    assert found.label_map == finished_runs.label_map()
    np.testing.assert_array_equal(found.train_images, [5] * 6)
    stages = {part.stage for part in found.missing}
    assert stages == {
        "export_dataset",
        "audit",
        "split",  # of the regions
        "baseline",
        "train",
        "evaluate",
        "calibrate",
        "combine",
        "compare",
        "out_of_distribution",
        "export_model",
        "validate_export",
    }
    part = next(part for part in found.missing if part.stage == "calibrate")
    expected = "--config=configs/student_finetune.py:demo --config.stage=calibrate"
    assert part.command == expected
    assert all(part.reason == "not made yet" for part in found.missing)


def test_an_empty_directory_is_no_error(tmp_path):
    config = report.get_config("")
    config.data_dir, config.runs_dir = str(tmp_path / "d"), str(tmp_path / "w")
    config.dist_dir = str(tmp_path / "dist")
    found = gather.gather(config)
    assert found.label_map is None
    assert found.inputs == []


def test_a_finished_run_is_read(config):
    label_map, skill = finished_runs.label_map(), Skill(3.0, 2.0)
    finished_runs.write_training(config, "student_finetune", label_map)
    finished_runs.write_evaluation(config, "student_finetune", label_map, skill)
    finished_runs.write_calibration(config, "student_finetune", label_map, skill)
    found = gather.gather(config)
    run = found.run("student_finetune")
    assert len(run.history) == 8
    assert run.test["images"] == 18
    assert run.calibration["temperature"] > 0
    assert run.manifest["stage"] == "train"
    assert not run.unfinished
    assert paths.best(run.workdir) in [item.path for item in found.inputs]
    assert not any("student_finetune" in part.what for part in found.missing)


def test_a_training_that_goes_on_is_told_as_one(config):
    finished_runs.write_training(config, "teacher_global", finished_runs.label_map())
    (paths.run_dir(config, "teacher_global") / "manifest.json").unlink()
    found = gather.gather(config)
    assert found.run("teacher_global").unfinished
    first, second = (part for part in found.missing if "teacher_global" in part.what)
    assert (first.stage, second.stage) == ("train", "evaluate")
    assert "8 epochs so far" in first.reason
    assert first.command.startswith("--config=configs/teacher_global.py:demo")
    shown = run_sections.runs(found, {})
    assert shown.count("training not finished") == 1


def test_alternatives_that_were_trained_are_told_of(config):
    assert gather.gather(config).run("student_tail") is None
    finished_runs.write_training(config, "student_tail", finished_runs.label_map())
    assert gather.gather(config).run("student_tail") is not None


def test_a_comparison_with_something_else_is_missing_the_labels(config):
    compared = finished_project.comparison(finished_runs.label_map())
    path = paths.comparison_dir(config, "test") / "comparison.json"

    def missing():
        parts = gather.gather(config).missing
        return [part for part in parts if part.stage == "compare"]

    files.write_json(path, compared)
    assert missing() == []
    files.write_json(path, {**compared, "reference": "baseline"})
    (part,) = missing()
    assert part.reason == "what is there compares with baseline"
    assert part.command.startswith("--config=configs/student_labels.py:demo ")


def test_a_baseline_of_another_name_is_one(config):
    label_map = finished_runs.label_map()
    config.report.runs = ("baseline_linear", "student_finetune")
    directory = paths.evaluation_dir(paths.run_dir(config, "baseline_linear"), "test")
    found = gather.gather(config)
    part = next(p for p in found.missing if p.what == "evaluation of baseline_linear")
    expected = "--config=configs/baseline.py:demo --config.stage=baseline"
    assert part.command == f"{expected} --config.name=baseline_linear"
    finished_runs.write_evaluation(config, "baseline_linear", label_map, Skill(0.5))
    started = "2026-01-01T00:00:00+00:00"
    job = manifest.Job("baseline", directory, "", config.to_dict(), {}, started)
    job.finish(outputs=[], metrics={}, label_map=label_map.fingerprint)
    found = gather.gather(config)
    assert found.run("baseline_linear").test["images"] == 18
    assert not any("baseline" in part.what for part in found.missing)


def test_a_regional_teacher_is_told_by_its_own_region(config):
    label_map = finished_runs.label_map()
    finished_runs.write_training(config, "teacher_eu_sw", label_map, region="EU_SW")
    own = [t for t in label_map.taxa if "EU_SW" in t.regions]
    for split in ("train", "test"):
        photos = [_photo(taxon, f"{split}-0") for taxon in own]
        photos.sort(key=lambda photo: photo.image_id)
        records.write_photos(paths.split_file(config, split, "EU_SW"), photos)
    finished_runs.write_evaluation(
        config, "teacher_eu_sw", label_map, Skill(3.0), region="EU_SW"
    )
    run = gather.gather(config).run("teacher_eu_sw")
    assert list(run.evaluations) == [("test", "eu_sw")]
    assert run.test["region"] == "EU_SW"


def test_what_was_made_for_another_label_map_is_not_shown(config):
    label_map = finished_runs.label_map()
    other = labels.LabelMap(label_map.taxa[:-1])
    finished_runs.write_training(config, "student_finetune", other)
    found = gather.gather(config)
    assert found.run("student_finetune").best is None
    part = next(p for p in found.missing if p.what == "training of student_finetune")
    assert part.reason == "made for another label map"


def test_a_damaged_file_names_its_stage(config):
    files.write_text(paths.run_dir(config, "teacher_global") / "best.json", "{")
    with pytest.raises(UserError, match="run stage 'train' again"):
        gather.gather(config)


def test_soft_labels_are_summed(config):
    label_map = finished_runs.label_map()
    directory = paths.soft_labels(config, "combined", "train")
    writer = store.Writer(
        directory, k=3, label_map=label_map, made_by="combine", key="k", provenance=[]
    )
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(6), size=40)
    top = rows.top(probability, 3)
    packed = rows.pack(np.arange(40, dtype=np.uint64), *top, writer.layout)
    writer.append(packed, measured={"sum_error": rows.sum_error(*top[1:])})
    assert gather.gather(config).soft_label_error < 1e-6


def test_the_bundle_has_a_size(config):
    label_map = finished_runs.label_map()
    directory = paths.bundle_dir(config)
    files.write_bytes(directory / "group1-shard1of1.bin", b"0" * 1000)
    metadata = {"label_map": label_map.fingerprint, "weights": "uint8"}
    files.write_json(directory / "metadata.json", metadata)
    found = gather.gather(config).bundle
    assert found["weights"] == "uint8"
    assert found["bytes"] > 1000


def test_findings_know_their_runs():
    found = finished_project.findings(finished_runs.label_map())
    assert found.run("nobody") is None
    student = found.run("student_finetune")
    assert dataclasses.replace(student, evaluations={}).test is None
