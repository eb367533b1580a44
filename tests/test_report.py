"""Stage `report`, on a project where something has run, and on an empty one."""

import dataclasses
import json
import logging

import finished_project
import finished_runs
import pytest
import yaml
from conftest import write_dataset
from finished_runs import Skill

from aplantida_jax import files, paths, report
from aplantida_jax.reporting import origin_sections
from configs import report as report_config

OUTPUTS = {
    "report.html",
    "dashboard.png",
    "TRAINING_MANIFEST_v1.0.yaml",
    "criteria.json",
    "licence_verdict.json",
    "manifest.json",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The small dataset with real photos, an evaluated and calibrated student."""
    dataset = write_dataset(tmp_path_factory.mktemp("report"))
    config = report_config.get_config("demo")
    config.data_dir = str(dataset.root / "data")
    config.runs_dir = str(dataset.root / "workdirs")
    config.dist_dir = str(dataset.root / "dist")
    label_map, skill = dataset.label_map, Skill(1.5, 2.0)
    for region in ("", "EU_SW"):
        stats = finished_project.split(label_map)
        files.write_json(paths.split_stats(config, region), stats)
    finished_runs.write_evaluation(config, "baseline", label_map, Skill(0.5))
    finished_runs.write_training(config, "student_finetune", label_map)
    finished_runs.write_evaluation(config, "student_finetune", label_map, skill)
    finished_runs.write_calibration(config, "student_finetune", label_map, skill)
    return config


def _run(config):
    out_dir = paths.report_dir(config)
    report.run(config, out_dir)
    return out_dir


def test_dry_run_writes_nothing(config):
    dry = config.copy_and_resolve_references()
    dry.dry_run = True
    assert not _run(dry).exists()


def test_everything_is_written_and_agrees(config, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        out_dir = _run(config)
    assert {path.name for path in out_dir.iterdir()} == OUTPUTS
    rows = json.loads((out_dir / "criteria.json").read_text())["criteria"]
    top1 = next(row for row in rows if row["name"] == "student top-1")
    record = yaml.safe_load((out_dir / "TRAINING_MANIFEST_v1.0.yaml").read_text())
    assert record["phases"]["phase_4"]["final_top1"] == top1["measured"]
    verdict = json.loads((out_dir / "licence_verdict.json").read_text())
    assert verdict["publishable"] is True
    assert [row["name"] for row in verdict["provenance"]] == [
        "dataset_train.jsonl",
        "net.safetensors",
    ]
    html = (out_dir / "report.html").read_text()
    assert f"{100 * top1['measured']:.1f} %" in html
    assert html.count("data:image/jpeg") >= 3  # photos of confused plants
    assert 'id="missing"' in html
    assert "student_finetune" in caplog.text
    assert "--config=configs/dataset.py:demo --config.stage=audit" in caplog.text


def test_a_second_run_has_nothing_to_do_until_something_changes(config):
    page = _run(config) / "report.html"
    before = page.stat().st_mtime_ns
    _run(config)
    assert page.stat().st_mtime_ns == before
    path = paths.best(paths.run_dir(config, "student_finetune"))
    best = json.loads(path.read_text())
    files.write_json(path, {**best, "epoch": best["epoch"] + 1})
    _run(config)
    assert page.stat().st_mtime_ns > before


def test_a_tainted_student_may_not_ship():
    found = finished_project.findings(finished_runs.label_map())
    student = found.run("student_finetune")
    tainted = {"name": "photos", "kind": "data", "licences": ["CC-BY-NC-4.0"]}
    best = {**student.best, "provenance": [*finished_runs.PROVENANCE, tainted]}
    run = dataclasses.replace(student, best=best)
    verdict = report.licence_verdict(dataclasses.replace(found, runs=[run]))
    assert verdict["publishable"] is False
    assert "CC-BY-NC-4.0" in verdict["reasons"][0]
    shown = origin_sections.licences(dataclasses.replace(found, runs=[run]), verdict)
    assert "may not ship" in shown
    assert "CC-BY-NC-4.0" in shown


def test_an_empty_project_has_a_report(tmp_path):
    config = report_config.get_config("")
    config.data_dir, config.runs_dir = str(tmp_path / "d"), str(tmp_path / "w")
    config.dist_dir = str(tmp_path / "dist")
    out_dir = _run(config)
    assert {path.name for path in out_dir.iterdir()} == OUTPUTS
