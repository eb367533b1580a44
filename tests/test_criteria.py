import dataclasses

import finished_project
import finished_runs
import pytest

from aplantida_jax.reporting import criteria


@pytest.fixture(scope="module")
def found():
    return finished_project.findings(finished_runs.label_map())


@pytest.fixture(scope="module")
def rows(found):
    return {row.name: row for row in criteria.table(found)}


def test_every_criterion_of_the_plan_is_a_row(rows):
    targets = {name: (r.relation, r.target) for name, r in rows.items() if r.target}
    assert targets == {
        "broken URLs": ("<", 0.05),
        "val classes that train has": (">=", 1.0),
        "teacher global top-1": (">=", 0.70),
        "teacher global top-5": (">=", 0.85),
        "teacher EU_SW top-1 on EU_SW": (">=", 0.80),
        "teacher EU_SW over the global one there": (">=", 0.10),
        "soft labels: largest |sum - 1|": ("<=", 1e-4),
        "student top-1 on val": (">=", 0.70),
        "student top-1": (">=", 0.75),
        "student top-5": (">=", 0.90),
        "student top-1 in ES": (">=", 0.88),
        "ECE on test, calibrated": ("<", 0.08),
        "precision of species answers": (">=", 0.95),
        "coverage of species answers": (">=", 0.80),
        "not conclusive": ("<", 0.05),
        "model, the plan's limit": ("<=", 150),
        "student model": ("<=", 20),
        "correlation of JAX and browser, uint8": (">", 0.995),
        "top-1 agreement with JAX, float32": (">=", 0.999),
        "top-1 agreement with JAX, float16": (">=", 0.999),
        "top-1 agreement with JAX, uint8": (">=", 0.99),
        "one photo in the browser, CPU": ("<", 5000),
    }
    assert rows["leakage between splits"].target == 0
    assert rows["chance top-1"].measured == pytest.approx(1 / 6)
    assert rows["baseline top-1"].met is None


def test_measured_values_come_from_where_they_should(found, rows):
    student = found.run("student_finetune")
    assert rows["student top-1"].measured == student.test["top1_accuracy"]
    interval = student.test["intervals"]["top1_accuracy"]
    assert rows["student top-1"].interval == interval
    assert (
        rows["student top-1 on val"].measured
        == student.best["metrics"]["top1_accuracy"]
    )
    fit = student.calibration
    assert rows["ECE on test, calibrated"].measured == fit["ece_after"]
    assert rows["ECE on test, calibrated"].interval == fit["intervals"]["ece_after"]
    here = student.test["country"]["here"]["without_prior"]["top1_accuracy"]
    assert rows["student top-1 in ES"].measured == here
    assert rows["student model"].measured == 0.6
    assert rows["one photo in the browser, CPU"].measured == 9.1


def test_the_regional_gain_is_against_the_global_teacher_there(found, rows):
    own = found.run("teacher_eu_sw").evaluations["test", "eu_sw"]["top1_accuracy"]
    there = found.run("teacher_global").test["per_region"]["EU_SW"]
    other = there["masked_top1_accuracy"]  # as the regional one answers
    row = rows["teacher EU_SW over the global one there"]
    assert row.measured == pytest.approx(own - other)
    assert "class mask" in row.note
    # Wider than either's own half, narrower than both together.
    mine = found.run("teacher_eu_sw").evaluations["test", "eu_sw"]["intervals"]
    halves = [
        own - mine["top1_accuracy"][0],
        there["intervals"]["masked_top1_accuracy"][1] - other,
    ]
    assert max(halves) < row.measured - row.interval[0] < sum(halves)


def test_against_the_labels_alone_the_corrected_p_decides(found, rows):
    # Its interval leaves 0 out, as one comparison's may where p is of all.
    (pair, *_) = found.comparison["pairs"]
    pair = {**pair, "p_holm": 0.12, "significant": False}
    compared = {**found.comparison, "pairs": [pair]}
    open_rows = criteria.table(dataclasses.replace(found, comparison=compared))
    row = next(r for r in open_rows if "over the labels" in r.name)
    assert row.interval[0] > 0
    assert (row.verdict, row.certain) == ("met", False)
    better = rows["student_distill over the labels alone"]
    assert (better.measured, better.relation, better.target) == (0.052, ">", 0.0)
    assert (better.verdict, better.certain) == ("met", True)
    worse = rows["student_finetune, 2 seeds over the labels alone"]
    assert (worse.verdict, worse.certain) == ("not met", False)


def test_a_comparison_with_something_else_is_no_criterion(found):
    pairs = [
        {**pair, "reference": "teacher_global"} for pair in found.comparison["pairs"]
    ]
    other = {**found.comparison, "pairs": pairs}
    names = [
        r.name for r in criteria.table(dataclasses.replace(found, comparison=other))
    ]
    assert not any("labels alone" in name for name in names)


def test_what_it_cannot_know_is_measured_without_a_target(rows):
    row = rows["held-out species answered as a species"]
    assert row.measured == 12 / 80
    assert row.target is None
    assert row.interval[0] < row.measured < row.interval[1]
    assert rows["pictures of no plant answered as a species"].measured == 4 / 64


def test_a_run_trained_twice_shows_whether_it_came_out_the_same(found):
    def trained(where, top1, digest):
        return finished_project.record(
            "train",
            where,
            key="k",
            metrics={"top1_accuracy": top1},
            outputs={"checkpoints/40/model": digest, "history.jsonl": "h"},
        )

    def row(*records):
        table = criteria.table(dataclasses.replace(found, records=records))
        return next(r for r in table if r.name == "same seed, same metrics")

    first = trained("workdirs/a", 0.7, "f" * 64)
    assert row(first).verdict == "not measured"
    same = row(first, trained("workdirs/b", 0.7, "f" * 64))
    assert (same.verdict, same.measured) == ("met", 0)
    assert "weights equal" in same.note
    other = row(first, trained("workdirs/b", 0.6, "0" * 64))
    assert other.verdict == "not met"
    assert other.measured == pytest.approx(0.1)
    assert "weights not equal" in other.note


def test_webgl_is_held_against_the_gpu_target(found):
    changed = {**found.validation, "backend": "webgl"}
    rows = criteria.table(dataclasses.replace(found, validation=changed))
    row = next(r for r in rows if r.name == "one photo in the browser, GPU")
    assert row.target == 2000


def test_a_threshold_that_does_not_exist_is_told(found):
    student = found.run("student_finetune")
    fit = {**student.calibration, "threshold": None, "accuracy": None}
    runs = [dataclasses.replace(student, calibration=fit)]
    rows = criteria.table(dataclasses.replace(found, runs=runs))
    row = next(r for r in rows if r.name == "precision of species answers")
    assert row.verdict == "not measured"
    assert "no species is answered" in row.note


def test_nothing_has_run_and_nothing_fails():
    rows = criteria.table(finished_project.nothing())
    assert {row.verdict for row in rows} == {"not measured"}


def test_runs_that_are_not_of_this_report_have_no_rows(found):
    only = [run for run in found.runs if run.name == "student_finetune"]
    names = {r.name for r in criteria.table(dataclasses.replace(found, runs=only))}
    assert not any("teacher" in name or "soft labels" in name for name in names)
