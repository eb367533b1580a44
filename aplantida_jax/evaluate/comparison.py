"""Which of several models is better, by how much, and is it more than chance? Pure.

In: what runs answered about the photos of a split. Out: most of `comparison.json`,
whose fields are listed in `compare.py`.

Two single runs are compared on the photos: the interval of a difference is the
percentile bootstrap over groups of photos, the same draws for both (paired), and p is
the exact McNemar test by group. Both are about these two trained models.

Where a side is several runs ("a+b+c", one way of training with several seeds), the
claim is about the way, so the seeds are a sample too. The variance of the difference of
the means is then the sum of the photos' (bootstrap over groups, runs as they are) and
of each side's seeds' (their variance / their number), and interval and p are Student's
t with Welch's degrees of freedom. Drawing two or three seeds with replacement instead
would pretend to know their spread, and find differences where there are none.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from aplantida_jax.evaluate import intervals, significance
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.measures import (
    ALL,
    BAND,
    METRICS,
    REGION,
    Contender,
    Measured,
    Measures,
    common_photos,
)
from aplantida_jax.progress import track

BY_GROUP = "exact McNemar by group"
OVER_SEEDS = "Welch over seeds and groups"


def table(contenders: Sequence[Contender], measures: Measures) -> dict[str, Any]:
    """The content of `comparison.json` from `reference` on; the first is that."""
    both = list(itertools.combinations(contenders, 2))
    pairs = [
        {**_pair(*sides, measures), "with_reference": sides[0] is contenders[0]}
        for sides in track(both, total=len(both), what="compare", unit="pairs")
    ]
    _correct(pairs)
    return {
        "reference": contenders[0].name,
        "runs": [_row(contender, measures) for contender in contenders],
        "pairs": pairs,
        "significant": [_verdict(pair) for pair in pairs if pair["significant"]],
        "notes": list(_notes(contenders, pairs)),
    }


def corrected(pair: dict[str, Any]) -> float:
    """The p that decides on a pair."""
    return pair["p_holm_all"] if pair["p_holm"] is None else pair["p_holm"]


def _row(contender: Contender, measures: Measures) -> dict[str, Any]:
    photos = common_photos((contender,))
    groups = Groups.of(contender.members[0].at(photos).group)
    row: dict[str, Any] = {
        "name": contender.name,
        "members": [member.name for member in contender.members],
        "trained_on": sorted({member.trained_on for member in contender.members}),
        "images": len(photos),
        "groups": groups.count,
        "intervals": {},
        "by_member": {},
    }
    for metric in METRICS:
        side = measures.side(contender, photos, ALL, metric)
        row[metric] = _mean(side)
        row["intervals"][metric], _ = _estimate([side], groups)
        row["by_member"][metric] = [member.value for member in side]
    return row


def _pair(first: Contender, second: Contender, measures: Measures) -> dict[str, Any]:
    photos = common_photos((first, second))
    about = first.members[0].at(photos)
    groups = Groups.of(about.group)
    members = first.members + second.members
    found = {
        part: {
            "images": int(inside.sum()),
            "classes": len(np.unique(about.label[inside])),
            "differences": _differences(
                first, second, photos, part, Groups.of(about.group[inside]), measures
            ),
        }
        for part, inside in measures.parts(about.label).items()
    }
    single = len(members) == 2
    mcnemar: dict[str, Any] | None = None
    p: float | None
    if single:
        mcnemar, p = _mcnemar(first, second, photos, groups)
    else:
        sides = [measures.side(c, photos, ALL, METRICS[0]) for c in (first, second)]
        p = _estimate(sides, groups)[1]
    return {
        "reference": first.name,
        "run": second.name,
        "images": len(photos),
        "groups": groups.count,
        "partial": len(photos) < max(len(member.image_id) for member in members),
        "test": BY_GROUP if single else OVER_SEEDS,
        "differences": found[ALL]["differences"],
        "mcnemar": mcnemar,
        "p": 1.0 if p is None else p,
        "bands": _named(found, BAND),
        "per_region": _named(found, REGION),
    }


def _named(found: dict[str, Any], kind: str) -> dict[str, Any]:
    return {k.removeprefix(kind): v for k, v in found.items() if k.startswith(kind)}


def _differences(
    first: Contender,
    second: Contender,
    photos: np.ndarray,
    part: str,
    groups: Groups,
    measures: Measures,
) -> dict[str, Any]:
    """By metric, second minus first over a part of the photos; None without photos."""
    found = {}
    for metric in METRICS:
        sides = [measures.side(c, photos, part, metric) for c in (first, second)]
        means = [_mean(side) for side in sides]
        step, ends = None, None
        if means[0] is not None and means[1] is not None:
            step = means[1] - means[0]
            ends, _ = _estimate(sides, groups)
        found[metric] = {"difference": step, "interval": ends}
    return found


def _mean(side: list[Measured]) -> float | None:
    values = [member.value for member in side if member.value is not None]
    return float(np.mean(values)) if len(values) == len(side) else None


def _estimate(
    sides: Sequence[list[Measured]], groups: Groups
) -> tuple[list[float] | None, float | None]:
    """(interval, p over seeds) of the second side - the first, or of the only side.

    The interval is None where fewer than two groups say anything or nothing is
    resampled, p also where no side has several seeds.
    """
    if groups.count < 2 or len(sides[0][0].replicates) == 0:
        return None, None
    values = [np.array([m.value for m in side], np.float64) for side in sides]
    drawn = [np.mean([m.replicates for m in side], axis=0) for side in sides]
    step = drawn[-1] - drawn[0] if len(sides) == 2 else drawn[0]
    seeds = [(float(v.var(ddof=1)) / len(v), len(v) - 1) for v in values if len(v) > 1]
    if not seeds:
        return intervals.percentiles(step), None
    of_photos = (float(step.var(ddof=1)), groups.count - 1)
    means = [float(v.mean()) for v in values]
    centre = means[-1] - means[0] if len(sides) == 2 else means[0]
    return significance.welch(centre, [of_photos, *seeds])


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
    seeds = [len(contender.members) for contender in contenders]
    if max(seeds) > 1 and min(seeds) == 1:
        alone = ", ".join(c.name for c in contenders if len(c.members) == 1)
        yield f"of {alone} one run is known: the spread of its seeds is not counted"
