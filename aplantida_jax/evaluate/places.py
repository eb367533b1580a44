"""Accuracy by place: per region, and with and without the country prior.

Both answer "how good is it where I am?". In: answers about n images and the logits
[n, classes] that they come from. Out: plain JSON; accuracies are shares, 0 to 1.
"""

import dataclasses
from typing import Any

import numpy as np

from aplantida_jax.data import regions
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import intervals, metrics
from aplantida_jax.evaluate.answers import Answers
from aplantida_jax.evaluate.intervals import Groups


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """A model's answers, with what it takes to answer again under another assumption.

    Attributes:
        answers: about n images.
        logits: float32 [n, classes].
        label_map: of the classes.
        class_mask: bool [classes] that the model may answer, None is all.
        bootstrap, seed: of the intervals.
    """

    answers: Answers
    logits: np.ndarray
    label_map: LabelMap
    class_mask: np.ndarray | None
    bootstrap: int
    seed: int

    def again(
        self,
        images: np.ndarray,
        *,
        class_mask: np.ndarray | None = None,
        log_prior: np.ndarray | None = None,
    ) -> Answers:
        """Answers about `images` (bool [n]) among fewer classes, or with a prior."""
        masks = [m for m in (self.class_mask, class_mask) if m is not None]
        part = self.answers.at(images)
        return answers_lib.judge(
            part.image_id,
            part.label,
            self.logits[images],
            genus_of=answers_lib.genera(self.label_map)[0],
            class_mask=np.logical_and.reduce(masks) if masks else None,
            log_prior=log_prior,
            group=part.group,
        )

    def intervals(self, answers: Answers) -> dict[str, list[float] | None]:
        """Of what `metrics.accuracy` says of `answers`."""
        return metrics.accuracy_intervals(
            answers, resamples=self.bootstrap, seed=self.seed
        )


def per_region(judged: Judged) -> dict[str, dict[str, Any]]:
    """Accuracy over the images whose plant belongs to each region.

    `top1_accuracy` lets every class of the model be answered; `masked_top1_accuracy`
    only the region's, as if the user had said where they are.
    """
    rows = {}
    for region in regions.REGIONS:
        mask = np.array(judged.label_map.in_regions((region,)))
        inside = mask[judged.answers.label]
        part = judged.answers.at(inside)
        row: dict[str, Any] = {
            "classes": int(mask.sum()),
            **metrics.accuracy(part),
            "masked_top1_accuracy": None,
            "intervals": judged.intervals(part),
        }
        # A teacher of another region may have no class here at all.
        if judged.class_mask is None or (mask & judged.class_mask).any():
            masked = judged.again(inside, class_mask=mask)
            row["masked_top1_accuracy"] = metrics.mean(masked.correct)
            found = judged.intervals(masked)["top1_accuracy"]
            row["intervals"]["masked_top1_accuracy"] = found
        rows[region] = row
    return rows


def country(judged: Judged, *, code: str, weight: float) -> dict[str, Any] | None:
    """Accuracy with and without the soft country prior; None when it is switched off.

    `here` is on images of plants known from the country: what its user meets.
    `elsewhere` is on the other plants: what the prior costs who forgot to change it.

    Args:
        judged: see there.
        code: ISO-2, "" for none.
        weight: of the prior, in log space; 0 switches it off.
    """
    if not code or weight == 0:
        return None
    prior = answers_lib.country_log_prior(judged.label_map, code, weight)
    here = prior[judged.answers.label] != 0
    found: dict[str, Any] = {
        "code": code,
        "prior_weight": weight,
        "classes": int((prior != 0).sum()),
    }
    for place, images in (("here", here), ("elsewhere", ~here)):
        without = judged.answers.at(images)
        with_prior = judged.again(images, log_prior=prior)
        found[place] = {
            "images": int(images.sum()),
            "without_prior": _short(judged, without),
            "with_prior": _short(judged, with_prior),
            "gain": _gain(judged, without, with_prior),
        }
    return found


def _short(judged: Judged, answers: Answers) -> dict[str, Any]:
    fields = ("top1_accuracy", "top5_accuracy", "loss")
    found, ends = metrics.accuracy(answers), judged.intervals(answers)
    return {
        **{field: found[field] for field in fields},
        "intervals": {field: ends.get(field) for field in fields},
    }


def _gain(judged: Judged, without: Answers, with_prior: Answers) -> dict[str, Any]:
    """Of top-1 by the prior, on the same photos, so that its interval is paired."""
    groups = Groups.of(without.group)
    step = with_prior.correct.astype(np.float64) - without.correct
    ends = intervals.bootstrap(
        {"top1_accuracy": intervals.mean_of(step, groups)},
        groups,
        resamples=judged.bootstrap,
        seed=judged.seed,
    )
    return {"top1_accuracy": metrics.mean(step), "interval": ends["top1_accuracy"]}
