"""Temperature and thresholds chosen on val, and what they do on test; pure.

In: logits of both splits. Out: most of `calibration.json`, whose fields are listed in
`calibrate.py`. Errors and coverages are shares, 0 to 1, losses nats; intervals are
95 %, by Wilson, since an accuracy near 1 over few answers is where bootstraps fail.
"""

import dataclasses
from typing import Any

import numpy as np

from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import (
    calibration,
    calibration_notes,
    intervals,
    vector_scaling,
)
from aplantida_jax.evaluate.answers import Answers


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """Logits of a split: image_id uint64 [n], label int32 [n], logits [n, classes].

    `group` [n] tells which photos resemble each other; None is that none do.
    """

    image_id: np.ndarray
    label: np.ndarray
    logits: np.ndarray
    group: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """How answers are judged and decided; see `config.calibrate`."""

    genus_of: np.ndarray  # int32 [classes]
    class_mask: np.ndarray | None  # bool [classes]
    bins: int
    accuracy_target: float
    grid: np.ndarray  # thresholds of a species, ascending
    genus_grid: np.ndarray | None = None  # of a genus; None is the same
    folds: int = -1  # that judge vector scaling; -1 leaves it out
    penalty: float = 30.0  # of vector scaling, in photos of a class


def assess(val: Scored, test: Scored, *, rule: Rule) -> dict[str, Any]:
    """The content of `calibration.json` from `accuracy_target` on; pure.

    Whatever is chosen is chosen on val; test is only described.
    """
    temperature, found = calibration.fit_temperature(
        val.logits, val.label, class_mask=rule.class_mask
    )
    if not found:
        # The bound would make every answer certain, or none; nothing speaks for it.
        temperature = 1.0
    on_val = _judge(val, temperature, rule)
    on_test = _judge(test, temperature, rule)
    chosen = choose(on_val, rule=rule)
    described = _describe(val, on_val, temperature, chosen, rule)
    return {
        "accuracy_target": rule.accuracy_target,
        "notes": calibration_notes.of(
            on_val, chosen, rule=rule, temperature_found=found
        ),
        "temperature": temperature,
        "temperature_found": found,
        **chosen,
        **_describe(test, on_test, temperature, chosen, rule),
        "vector_scaling": _vector_scaling(val, test, temperature, rule),
        "val": described,
        "test": {"images": len(test.label)},
    }


def _vector_scaling(
    val: Scored, test: Scored, temperature: float, rule: Rule
) -> dict[str, Any] | None:
    """What vector scaling would do; None where val is too small to tell."""
    if rule.folds < 0:
        return None
    common: dict[str, Any] = {"class_mask": rule.class_mask}
    found = vector_scaling.cross_validate(
        val.logits,
        val.label,
        val.image_id if val.group is None else val.group,
        folds=rule.folds,
        penalty=rule.penalty,
        bins=rule.bins,
        **common,
    )
    if found is None:
        return None
    fitted = vector_scaling.fit(
        val.logits,
        val.label,
        temperature=temperature,
        penalty=rule.penalty,
        **common,
    )
    ways = {"temperature": test.logits / temperature, "vector": fitted.of(test.logits)}
    on_test = {
        name: vector_scaling.measure(z, test.label, bins=rule.bins, **common)
        for name, z in ways.items()
    }
    return {"cross_validated_on_val": found, "on_test": on_test}


def choose(on_val: Answers, *, rule: Rule) -> dict[str, Any]:
    """The thresholds (None where none reaches the target), and how near val came."""
    species = calibration.threshold_table(
        on_val.confidence, on_val.correct, grid=rule.grid, total=len(on_val)
    )
    row, best = _pick(species, rule)
    assured = _assured(species, rule)
    threshold = row["threshold"] if row else None
    answered, _ = calibration.decide(on_val, threshold=threshold, genus_threshold=None)
    left = on_val.at(~answered)
    genus = calibration.threshold_table(
        left.genus_probability,
        left.genus_correct,
        grid=rule.grid if rule.genus_grid is None else rule.genus_grid,
        total=len(on_val),
    )
    genus_row, genus_best = _pick(genus, rule)
    return {
        "threshold": threshold,
        "best_available": best,
        "assured_threshold": assured["threshold"] if assured else None,
        "genus_threshold": genus_row["threshold"] if genus_row else None,
        "genus_best_available": genus_best,
        "left_under_threshold": {
            "images": len(left),
            "accuracy": _mean(left.correct),
            "genus_accuracy": _mean(left.genus_correct),
        },
    }


def _assured(table: list[dict[str, Any]], rule: Rule) -> dict[str, Any] | None:
    """The smallest threshold whose accuracy is at least the target with 97.5 %.

    Told beside the threshold; it is where a cautious user would put it.
    """
    for row in table:
        if row["answered"] and row["accuracy_interval"][0] >= rule.accuracy_target:
            return row
    return None


def _mean(right: np.ndarray) -> float | None:
    return float(right.mean()) if len(right) else None


def _pick(
    table: list[dict[str, Any]], rule: Rule
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(chosen row, None), or (None, the best row) where no threshold will do."""
    rows = [row for row in table if row["answered"] >= calibration.LEAST_ANSWERED]
    chosen = calibration.choose_threshold(rows, target=rule.accuracy_target)
    return chosen, None if chosen else calibration.best_available(rows)


def _judge(scored: Scored, temperature: float, rule: Rule) -> Answers:
    return answers_lib.judge(
        scored.image_id,
        scored.label,
        scored.logits,
        genus_of=rule.genus_of,
        temperature=temperature,
        class_mask=rule.class_mask,
    )


def _describe(
    scored: Scored,
    answers: Answers,
    temperature: float,
    chosen: dict[str, Any],
    rule: Rule,
) -> dict[str, Any]:
    """One split: errors before and after, and what the thresholds make of it."""
    curve, aurc = calibration.risk_coverage(answers.confidence, answers.correct)
    before = _errors(scored, _judge(scored, 1.0, rule), 1.0, rule)
    after = _errors(scored, answers, temperature, rule)
    return {
        "images": len(answers),
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        **_outcome(answers, chosen),
        "aurc": aurc,
        "risk_coverage": curve,
        "threshold_table": calibration.threshold_table(
            answers.confidence, answers.correct, grid=rule.grid, total=len(answers)
        ),
    }


def _errors(
    scored: Scored, answers: Answers, temperature: float, rule: Rule
) -> dict[str, Any]:
    confidence, correct = answers.confidence, answers.correct
    table = calibration.reliability(confidence, correct, bins=rule.bins)
    return {
        "loss": float(answers.nll.mean()),
        "brier": calibration.brier(
            scored.logits,
            scored.label,
            temperature=temperature,
            class_mask=rule.class_mask,
        ),
        "ece": table.ece,
        "mce": table.mce,
        "adaptive_ece": calibration.adaptive_reliability(
            confidence, correct, bins=rule.bins
        ).ece,
        "classwise_ece": calibration.classwise_ece(
            scored.logits,
            scored.label,
            bins=rule.bins,
            temperature=temperature,
            class_mask=rule.class_mask,
        ),
        "reliability": table.to_json(),
    }


def _outcome(answers: Answers, chosen: dict[str, Any]) -> dict[str, Any]:
    """What the app would do: species, genus, or "no concluyente"."""
    species, genus = calibration.decide(
        answers,
        threshold=chosen["threshold"],
        genus_threshold=chosen["genus_threshold"],
    )
    right = answers.correct[species]
    genus_right = answers.genus_correct[genus]
    return {
        "coverage": float(species.mean()),
        "coverage_interval": intervals.wilson(int(species.sum()), len(species)),
        "accuracy": _mean(right),
        "accuracy_interval": intervals.wilson(int(right.sum()), len(right)),
        "genus_coverage": float(genus.mean()),
        "genus_accuracy": _mean(genus_right),
        "genus_accuracy_interval": intervals.wilson(
            int(genus_right.sum()), len(genus_right)
        ),
        "not_conclusive_rate": float((~species & ~genus).mean()),
    }
