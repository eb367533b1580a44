"""The table of success criteria: measured, target, met; pure, from `Findings`.

The targets are the plan's, for the full collection. A demo is held against the same
ones, and shown beside chance and the baseline.
"""

import math
from collections.abc import Iterator
from typing import Any

from aplantida_jax.reporting import stage_records
from aplantida_jax.reporting.criterion import Criterion, at, in_unit
from aplantida_jax.reporting.findings import LABELS, Findings, Run
from aplantida_jax.reporting.run_charts import short

_SOFT_LABEL_TOLERANCE = 1e-4
_UNKNOWN = {
    "held_out": "held-out species answered as a species",
    "pictures": "pictures of no plant answered as a species",
}
_AGREEMENT = {"float32": 0.999, "float16": 0.999, "uint8": 0.99}
_GPU_BACKENDS = ("webgl", "webgpu")


def table(found: Findings) -> list[Criterion]:
    """All rows, in the order of the plan's phases."""
    return [
        *_data(found),
        *_floor(found),
        *_teachers(found),
        *_soft_labels(found),
        *_student(found),
        *_against_labels(found),
        *_calibration(found),
        *_unknown(found),
        *_size(found),
        *_browser(found),
        _reproducibility(found),
    ]


def _data(found: Findings) -> Iterator[Criterion]:
    broken = at(found.audit, "broken_url_rate")
    yield Criterion(0, "broken URLs", "share", broken, "<", 0.05)
    split = found.splits.get("")
    leaks = None if split is None else sum(split["leakage"].values())
    note = "groups, SHA-256 and near duplicates in more than one split"
    yield Criterion(0, "leakage between splits", "count", leaks, "<=", 0, note=note)
    known = at(split, "val_classes_in_train")
    yield Criterion(0, "val classes that train has", "share", known, ">=", 1.0)


def _floor(found: Findings) -> Iterator[Criterion]:
    if run := found.run("baseline"):
        weights = at(run.test, "weights")
        note = f"weights: {weights}; " if weights else ""
        note += "the plan expects 30 to 40 % with ImageNet's"
        yield _of_test(0, "baseline top-1", run, "top1_accuracy", note=note)
    student = found.run(found.student)
    chance = at(student.test if student else None, "chance_top1_accuracy")
    yield Criterion(0, "chance top-1", "share", chance)


def _teachers(found: Findings) -> Iterator[Criterion]:
    if run := found.run("teacher_global"):
        yield _of_test(1, "teacher global top-1", run, "top1_accuracy", ">=", 0.70)
        yield _of_test(1, "teacher global top-5", run, "top5_accuracy", ">=", 0.85)
    if run := found.run("teacher_eu_sw"):
        own = run.evaluations.get(("test", "eu_sw"))
        yield Criterion(
            2,
            "teacher EU_SW top-1 on EU_SW",
            "share",
            at(own, "top1_accuracy"),
            ">=",
            0.80,
            at(own, "intervals", "top1_accuracy"),
        )
        yield _gain(found, own)


def _gain(found: Findings, own: dict[str, Any] | None) -> Criterion:
    """The regional teacher over the global one, on the same photos if evaluated so.

    Both answer with the region's classes alone, as the regional one always does. The
    interval is MOVER's (Zou and Donner 2008) from those of the two, as if their photos
    were different ones: on the same it is wider than need be.
    """
    name, target = "teacher EU_SW over the global one there", 0.10
    run = found.run("teacher_global")
    if run is None:
        return Criterion(2, name, "points", None, ">=", target)
    same = run.evaluations.get(("test", "eu_sw"), run.test)
    there = at(same, "per_region", "EU_SW")
    other = at(there, "masked_top1_accuracy")
    mine = at(own, "top1_accuracy")
    if own is None or there is None or mine is None or other is None:
        return Criterion(2, name, "points", None, ">=", target)
    free = there["top1_accuracy"]
    with_mask, without = in_unit(other, "share"), in_unit(free, "share")
    note = f"global: {with_mask} with the region's class mask, {without} without"
    ends = _of_difference(
        (mine, own["intervals"]["top1_accuracy"]),
        (other, there["intervals"].get("masked_top1_accuracy")),
    )
    return Criterion(2, name, "points", mine - other, ">=", target, ends, note)


def _of_difference(
    first: tuple[float, list[float] | None], second: tuple[float, list[float] | None]
) -> list[float] | None:
    """MOVER's interval of first - second, each (value, interval) and independent."""
    (one, inside), (other, around) = first, second
    if inside is None or around is None:
        return None
    low = math.hypot(one - inside[0], around[1] - other)
    high = math.hypot(inside[1] - one, other - around[0])
    return [one - other - low, one - other + high]


def _soft_labels(found: Findings) -> Iterator[Criterion]:
    if found.run("student_distill"):
        name, error = "soft labels: largest |sum - 1|", found.soft_label_error
        limit = _SOFT_LABEL_TOLERANCE
        yield Criterion(3, name, "error", error, "<=", limit, note="float32 rounding")


def _student(found: Findings) -> Iterator[Criterion]:
    run = found.run(found.student)
    if run is None:
        return
    on_val = at(run.best, "metrics", "top1_accuracy")
    yield Criterion(4, "student top-1 on val", "share", on_val, ">=", 0.70)
    yield _of_test(4, "student top-1", run, "top1_accuracy", ">=", 0.75)
    yield _of_test(4, "student top-5", run, "top5_accuracy", ">=", 0.90)
    country = at(run.test, "country")
    here = at(country, "here", "without_prior")
    with_prior = at(country, "here", "with_prior", "top1_accuracy")
    note = (
        ""
        if with_prior is None
        else f"{in_unit(with_prior, 'share')} with the country prior"
    )
    yield Criterion(
        4,
        f"student top-1 in {at(country, 'code') or 'the country'}",
        "share",
        at(here, "top1_accuracy"),
        ">=",
        0.88,
        at(here, "intervals", "top1_accuracy"),
        note=note,
    )


def _calibration(found: Findings) -> Iterator[Criterion]:
    run = found.run(found.student)
    fit = run.calibration if run else None
    before = at(fit, "ece_before")
    note = "" if before is None else f"{before:.3f} before"
    error = at(fit, "ece_after")
    yield Criterion(
        5,
        "ECE on test, calibrated",
        "number",
        error,
        "<",
        0.08,
        at(fit, "intervals", "ece_after"),
        note=note,
    )
    yield _precision(fit)
    yield Criterion(
        5,
        "coverage of species answers",
        "share",
        at(fit, "coverage"),
        ">=",
        0.80,
        at(fit, "coverage_interval"),
    )
    rate = at(fit, "not_conclusive_rate")
    note = "after backing off to genus; pulls against the precision"
    yield Criterion(5, "not conclusive", "share", rate, "<", 0.05, note=note)


def _precision(fit: dict[str, Any] | None) -> Criterion:
    note = ""
    if fit and fit["threshold"] is None:
        note = "no threshold reaches it on val, so no species is answered"
    elif fit:
        note = f"threshold {fit['threshold']:.2f}, chosen on val"
    return Criterion(
        5,
        "precision of species answers",
        "share",
        at(fit, "accuracy"),
        ">=",
        0.95,
        at(fit, "accuracy_interval"),
        note=note,
    )


def _size(found: Findings) -> Iterator[Criterion]:
    size = None if found.bundle is None else found.bundle["bytes"] / 1e6
    note = f"the bundle, weights {found.bundle['weights']}" if found.bundle else ""
    yield Criterion(6, "model, the plan's limit", "MB", size, "<=", 150, note=note)
    yield Criterion(6, "student model", "MB", size, "<=", 20, note=note)


def _browser(found: Findings) -> Iterator[Criterion]:
    validation = found.validation
    variants = at(validation, "variants") or {}
    shipped = at(found.bundle, "weights") or "float32"
    row = variants.get(shipped)
    name = f"correlation of JAX and browser, {shipped}"
    yield Criterion(6, name, "number", at(row, "correlation"), ">", 0.995)
    for precision, target in _AGREEMENT.items():
        other = variants.get(precision)
        note = f"misses {other['misses']}, ties {other['ties']}" if other else ""
        yield Criterion(
            6,
            f"top-1 agreement with JAX, {precision}",
            "share",
            at(other, "top1_agreement"),
            ">=",
            target,
            at(other, "top1_agreement_interval"),
            note=note,
        )
    backend = at(validation, "backend") or "wasm"
    seconds, where = (2, "GPU") if backend in _GPU_BACKENDS else (5, "CPU")
    name = f"one photo in the browser, {where}"
    median = at(row, "median_ms")
    note = f"backend {backend}"
    yield Criterion(6, name, "ms", median, "<", 1000 * seconds, note=note)


def _reproducibility(found: Findings) -> Criterion:
    """Measured where a run was trained twice, in two working directories."""
    name, repeats = "same seed, same metrics", stage_records.repeats(found.records)
    if not repeats:
        note = "train a run again with another --workdir beside it"
        return Criterion(7, name, "error", None, "<=", 0, note=note)
    worst = max(
        repeats, key=lambda repeat: (repeat.difference, not repeat.same_weights)
    )
    weights = "equal" if all(r.same_weights for r in repeats) else "not equal"
    note = f"{worst.first.name} and {worst.second.name}; weights {weights}, bit for bit"
    return Criterion(7, name, "error", worst.difference, "<=", 0, note=note)


def _against_labels(found: Findings) -> Iterator[Criterion]:
    """Ours: does distillation beat the labels alone, where stage compare has both?"""
    for pair in at(found.comparison, "pairs") or []:
        if pair["reference"] != LABELS or not pair["with_reference"]:
            continue
        row = pair["differences"]["top1_accuracy"]
        p = pair["p_holm"]
        note = "not in the plan" if p is None else f"not in the plan; p {p:.3f}"
        if "+" not in pair["run"]:
            note += "; one run each, another seed may turn it"
        name = f"{short(pair['run'])} over the labels alone"
        yield Criterion(
            *(4, name, "points", row["difference"], ">", 0.0, row["interval"], note),
            significant=pair["significant"],
        )


def _unknown(found: Findings) -> Iterator[Criterion]:
    """Ours, without a target: how often a species is answered where none is right."""
    for kind, name in _UNKNOWN.items():
        row = (at(found.out_of_distribution, "kinds") or {}).get(kind)
        if row and row["images"]:
            said = row["species"]
            drawn = row["sampled"]
            of = f"{row['images']:,} of {drawn['groups']:,} {drawn['what']}"
            note = f"{of}; measured only, the plan has no target"
            share, ends = said["share"], said["interval"]
            yield Criterion(5, name, "share", share, "", None, ends, note)


def _of_test(
    phase: int,
    name: str,
    run: Run,
    field: str,
    relation: str = "",
    target: float | None = None,
    *,
    note: str = "",
) -> Criterion:
    """A row about a field of the run's metrics on test."""
    interval = at(run.test, "intervals", field)
    measured = at(run.test, field)
    return Criterion(phase, name, "share", measured, relation, target, interval, note)
