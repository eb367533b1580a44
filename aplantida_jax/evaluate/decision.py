"""Temperature and thresholds chosen on val, and what they do on test; pure.

In: logits of both splits. Out: most of `calibration.json`, whose fields are listed in
`calibrate.py`. Errors and coverages are shares, 0 to 1, losses nats; intervals are
95 %, of accuracies by Wilson (with as many trials as the groups of photos are worth),
since an accuracy near 1 over few answers is where bootstraps fail.
"""

import dataclasses
from typing import Any

import numpy as np

from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import (
    calibration,
    calibration_intervals,
    calibration_notes,
    intervals,
    thresholds,
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
    resamples: int = 1000  # of the bootstrap on test
    seed: int = 0


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
    chosen = choose(on_val, rule=rule)
    described = _describe(
        val, _judge(val, 1.0, rule), on_val, temperature, chosen, rule
    )
    before, on_test = _judge(test, 1.0, rule), _judge(test, temperature, rule)
    drawn = {"resamples": rule.resamples, "seed": rule.seed}
    return {
        "accuracy_target": rule.accuracy_target,
        "notes": calibration_notes.of(
            on_val, chosen, rule=rule, temperature_found=found
        ),
        "temperature": temperature,
        "temperature_found": found,
        **chosen,
        **_describe(test, before, on_test, temperature, chosen, rule),
        "bootstrap": {
            "resampled": "groups",
            "groups": len(np.unique(on_test.group)),
            **drawn,
        },
        "intervals": calibration_intervals.of(before, on_test, bins=rule.bins, **drawn),
        "val": described,
        "test": {"images": len(test.label)},
    }


def choose(on_val: Answers, *, rule: Rule) -> dict[str, Any]:
    """The thresholds (None where none reaches the target), and how near val came."""
    species = _table(on_val, rule)
    row, best = _pick(species, rule)
    assured = thresholds.assured(species, target=rule.accuracy_target)
    threshold = row["threshold"] if row else None
    answered, _ = calibration.decide(on_val, threshold=threshold, genus_threshold=None)
    left = on_val.at(~answered)
    genus = thresholds.table(
        left.genus_probability,
        left.genus_correct,
        grid=rule.grid if rule.genus_grid is None else rule.genus_grid,
        total=len(on_val),
        group=left.group,
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


def _mean(right: np.ndarray) -> float | None:
    return float(right.mean()) if len(right) else None


def _pick(
    table: list[dict[str, Any]], rule: Rule
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(chosen row, None), or (None, the best row) where no threshold will do."""
    rows = [row for row in table if row["answered"] >= thresholds.LEAST_ANSWERED]
    chosen = thresholds.choose(rows, target=rule.accuracy_target)
    return chosen, None if chosen else thresholds.best_available(rows)


def _judge(scored: Scored, temperature: float, rule: Rule) -> Answers:
    return answers_lib.judge(
        scored.image_id,
        scored.label,
        scored.logits,
        genus_of=rule.genus_of,
        temperature=temperature,
        class_mask=rule.class_mask,
        group=scored.group,
    )


def _table(answers: Answers, rule: Rule) -> list[dict[str, Any]]:
    return thresholds.table(
        answers.confidence,
        answers.correct,
        grid=rule.grid,
        total=len(answers),
        group=answers.group,
    )


def _describe(
    scored: Scored,
    uncalibrated: Answers,
    answers: Answers,
    temperature: float,
    chosen: dict[str, Any],
    rule: Rule,
) -> dict[str, Any]:
    """One split: errors before and after, and what the thresholds make of it."""
    curve, aurc = calibration.risk_coverage(answers.confidence, answers.correct)
    before = _errors(scored, uncalibrated, 1.0, rule)
    after = _errors(scored, answers, temperature, rule)
    return {
        "images": len(answers),
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        **_outcome(answers, chosen),
        "aurc": aurc,
        "risk_coverage": curve,
        "threshold_table": _table(answers, rule),
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
        "coverage_interval": intervals.wilson_by_group(species, answers.group),
        "accuracy": _mean(right),
        "accuracy_interval": intervals.wilson_by_group(right, answers.group[species]),
        "genus_coverage": float(genus.mean()),
        "genus_accuracy": _mean(genus_right),
        "genus_accuracy_interval": intervals.wilson_by_group(
            genus_right, answers.group[genus]
        ),
        "not_conclusive_rate": float((~species & ~genus).mean()),
    }
