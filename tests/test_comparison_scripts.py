"""The comparisons train what they say: fields that exist, fair lengths, a real tail."""

import collections
import dataclasses
import importlib
import sys
from pathlib import Path

import pytest

from aplantida_jax.data.records import Photo

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    """The modules of scripts/, which import each other by their bare names."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    return {
        name: importlib.import_module(name)
        for name in ("compare_distillation", "compare_long_tail", "comparison_runs")
    }


def value_at(config, field):
    for part in field.split("."):
        config = config[part]  # raises KeyError where there is no such field
    return config


@pytest.mark.parametrize("data", ["demo", "photos"])
def test_every_way_sets_fields_that_exist_and_begins_from_an_earlier_one(scripts, data):
    told = set()
    for way in scripts["compare_distillation"].ways(data):
        config = importlib.import_module(f"configs.{way.config}").get_config(data)
        for field in way.fields:
            value_at(config, field.partition("=")[0])
        assert way.begins in told | {""}
        told.add(way.name)
    assert scripts["compare_distillation"].REFERENCE in told
    for config_name, fields, begins in scripts["compare_long_tail"].WAYS.values():
        config = importlib.import_module(f"configs.{config_name}").get_config(data)
        for field in fields:
            value_at(config, field.partition("=")[0])
        assert begins in {"", "plain"}


@pytest.mark.parametrize("data", ["demo", "photos"])
def test_labels_alone_differ_from_distillation_in_the_loss_only(data):
    student, labels = (
        importlib.import_module(f"configs.{name}").get_config(data)
        for name in ("student_distill", "student_labels")
    )
    assert (labels.name, labels.distill.mode) == ("student_labels", "none")
    labels.update({"name": student.name})
    labels.distill.mode = student.distill.mode
    labels.compare.runs = student.compare.runs
    assert labels.to_dict() == student.to_dict()


def test_runs_have_names_that_paths_can_hold(scripts):
    name = scripts["comparison_runs"].run_name
    assert name("online, mixup", 2) == "online_mixup_s2"
    ways = list(scripts["compare_distillation"].ways("photos"))
    assert len({name(way.name, 1) for way in ways}) == len(ways)


def test_the_thinned_tail_has_one_shot_classes_and_keeps_what_there_is(scripts):
    photos = [
        dataclasses.replace(_photo(), class_id=c, image_id=f"{1000 * i + c:016x}")
        for i in range(50)
        for c in range(20)
    ]
    kept = scripts["compare_long_tail"]._thin(photos, most=40)
    sizes = sorted(collections.Counter(photo.class_id for photo in kept).values())
    assert len(sizes) == 20
    assert sizes[-1] == 40
    assert 5 <= sizes.count(1) <= 7
    assert [p.image_id for p in kept] == sorted(p.image_id for p in kept)
    assert kept == scripts["compare_long_tail"]._thin(photos, most=40)


def _photo():
    return Photo(
        image_id="0" * 16,
        plant_id="p",
        latin_name="Rosa alba",
        class_id=0,
        url="images/a.jpg",
        source="test",
        licence="CC0-1.0",
        licence_raw="cc0",
        attribution="author",
        countries=("ES",),
        regions=("EU_SW",),
    )
