"""From which confidence on does the app answer? Tables of thresholds, and the choice.

In: confidence float [m] (0..1) and correct bool [m] of the candidates. Out: rows
{threshold, answered, groups, coverage, accuracy, accuracy_interval}, shares 0 to 1.
"""

from typing import Any

import numpy as np

from aplantida_jax.evaluate import intervals

# Of fewer answers, 95 % right can only be all of them, which may be luck.
LEAST_ANSWERED = 20


def grid(low: float, high: float, step: float) -> np.ndarray:
    """Thresholds from low to high, both included, without the noise of adding steps."""
    return np.round(low + step * np.arange(round((high - low) / step) + 1), 6)


def table(
    confidence: np.ndarray,
    correct: np.ndarray,
    *,
    grid: np.ndarray,
    total: int,
    group: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """For each threshold: how many answers pass, and how many of them are right.

    Args:
        confidence, correct: [m], the candidates.
        grid: thresholds, ascending; an answer passes when confidence >= threshold.
        total: images that coverage is a share of (m, or more when others were decided).
        group: [m], equal for photos that resemble each other; None is that none do.

    Returns:
        A row for each threshold; `groups` that the answers come from, the interval by
        `intervals.wilson_by_group`; it and accuracy are None when none passes.
    """
    group = np.arange(len(correct)) if group is None else group
    rows = []
    for threshold in grid:
        inside = confidence >= threshold
        passed, passed_group = correct[inside], group[inside]
        rows.append(
            {
                "threshold": float(threshold),
                "answered": len(passed),
                "groups": len(np.unique(passed_group)),
                "coverage": len(passed) / total if total else None,
                "accuracy": float(passed.mean()) if len(passed) else None,
                "accuracy_interval": intervals.wilson_by_group(passed, passed_group),
            }
        )
    return rows


def choose(rows: list[dict[str, Any]], *, target: float) -> dict[str, Any] | None:
    """The row of the smallest threshold with accuracy >= target, or None."""
    for row in rows:
        if row["accuracy"] is not None and row["accuracy"] >= target:
            return row
    return None


def assured(rows: list[dict[str, Any]], *, target: float) -> dict[str, Any] | None:
    """The row of the smallest threshold that is right as often as `target`, surely.

    Where no threshold is truly that accurate, one is found in at most 2.5 % of all
    samples, however many the grid has: fixed-sequence testing (Bauer 1991, "Multiple
    testing in clinical trials"; Angelopoulos et al. 2021, "Learn then test"), from the
    highest threshold with enough answers downwards, until the interval's lower end is
    first under the target. Enough are those that reach it with half the errors that it
    allows: their number says nothing of how many are right, so they may be asked.
    """
    found = None
    for row in reversed(rows):
        enough = intervals.wilson(row["groups"] * (1 + target) / 2, row["groups"])
        if found is None and (enough is None or enough[0] < target):
            continue
        if row["accuracy_interval"][0] < target:
            break
        found = row
    return found


def best_available(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The most accurate row, of equal ones that which answers more; None if empty."""
    rows = [row for row in rows if row["accuracy"] is not None]
    return max(rows, key=lambda r: (r["accuracy"], r["answered"])) if rows else None
