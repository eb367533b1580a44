"""The report's key figures: what a reader asks first, each with how sure it is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aplantida_jax.reporting.criterion import Criterion, at, in_unit
from aplantida_jax.reporting.findings import LABELS, Findings

Figure = tuple[str, str]  # the value, and what it is


def headline(
    found: Findings, criteria: Sequence[Criterion], verdict: Mapping[str, Any]
) -> list[Figure]:
    """Those that are known.

    Args:
        found: everything.
        criteria: the table.
        verdict: of the licences, as in licence_verdict.json.
    """
    return [
        *_shares(found),
        *_teachers_help(found),
        *_may_ship(verdict),
        _criteria_met(criteria),
    ]


def _shares(found: Findings) -> Iterator[Figure]:
    run = found.run(found.student)
    test, fit = (run.test, run.calibration) if run else (None, None)
    held_out = (at(found.out_of_distribution, "kinds") or {}).get("held_out")
    asked = held_out["species"] if held_out and held_out["images"] else None
    for value, ends, what in (
        (
            at(test, "top1_accuracy"),
            at(test, "intervals", "top1_accuracy"),
            "top-1 on test",
        ),
        (
            at(fit, "coverage"),
            at(fit, "coverage_interval"),
            "of photos answered as a species",
        ),
        (
            at(fit, "accuracy"),
            at(fit, "accuracy_interval"),
            "of those answers right",
        ),
        (
            at(asked, "share"),
            at(asked, "interval"),
            "of photos of unknown species named as a species",
        ),
    ):
        if value is not None:
            yield in_unit(value, "share"), what + _within(ends)


def _within(ends: Sequence[float] | None, form: str = ".1f") -> str:
    if ends is None:
        return ""
    low, high = (f"{100 * end:{form}}" for end in ends)
    return f" ({low} to {high})".replace("-", "\N{MINUS SIGN}")


def _teachers_help(found: Findings) -> Iterator[Figure]:
    """The student over the same without teachers, where stage compare has both."""
    for pair in at(found.comparison, "pairs") or []:
        if (pair["reference"], pair["run"]) == (LABELS, found.student):
            row = pair["differences"]["top1_accuracy"]
            points = in_unit(row["difference"], "points").removesuffix(" points")
            said = "points over the labels alone"
            shown = "" if pair["significant"] else "; no difference shown"
            yield points, said + _within(row["interval"], "+.1f") + shown


def _may_ship(verdict: Mapping[str, Any]) -> Iterator[Figure]:
    if verdict["provenance"]:
        yield "yes" if verdict["publishable"] else "no", "may ship, by its licences"


def _criteria_met(criteria: Sequence[Criterion]) -> Figure:
    judged = [row for row in criteria if row.target is not None]
    met = [row for row in judged if row.met]
    unsure = sum(row.certain is False for row in met)
    more = f", and {unsure} more that chance may turn (±)" if unsure else ""
    return f"{len(met) - unsure} of {len(judged)}", f"criteria met{more}"
