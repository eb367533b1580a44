"""The comparisons train what they say: fields that exist, fair pairs, a real tail."""

import argparse
import collections
import dataclasses
import importlib
import json
import os
import sys
from pathlib import Path

import pytest

from aplantida_jax import files
from aplantida_jax.data import records
from aplantida_jax.data.records import Photo

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    """The modules of scripts/, which import each other by their bare names."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    names = ("compare_distillation", "compare_long_tail")
    names += ("comparison_runs", "comparison_table")
    return {name: importlib.import_module(name) for name in names}


def value_at(config, field):
    for part in field.split("."):
        config = config[part]  # raises KeyError where there is no such field
    return config


def all_ways(scripts, data):
    """By script, name -> way, in the order of the table."""
    return [
        {way.name: way for way in scripts["compare_distillation"].ways(data)},
        {way.name: way for way in scripts["compare_long_tail"].WAYS},
    ]


def config_of(way, data):
    """What a way trains with, its own fields as words; without where it begins."""
    config = importlib.import_module(f"configs.{way.config}").get_config(data)
    told = json.loads(json.dumps(config.to_dict(), default=str))
    for field in way.fields:
        *parts, last = field.partition("=")[0].split(".")
        section = told
        for part in parts:
            section = section[part]
        assert last in section, field
        section[last] = float(field.partition("=")[2]) if _is_number(field) else field
    return told


def _is_number(field):
    try:
        float(field.partition("=")[2])
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("data", ["demo", "photos"])
def test_every_way_sets_fields_that_exist_and_comes_after_what_it_needs(scripts, data):
    for ways in all_ways(scripts, data):
        told = {""}
        for way in ways.values():
            config_of(way, data)
            assert {way.begins, way.reference} <= told
            told.add(way.name)


@pytest.mark.parametrize("data", ["demo", "photos"])
def test_a_way_and_its_reference_differ_in_what_is_learnt_from_only(scripts, data):
    """Same data, augmentation, rate and epochs, from weights that saw as much."""
    ways, _ = all_ways(scripts, data)
    compared = [way for way in ways.values() if way.reference]
    assert len(compared) == (9 if data == "demo" else 11)
    for way in compared:
        reference = ways[way.reference]
        assert way.scratch == reference.scratch
        mine, its = ([], [])
        for side, chain in ((way, mine), (reference, its)):
            while side:
                chain.append(side)
                side = ways.get(side.begins)
        assert len(mine) == len(its)
        for one, other in zip(mine, its, strict=True):
            left, right = config_of(one, data), config_of(other, data)
            for learnt_from in ("name", "distill", "compare"):
                del left[learnt_from], right[learnt_from]
            if reference.config == "student_distill":  # a question about the head
                assert way.name.startswith("factorised")
                del left["model"]["head_rank"], right["model"]["head_rank"]
            assert left == right, way.name


def test_all_ways_for_the_tail_choose_their_epoch_alike(scripts):
    _, ways = all_ways(scripts, "demo")
    assert {config_of(w, "demo")["train"]["best_by"] for w in ways.values()} == {
        "train.best_by=macro_recall"
    }
    softmax = ways["balanced softmax, head only"]
    plain = ways[softmax.reference]
    left, right = config_of(softmax, "demo"), config_of(plain, "demo")
    assert left["train"].pop("logit_adjustment") == 1.0
    assert right["train"].pop("logit_adjustment") == 0.0
    assert (left, softmax.begins) == (right, plain.begins)


def test_what_is_asked_for_brings_what_it_is_compared_with(scripts):
    ways, _ = all_ways(scripts, "demo")
    asked = scripts["comparison_runs"].asked
    assert asked(ways, ["one view, longer"], always="labels") == [
        *("labels", "one view", "labels, longer", "one view, longer")
    ]
    assert asked(ways, None, always="labels") == list(ways)
    with pytest.raises(SystemExit, match="no way 'typo'; there are: labels; one view"):
        asked(ways, ["typo"], always="labels")


@pytest.mark.parametrize(
    ("script", "given", "said"),
    [
        ("compare_distillation", ["--only=typo"], "no way 'typo'"),
        ("compare_distillation", ["--data=photos"], "--dump=FILE, which is not given"),
        (
            "compare_distillation",
            ["--data=photos", f"--dump={__file__}", f"--small={__file__}"],
            "--large=FILE, which is not given",
        ),
        (
            "compare_long_tail",
            ["--data=photos", f"--dump={__file__}", "--small=/nothing"],
            "--small=FILE, which is no file: /nothing",
        ),
        ("compare_distillation", ["--table"], "nothing to compare in .* yet: of 13"),
        ("compare_long_tail", ["--table"], "nothing to compare in .* yet: of 7"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(
    scripts, monkeypatch, tmp_path, script, given, said
):
    monkeypatch.setattr(scripts["comparison_runs"], "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *given])
    with pytest.raises(SystemExit, match=said):
        scripts[script].main()
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_of_no_seeds_is_refused(scripts):
    with pytest.raises(argparse.ArgumentTypeError, match="0 is no number from 1"):
        scripts["comparison_runs"]._at_least_one("0")


def test_a_way_has_its_own_reference_and_holm_counts_just_these_pairs(scripts):
    """By hand over 0.01 and 0.04: 2 x 0.01, then 0.04; those of 0.001 are of no row."""
    way = scripts["comparison_runs"].Way
    ways = [
        *(way("a", ""), way("b", "", reference="a"), way("c", "")),
        *(way("d", "", reference="c"), way("e", "", reference="unfinished")),
    ]
    done = {name: [f"{name}1", f"{name}2"] for name in "abcde"}
    ps = {"ab": 0.04, "ac": 0.001, "ad": 0.001, "cd": 0.01, "ae": 0.001, "ce": 0.001}
    pairs = [
        {"reference": f"{a}1+{a}2", "run": f"{b}1+{b}2", "p": p}
        for (a, b), p in ps.items()
    ]
    own_pairs = scripts["comparison_table"].own_pairs
    found = own_pairs(ways, done, {"pairs": pairs})
    assert {name: pair["p_holm"] for name, pair in found.items()} == {
        "b": 0.04,
        "d": 0.02,
    }
    assert found["d"]["reference"] == "c1+c2"


def test_minutes_count_neither_the_compilation_nor_a_stop(
    scripts, monkeypatch, tmp_path
):
    """54 steps an epoch: 100 s with compilation, 10 s, an hour's stop, 10 s."""
    runs = scripts["comparison_runs"]
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    place = runs.Place("demo", "x", (), False)
    run = place.runs_dir / "labels_s1"
    for epoch, written in enumerate((100, 110, 3710, 3720), start=1):
        checkpoint = run / "checkpoints" / str(54 * epoch)
        checkpoint.mkdir(parents=True)
        os.utime(checkpoint, (1e9 + written, 1e9 + written))
    lines = "".join(f'{{"step": {54 * epoch}}}\n' for epoch in (1, 2, 3, 4))
    (run / "history.jsonl").write_text(lines)
    assert place.minutes("labels_s1") == pytest.approx(40 / 60)


def test_shares_are_cut_at_their_ends_and_differences_are_not(scripts):
    table = scripts["comparison_table"]
    assert table.share(0.161, [-0.052, 0.374]) == "16.1 (0.0 to 37.4)"
    found = {"top1_accuracy": {"difference": 0.031, "interval": [-0.004, 0.066]}}
    assert table.gap(found, "top1_accuracy") == "+3.1 (-0.4 to +6.6)"
    assert table.gap(None, "top1_accuracy") == ""


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


def test_the_thinned_collection_follows_the_whole_one(scripts, monkeypatch, tmp_path):
    runs, tail = scripts["comparison_runs"], scripts["compare_long_tail"]
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    place = runs.Place("demo", "x", (), False)
    (place.data_dir / "export").mkdir(parents=True)
    (place.data_dir / "export" / "classes.json").write_text("{}")
    whole = place.data_dir / "splits" / "all"
    whole.mkdir(parents=True)
    files.write_json(whole / "dataset_stats.json", {"splits": {}})
    thin = place.data_dir / "thinned" / "splits" / "all"
    for count in (3, 5):
        photos = [
            dataclasses.replace(_photo(), image_id=f"{i:016x}") for i in range(count)
        ]
        for split in ("train", "val", "test"):
            records.write_photos(whole / f"dataset_{split}.jsonl", photos)
        for _ in range(2):
            made = tail.thinned(place, ready=False)
            assert made.name == "x/thinned"
        stats = files.read_json(thin / "dataset_stats.json", made_by="split")
        assert stats["splits"]["train"]["images"] == count
        test = list(records.read_photos(thin / "dataset_test.jsonl", made_by="split"))
        assert test == photos


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
