"""Which of several models is better, by how much, and is it more than chance? Pure.

In: what runs answered about the photos of a split. Out: most of `comparison.json`,
whose fields are listed in `compare.py`.

Two single runs are compared on the photos: the interval of a difference is the
percentile bootstrap over groups of photos, the same draws for both (paired), and p is
the exact McNemar test by group. Both are about these two trained models: with other
seeds each would come out otherwise, and which is better may turn. A note says so.

Where a side is several runs ("a+b+c", one way of training with several seeds), the
claim is about the ways, and the seeds are a sample too: see `estimate.py`.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from aplantida_jax.evaluate import significance
from aplantida_jax.evaluate.estimate import Ground
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.measures import (
    ALL,
    BAND,
    METRICS,
    REGION,
    Contender,
    Measures,
)
from aplantida_jax.progress import track

BY_GROUP = "exact McNemar by group"
OVER_SEEDS = "Welch over seeds and groups"


def table(contenders: Sequence[Contender], measures: Measures) -> dict[str, Any]:
    """The content of `comparison.json` from `reference` on; the first is that."""
    both = list(itertools.combinations(contenders, 2))
    pairs = [
        {
            **_pair(sides, contenders, measures),
            "with_reference": sides[0] is contenders[0],
        }
        for sides in track(both, total=len(both), what="compare", unit="pairs")
    ]
    _correct(pairs)
    return {
        "reference": contenders[0].name,
        "runs": [_row(contender, contenders, measures) for contender in contenders],
        "pairs": pairs,
        "significant": [_verdict(pair) for pair in pairs if pair["significant"]],
        "notes": list(_notes(contenders, pairs)),
    }


def corrected(pair: dict[str, Any]) -> float:
    """The p that decides on a pair."""
    return pair["p_holm_all"] if pair["p_holm"] is None else pair["p_holm"]


def _row(
    contender: Contender, contenders: Sequence[Contender], measures: Measures
) -> dict[str, Any]:
    ground = Ground.of((contender,), contenders, measures)
    groups = Groups.of(contender.members[0].at(ground.photos).group)
    row: dict[str, Any] = {
        "name": contender.name,
        "members": [member.name for member in contender.members],
        "trained_on": sorted({member.trained_on for member in contender.members}),
        "images": len(ground.photos),
        "groups": groups.count,
        "intervals": {},
        "by_member": {},
    }
    for metric in METRICS:
        estimate = ground.estimate((contender,), ALL, metric, groups)
        row[metric] = estimate.value
        row["intervals"][metric] = estimate.interval
        side = ground.side(contender, ALL, metric)
        row["by_member"][metric] = [member.value for member in side]
    return row


def _pair(
    sides: Sequence[Contender], contenders: Sequence[Contender], measures: Measures
) -> dict[str, Any]:
    ground = Ground.of(sides, contenders, measures)
    first, second = sides
    about = first.members[0].at(ground.photos)
    groups = Groups.of(about.group)
    members = first.members + second.members
    found = {
        part: {
            "images": int(inside.sum()),
            "classes": len(np.unique(about.label[inside])),
            "differences": _differences(
                sides, part, Groups.of(about.group[inside]), ground
            ),
        }
        for part, inside in measures.parts(about.label).items()
    }
    whole = ground.estimate(sides, ALL, METRICS[0], groups)
    mcnemar, p = None, whole.p
    if len(members) == 2:
        mcnemar, p = _mcnemar(first, second, ground.photos, groups)
    return {
        "reference": first.name,
        "run": second.name,
        "images": len(ground.photos),
        "groups": groups.count,
        "partial": len(ground.photos) < max(len(run.image_id) for run in members),
        "test": OVER_SEEDS if mcnemar is None else BY_GROUP,
        "differences": found[ALL]["differences"],
        "seeds": whole.seeds,
        "mcnemar": mcnemar,
        "p": 1.0 if p is None else p,
        "bands": _named(found, BAND),
        "per_region": _named(found, REGION),
    }


def _named(found: dict[str, Any], kind: str) -> dict[str, Any]:
    return {k.removeprefix(kind): v for k, v in found.items() if k.startswith(kind)}


def _differences(
    sides: Sequence[Contender], part: str, groups: Groups, ground: Ground
) -> dict[str, Any]:
    """By metric, second minus first over a part of the photos; None without photos."""
    found = {}
    for metric in METRICS:
        estimate = ground.estimate(sides, part, metric, groups)
        found[metric] = {
            "difference": estimate.value,
            "interval": estimate.interval,
        }
    return found


def _mcnemar(
    first: Contender, second: Contender, photos: np.ndarray, groups: Groups
) -> tuple[dict[str, Any], float]:
    """(the test on photos, p of the test on groups), of two single runs."""
    left, right = (c.members[0].at(photos).label_rank == 0 for c in (first, second))
    step = right.astype(int) - left.astype(int)
    only_reference, only_run = int((step < 0).sum()), int((step > 0).sum())
    totals = np.bincount(groups.of_image, weights=step, minlength=groups.count)
    told = {
        "only_reference": only_reference,
        "only_run": only_run,
        "p": significance.mcnemar(only_reference, only_run),
    }
    return told, significance.mcnemar_by_group(totals.astype(int))


def _correct(pairs: list[dict[str, Any]]) -> None:
    """Adds p_holm, p_holm_all and significant."""
    family = [pair for pair in pairs if pair["with_reference"]]
    for pair, p in zip(pairs, significance.holm([x["p"] for x in pairs]), strict=True):
        pair |= {"p_holm": None, "p_holm_all": p}
    for pair, p in zip(
        family, significance.holm([x["p"] for x in family]), strict=True
    ):
        pair["p_holm"] = p
    for pair in pairs:
        pair["significant"] = corrected(pair) < significance.LEVEL


def _verdict(pair: dict[str, Any]) -> dict[str, Any]:
    step = pair["differences"]["top1_accuracy"]["difference"]
    names = (pair["run"], pair["reference"])
    better, worse = names if step > 0 else names[::-1]
    return {
        "better": better,
        "worse": worse,
        "difference": abs(step),
        "p": corrected(pair),
        "test": pair["test"],
    }


def _notes(
    contenders: Sequence[Contender], pairs: Sequence[dict[str, Any]]
) -> Iterator[str]:
    for pair in pairs:
        if pair["partial"]:
            yield (
                f"{pair['run']} and {pair['reference']} are compared on the "
                f"{pair['images']} photos that both answered"
            )
    yield from _notes_of_seeds(contenders, pairs)


def _notes_of_seeds(
    contenders: Sequence[Contender], pairs: Sequence[dict[str, Any]]
) -> Iterator[str]:
    alone = ", ".join(c.name for c in contenders if len(c.members) == 1)
    told = next((pair["seeds"] for pair in pairs if pair["seeds"]), None)
    if told:
        yield (
            "seeds of a way lie apart by a standard deviation of "
            f"{100 * told['standard_deviation']:.1f} points of top-1, pooled as if it "
            f"were equal in all ways ({told['degrees_of_freedom']} degrees of freedom)"
        )
    if alone and told:
        yield (
            f"of {alone} one run is known: against a way of several it is given the "
            "spread of their seeds"
        )
    if any(pair["test"] == BY_GROUP for pair in pairs):
        yield (
            "two single runs are compared as these trained models: another seed may "
            'turn which is better; compare ways with several ("a+b" in compare.runs) '
            "to know"
        )
