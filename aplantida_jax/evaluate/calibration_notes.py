"""What a reader of a calibration must know before trusting it, as sentences.

In: the answers on val after the temperature, and what was chosen there (see
`decision.choose`). Out: `notes` of calibration.json; none where all is well.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from aplantida_jax.evaluate import intervals, thresholds
from aplantida_jax.evaluate.answers import Answers

if TYPE_CHECKING:
    from aplantida_jax.evaluate.decision import Rule

FEW_IMAGES = 100  # a val smaller than this decides a threshold by chance
# A true accuracy this far under the target, and still possible, is worth a word.
_FAR_BELOW = 0.03


def of(
    on_val: Answers, chosen: dict[str, Any], *, rule: "Rule", temperature_found: bool
) -> list[str]:
    """The notes of a calibration.

    Args:
        on_val: the answers on val.
        chosen: what `decision.choose` chose on them.
        rule: how.
        temperature_found: False when the loss on val has no minimum.
    """
    notes = [
        *_of_val(on_val, rule),
        *([] if temperature_found else [_of_temperature(on_val)]),
        *_of_species(on_val, chosen, rule),
        *_of_genus(chosen),
    ]
    return notes


def _of_val(on_val: Answers, rule: "Rule") -> list[str]:
    notes = []
    if len(on_val) < FEW_IMAGES:
        images = f"{len(on_val)} images" if len(on_val) > 1 else "one image"
        notes.append(f"val has only {images}: temperature and thresholds may be chance")
    mask = rule.class_mask
    classes = len(rule.genus_of) if mask is None else int(mask.sum())
    absent = classes - len(np.unique(on_val.label))
    if absent:
        notes.append(
            f"{absent} of {classes} classes have no image in val: what is chosen says "
            "nothing of them"
        )
    return notes


def _of_temperature(on_val: Answers) -> str:
    right = int(on_val.correct.sum())
    share = {0: "no answer", len(on_val): "every answer"}.get(
        right, f"{right} of {len(on_val)} answers"
    )
    return (
        f"no temperature minimises the loss on val ({share} there is right): it stays 1"
    )


def _of_species(on_val: Answers, chosen: dict[str, Any], rule: "Rule") -> list[str]:
    best, threshold = chosen["best_available"], chosen["threshold"]
    if threshold is None and best is None:
        return [
            "no threshold can be chosen: fewer than "
            f"{thresholds.LEAST_ANSWERED} answers on val are as confident as the "
            "lowest one"
        ]
    if threshold is None:
        return [
            f"no threshold reaches the accuracy target on val; the best is "
            f"{best['accuracy']:.1%} at {best['threshold']:.2f} with coverage "
            f"{best['coverage']:.1%}, so the species is never answered as certain"
        ]
    inside = on_val.confidence >= threshold
    right = on_val.correct[inside]
    interval = intervals.wilson_by_group(right, on_val.group[inside])
    if interval is None or interval[0] >= rule.accuracy_target - _FAR_BELOW:
        return []
    return [
        f"the threshold rests on {len(right)} answers of val: the true accuracy of "
        f"what it lets pass may be {interval[0]:.1%} to {interval[1]:.1%}"
    ]


def _of_genus(chosen: dict[str, Any]) -> list[str]:
    """Why the genus is never answered, where it is not."""
    left = chosen["left_under_threshold"]
    if chosen["genus_threshold"] is not None or not left["images"]:
        return []
    best = chosen["genus_best_available"]
    reached = (
        f"fewer than {thresholds.LEAST_ANSWERED} of them are certain enough"
        if best is None
        else f"at best {best['accuracy']:.1%} of {best['answered']}"
    )
    return [
        f"the genus is never answered: of the {left['images']} answers on val under "
        f"the threshold {left['accuracy']:.1%} have the right species and "
        f"{left['genus_accuracy']:.1%} the right genus, {reached}"
    ]
