import dataclasses

import finished_project
import finished_runs
import pytest
import yaml

from aplantida_jax.reporting import yaml_manifest
from configs import report


@pytest.fixture(scope="module")
def found():
    found = finished_project.findings(finished_runs.label_map())
    recorded = {
        "git_commit": "abc1234",
        "versions": dict.fromkeys(
            ("python", "jax", "jaxlib", "flax", "tensorflow", "tensorflowjs", "numpy"),
            "1.2",
        ),
        "device": "cpu: cpu x 1",
        "config": {
            "model": {"name": "x"},
            "train": {"learning_rate": 1e-4},
            "augment": {},
            "distill": {"temperature": 3.0, "kl_weight": 0.7, "ce_weight": 0.3},
        },
    }
    runs = [
        dataclasses.replace(run, manifest=recorded) if run.best else run
        for run in found.runs
    ]
    return dataclasses.replace(found, runs=runs)


def _read(found):
    built = yaml_manifest.build(
        found, report.get_config("demo"), timestamp="2026-01-01T00:00:00+00:00"
    )
    return yaml.safe_load(yaml_manifest.dump(built))


def test_the_fields_of_the_plan(found):
    read = _read(found)
    assert read["timestamp"] == "2026-01-01T00:00:00+00:00"
    assert read["git_commit"] == "abc1234"
    assert read["data"] == {
        "mongo_snapshot": "mongodb://localhost:27017/",
        "total_samples": 1000,
        "total_species": 6,
        "train_samples": 800,
        "val_samples": 100,
        "test_samples": 100,
    }
    phases = read["phases"]
    assert list(phases) == [f"phase_{i}" for i in range(7)]
    assert {phase["status"] for phase in phases.values()} == {"completed"}
    student = found.run("student_finetune")
    assert phases["phase_4"]["final_top1"] == student.test["top1_accuracy"]
    assert phases["phase_4"]["distillation_epochs"] == 8
    assert phases["phase_1"]["teacher"] == "mobilenet_v2_0.35"
    own = found.run("teacher_eu_sw").test["top1_accuracy"]
    assert phases["phase_2"]["top1_eu_sw"] == own
    assert phases["phase_2"]["teacher_eu_sw"]["region"] == "EU_SW"
    assert phases["phase_2"]["teacher"] == "mobilenet_v2_0.35"
    assert phases["phase_2"]["checkpoint"].endswith(
        "teacher_eu_sw/checkpoints/40/model"
    )
    assert phases["phase_3"]["student_architecture"] == "mobilenet_v2_0.35"
    assert phases["phase_3"]["soft_labels"]["combined"]["views"] == 4
    assert phases["phase_5"]["out_of_distribution"]["held_out"] == 12 / 80
    assert phases["phase_5"]["temperature"] == student.calibration["temperature"]
    assert phases["phase_6"]["model_size_uint8"] == 0.6
    assert read["environment"]["jax_version"] == "1.2"
    assert read["environment"]["seed"] == 42
    assert read["environment"]["gpu"] is None
    assert read["hyperparameters"]["distillation_temperature"] == 3.0
    assert read["hyperparameters"]["student_finetune_lr"] == 1e-4


def test_a_gpu_is_named_as_in_the_plan(found):
    runs = [
        dataclasses.replace(
            run, manifest={**run.manifest, "device": "gpu: NVIDIA GeForce RTX 3060 x 1"}
        )
        if run.manifest
        else run
        for run in found.runs
    ]
    read = _read(dataclasses.replace(found, runs=runs))
    assert read["environment"]["gpu"] == "NVIDIA GeForce RTX 3060"


def test_nothing_has_run_and_it_still_reads():
    read = _read(finished_project.nothing())
    assert read["git_commit"] is None
    assert read["data"]["total_samples"] is None
    assert read["phases"]["phase_4"]["status"] == "missing"
    assert "config.report.runs" in read["phases"]["phase_1"]["status"]
