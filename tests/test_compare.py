"""Stage `compare`: what it finds, what it refuses, what it writes."""

import json
import re
import shutil

import evaluated_runs
import numpy as np
import pytest
from finished_runs import Skill

from aplantida_jax import config as config_lib
from aplantida_jax import files, manifest, paths
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import compare, outputs

GOOD, POOR = Skill(2.2), Skill(1.2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A poor run, a good one, a regional one, and a poor one of three seeds."""
    root = tmp_path_factory.mktemp("compare")
    config = evaluated_runs.configuration(root)
    label_map = evaluated_runs.write_dataset(config)
    write = evaluated_runs.write_run
    write(config, "poor", label_map, POOR, seed=1)
    write(config, "good", label_map, GOOD, seed=2)
    write(config, "regional", label_map, GOOD, region="EU_SW", seed=3)
    for seed in (1, 2, 3):
        write(config, f"poor_s{seed}", label_map, POOR, seed=seed)
        write(config, f"good_s{seed}", label_map, GOOD, seed=10 + seed)
    return root


@pytest.fixture
def ready(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return evaluated_runs.configuration(tmp_path)


def compared(config, *runs):
    config.compare.runs = runs
    config_lib.check(config)
    compare.run(config, None)
    out_dir = paths.comparison_dir(config, "test")
    return json.loads((out_dir / compare.COMPARISON).read_text())


def test_the_better_run_is_found_and_named(ready, caplog):
    with caplog.at_level("INFO", logger="absl"):
        found = compared(ready, "poor", "good")
    (pair,) = found["pairs"]
    top1 = pair["differences"]["top1_accuracy"]
    assert top1["difference"] == pytest.approx(
        found["runs"][1]["top1_accuracy"] - found["runs"][0]["top1_accuracy"]
    )
    assert 0 < top1["interval"][0] < top1["difference"] < top1["interval"][1]
    assert (pair["images"], pair["groups"], pair["partial"]) == (300, 100, False)
    assert pair["p"] < 0.001
    assert found["significant"][0]["better"] == "good"
    assert "good is better than poor by" in caplog.text
    picture = paths.comparison_dir(ready, "test") / "comparison.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = picture.stat().st_mtime_ns
    compared(ready, "poor", "good")
    assert picture.stat().st_mtime_ns == before


def test_the_numbers_are_those_of_the_predictions(ready):
    found = compared(ready, "poor", "good")
    right = []
    for name in ("poor", "good"):
        path = paths.evaluation_dir(paths.run_dir(ready, name), "test")
        with np.load(path / outputs.PREDICTIONS) as stored:
            right.append(stored["top_class"][:, 0] == stored["label"])
    mcnemar = found["pairs"][0]["mcnemar"]
    assert mcnemar["only_reference"] == (right[0] & ~right[1]).sum()
    assert mcnemar["only_run"] == (right[1] & ~right[0]).sum()
    for row, own in zip(found["runs"], right, strict=True):
        assert row["top1_accuracy"] == own.mean()
        low, high = row["intervals"]["top1_accuracy"]
        assert low < own.mean() < high
    bands = found["pairs"][0]["bands"]
    assert sum(band["images"] for band in bands.values()) == 300
    empty = [band for band in bands.values() if band["images"] == 0]
    assert empty[0]["differences"]["top1_accuracy"] == {
        "difference": None,
        "interval": None,
    }


def test_a_run_differs_in_nothing_from_its_copy(ready):
    runs = paths.run_dir(ready, "poor")
    shutil.copytree(runs, runs.with_name("copy"))
    (pair,) = compared(ready, "poor", "copy")["pairs"]
    assert pair["p"] == pair["p_holm"] == 1.0
    assert not pair["significant"]
    for metric in pair["differences"].values():
        assert metric == {"difference": 0.0, "interval": [0.0, 0.0]}


def test_every_pair_and_both_families_are_there(ready):
    found = compared(ready, "poor", "good", "good_s1")
    names = [(pair["reference"], pair["run"]) for pair in found["pairs"]]
    assert names == [("poor", "good"), ("poor", "good_s1"), ("good", "good_s1")]
    assert [pair["with_reference"] for pair in found["pairs"]] == [True, True, False]
    assert found["pairs"][2]["p_holm"] is None
    for pair in found["pairs"][:2]:
        assert pair["p"] <= pair["p_holm"] <= pair["p_holm_all"]


def test_a_regional_run_is_compared_on_the_photos_of_both(ready):
    found = compared(ready, "poor", "regional")
    (pair,) = found["pairs"]
    assert pair["partial"]
    assert pair["images"] == 201  # four of six species, and one more group
    assert "201 photos that both answered" in " ".join(found["notes"])
    assert found["runs"][1]["trained_on"] == ["EU_SW"]
    assert found["runs"][0]["images"] == 300


def test_seeds_are_a_sample_too(ready):
    seeds = {
        side: "+".join(f"{side}_s{seed}" for seed in (1, 2, 3))
        for side in ("poor", "good")
    }
    found = compared(ready, seeds["poor"], seeds["good"])
    (pair,) = found["pairs"]
    assert pair["test"] == "Welch over seeds and groups"
    assert pair["mcnemar"] is None
    assert pair["p"] < 0.01
    row = found["runs"][0]
    assert row["top1_accuracy"] == pytest.approx(
        np.mean(row["by_member"]["top1_accuracy"])
    )
    assert len(row["members"]) == 3
    alone = compared(ready, "poor", seeds["good"])
    assert "given the spread of their seeds" in " ".join(alone["notes"])
    assert alone["pairs"][0]["seeds"]["degrees_of_freedom"] == 2


def test_single_runs_win_as_they_were_trained(ready, caplog):
    with caplog.at_level("INFO", logger="absl"):
        found = compared(ready, "poor", "good")
    assert "another seed may turn which is better" in " ".join(found["notes"])
    assert re.search(r"good is better than poor .*, as trained once each", caplog.text)


def test_the_stage_is_that_of_the_evaluation(ready):
    # A second baseline has a name of its own, and no training.
    run = paths.run_dir(ready, "good").with_name("baseline_linear")
    directory = paths.evaluation_dir(run, "test")
    shutil.copytree(
        paths.evaluation_dir(paths.run_dir(ready, "good"), "test"), directory
    )
    made = json.loads((directory / manifest.MANIFEST).read_text())
    (directory / manifest.MANIFEST).unlink()
    job = manifest.Job("baseline", directory, "", ready.to_dict(), made["inputs"], "")
    written = [directory / name for name in made["outputs"]]
    job.finish(outputs=written, metrics={}, label_map=made["label_map"])
    assert compared(ready, "poor", "baseline_linear")["pairs"][0]["p"] < 0.001
    (directory / outputs.METRICS).unlink()
    with pytest.raises(UserError, match=r"stage 'baseline' \(.*name=baseline_l"):
        compared(ready, "poor", "baseline_linear")


def test_what_is_missing_is_named(ready):
    outputs_of = paths.evaluation_dir(paths.run_dir(ready, "good"), "test")
    shutil.rmtree(outputs_of)
    with pytest.raises(UserError, match=r"stage 'evaluate' \(--config.name=good"):
        compared(ready, "poor", "good")


def test_the_command_that_mends_names_the_experiments_own_file(ready):
    ready.variant = "demo"
    (paths.run_dir(ready, "student_labels") / "evaluate").mkdir(parents=True)
    own = r"\(--config=configs/student_labels\.py:demo --config\.eval\.split=test\)"
    with pytest.raises(UserError, match=f"stage 'evaluate' {own}"):
        compared(ready, "poor", "student_labels")


def test_a_run_that_is_not_there_is_told_from_one_that_is_not_evaluated(ready):
    with pytest.raises(UserError, match=r"no such run: did you mean 'regional'\?"):
        compared(ready, "poor", "regionl")
    own = r"evaluated there are good, .*--config=configs/student_labels\.py first"
    with pytest.raises(UserError, match=own):
        compared(ready, "poor", "student_labels")


def test_without_resamples_nothing_is_read(ready):
    ready.eval.bootstrap = 0
    with pytest.raises(UserError, match=r"--config\.eval\.bootstrap=1000"):
        compared(ready, "poor", "nowhere")


def test_a_name_keeps_two_comparisons_apart(ready, caplog):
    compared(ready, "poor", "good")
    first = paths.comparison_dir(ready, "test") / compare.COMPARISON
    before = first.read_bytes()
    ready.compare.name = "mine"
    compared(ready, "good", "poor_s1")
    assert first.read_bytes() == before
    assert (first.parents[1] / "mine.test" / compare.COMPARISON).exists()
    ready.compare.name = ""
    with caplog.at_level("WARNING", logger="absl"):
        compared(ready, "good", "poor_s1")
    assert "is replaced, which compared poor, good" in caplog.text


def test_a_newer_checkpoint_makes_an_evaluation_stale(ready):
    best = paths.best(paths.run_dir(ready, "good"))
    files.write_json(best, {**json.loads(best.read_text()), "step": 41})
    with pytest.raises(UserError, match=r"made before .*best\.json changed.*=good"):
        compared(ready, "poor", "good")


def test_an_altered_prediction_is_refused(ready):
    run = paths.run_dir(ready, "good")
    path = paths.evaluation_dir(run, "test") / outputs.PREDICTIONS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="not what stage 'evaluate'"):
        compared(ready, "poor", "good")


def test_runs_on_different_photos_are_refused(ready):
    path = paths.split_file(ready, "test")
    small = paths.split_file(ready, "test", "EU_SW")
    whole = path.read_bytes()
    path.write_bytes(small.read_bytes())
    label_map = evaluated_runs.finished_runs.label_map()
    evaluated_runs.evaluate(ready, "good", label_map, GOOD)
    with pytest.raises(UserError, match=r"poor.*evaluate/test was made before"):
        compared(ready, "poor", "good")
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"good.*evaluate/test was made before"):
        compared(ready, "poor", "good")


@pytest.mark.parametrize(
    "runs", [("poor",), ("poor", "poor"), ("poor", "good+poor"), ("poor", "../x")]
)
def test_impossible_runs_are_refused_before_any_work(ready, runs):
    with pytest.raises(UserError, match=r"compare\.runs") as caught:
        compared(ready, *runs)
    assert caught.value.exit_code == 2


def test_dry_run_writes_nothing(ready):
    ready.dry_run = True
    ready.compare.runs = ("poor", "good")
    compare.run(ready, None)
    assert not paths.comparison_dir(ready, "test").exists()
