"""Temperature and thresholds chosen on val, and what they do on test; pure.

In: logits of both splits. Out: most of `calibration.json`, whose fields are listed in
`calibrate.py`. Errors and coverages are shares, 0 to 1, losses nats; intervals are
95 %, by Wilson, since an accuracy near 1 over few answers is where bootstraps fail.
"""

import dataclasses
from typing import Any

import numpy as np

from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import calibration, intervals
from aplantida_jax.evaluate.answers import Answers

FEW_IMAGES = 100  # a val smaller than this decides a threshold by chance
# Of fewer answers, 95 % right can only be all of them, which may be luck.
LEAST_ANSWERED = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """Logits of a split: image_id uint64 [n], label int32 [n], logits [n, classes]."""

    image_id: np.ndarray
    label: np.ndarray
    logits: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """How answers are judged and decided; see `config.calibrate`."""

    genus_of: np.ndarray  # int32 [classes]
    class_mask: np.ndarray | None  # bool [classes]
    bins: int
    accuracy_target: float
    grid: np.ndarray  # thresholds, ascending


def assess(val: Scored, test: Scored, *, rule: Rule) -> dict[str, Any]:
    """The content of `calibration.json` from `temperature` on; pure."""
    temperature, found = calibration.fit_temperature(
        val.logits, val.label, class_mask=rule.class_mask
    )
    on_val = _judge(val, temperature, rule)
    on_test = _judge(test, temperature, rule)
    chosen = choose(on_val, rule=rule)
    rows = {
        "val": _describe(val, on_val, temperature, chosen, rule),
        "test": _describe(test, on_test, temperature, chosen, rule),
    }
    return {
        "accuracy_target": rule.accuracy_target,
        "notes": _notes(val, found, chosen),
        "temperature": temperature,
        "temperature_found": found,
        **chosen,
        **rows["test"],
        "val": rows["val"],
        "test": {"images": len(test.label)},
    }


def choose(on_val: Answers, *, rule: Rule) -> dict[str, Any]:
    """The thresholds (None where none reaches the target), and how near val came."""
    species = calibration.threshold_table(
        on_val.confidence, on_val.correct, grid=rule.grid, total=len(on_val)
    )
    row, best = _pick(species, rule)
    threshold = row["threshold"] if row else None
    answered, _ = calibration.decide(on_val, threshold=threshold, genus_threshold=None)
    left = on_val.at(~answered)
    genus = calibration.threshold_table(
        left.genus_probability, left.genus_correct, grid=rule.grid, total=len(on_val)
    )
    genus_row, genus_best = _pick(genus, rule)
    return {
        "threshold": threshold,
        "best_available": best,
        "genus_threshold": genus_row["threshold"] if genus_row else None,
        "genus_best_available": genus_best,
    }


def _pick(
    table: list[dict[str, Any]], rule: Rule
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(chosen row, None), or (None, the best row) where no threshold will do."""
    rows = [row for row in table if row["answered"] >= LEAST_ANSWERED]
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
        "accuracy": float(right.mean()) if len(right) else None,
        "accuracy_interval": intervals.wilson(int(right.sum()), len(right)),
        "genus_coverage": float(genus.mean()),
        "genus_accuracy": float(genus_right.mean()) if len(genus_right) else None,
        "not_conclusive_rate": float((~species & ~genus).mean()),
    }


def _notes(val: Scored, found: bool, chosen: dict[str, Any]) -> list[str]:
    notes = []
    if len(val.label) < FEW_IMAGES:
        notes.append(
            f"val has only {len(val.label)} images: temperature and thresholds may be "
            "chance"
        )
    if not found:
        notes.append("no temperature minimises the loss on val: the bound is used")
    best = chosen["best_available"]
    if chosen["threshold"] is None and best is not None:
        notes.append(
            f"no threshold reaches the accuracy target on val; the best is "
            f"{best['accuracy']:.1%} at {best['threshold']:.2f} with coverage "
            f"{best['coverage']:.1%}, so the species is never answered as certain"
        )
    elif chosen["threshold"] is None:
        notes.append(
            f"no threshold can be chosen: fewer than {LEAST_ANSWERED} answers on val "
            "are as confident as the lowest one"
        )
    return notes
