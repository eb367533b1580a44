"""Manifests of all stages are found, in their order, and compared."""

import json

import pytest
from finished_project import record

from aplantida_jax.errors import UserError
from aplantida_jax.reporting import stage_records


def write(root, where, stage="split", **content):
    path = root / where / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record(stage, where, **content).content))


def test_all_are_found_by_the_time_they_started(tmp_path):
    data, runs, dist = (tmp_path / name for name in ("data", "workdirs", "dist"))
    write(dist, "models/student/1.0", stage="export_model")
    write(data, "splits/all", started="2026-01-01T09:00:00+00:00")
    write(runs, "a/evaluate/test", stage="evaluate")
    write(runs, "report", stage="report")
    write(data, "cache/00", stage="train")  # images lie there, and no manifests
    found = stage_records.read_all(data, runs, dist)
    assert [r.stage for r in found] == ["split", "evaluate", "export_model"]
    assert found[0].seconds == 3690
    assert found[0].where == data / "splits" / "all"
    assert found[0].arguments == "--config=configs/x.py --config.stage=split"


def test_a_damaged_one_is_named(tmp_path):
    write(tmp_path, "export")
    (tmp_path / "export" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"export.manifest\.json is damaged"):
        stage_records.read_all(tmp_path, tmp_path / "none", tmp_path / "none")


def test_values_are_told_once_the_most_frequent_first():
    found = [
        record("a", "1", seed=1),
        record("b", "2", seed=2),
        record("c", "3", seed=2),
    ]
    assert stage_records.values(found, "seed") == ["2", "1"]


def test_only_trainings_of_the_same_key_are_repeats():
    def trained(where, key, stage="train"):
        return record(stage, where, key=key, metrics={"loss": 1.0})

    found = [trained("a", "k"), trained("b", "other"), trained("c", "k", "evaluate")]
    assert stage_records.repeats(found) == []
    repeat = stage_records.repeats([*found, trained("d", "k")])
    assert [(str(r.first), str(r.second)) for r in repeat] == [("a", "d")]
