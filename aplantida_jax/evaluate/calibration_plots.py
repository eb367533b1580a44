"""Charts of calibration: reliability, risk against coverage, what a threshold does.

Tables are those of `calibration.json` (see `calibrate.py`); shares are 0 to 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from aplantida_jax.evaluate import intervals, plots
from aplantida_jax.evaluate.plot_style import Palette


def reliability(
    axes: Axes, palette: Palette, table: Sequence[Mapping[str, Any]], *, title: str
) -> None:
    """Accuracy per confidence bin against the diagonal; ECE averages the gaps.

    The thin lines are 95 % intervals: a gap within one may be chance.
    """
    rows = [row for row in table if row["count"]]
    lower = np.array([row["lower"] for row in rows])
    width = np.array([row["upper"] for row in rows]) - lower
    accuracy = np.array([row["accuracy"] for row in rows])
    confidence = np.array([row["confidence"] for row in rows])
    style: dict[str, Any] = {
        "align": "edge",
        "edgecolor": palette.paper,
        "linewidth": 0.8,
    }
    shared = np.minimum(accuracy, confidence)
    axes.bar(lower, shared, width, color=palette.series[0], label="accuracy", **style)
    for gap, colour, label in (
        (confidence - accuracy, palette.bad, "overconfident"),
        (accuracy - confidence, palette.series[1], "underconfident"),
    ):
        gap = np.maximum(gap, 0)
        style["alpha"] = 0.6
        axes.bar(lower, gap, width, bottom=shared, color=colour, label=label, **style)
    _whiskers(axes, palette, rows, lower + width / 2)
    axes.plot([0, 1], [0, 1], "--", color=palette.muted, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.22)  # the legend has its place above the bars
    axes.set_yticks(np.linspace(0, 1, 6))
    plots.percent_axis(axes, "x")
    plots.percent_axis(axes, "y")
    axes.set_title(title)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.legend(loc="upper left", ncols=3, handlelength=1, columnspacing=1)


def _whiskers(
    axes: Axes, palette: Palette, rows: Sequence[Mapping[str, Any]], x: np.ndarray
) -> None:
    """95 % intervals of the accuracy in each bin, none of which is empty."""
    for position, row in zip(x.tolist(), rows, strict=True):
        right = round(row["accuracy"] * row["count"])
        low, high = intervals.wilson(right, row["count"]) or (0.0, 0.0)
        axes.vlines(position, low, high, color=palette.ink, linewidth=0.9)


def confidence_counts(
    axes: Axes, palette: Palette, table: Sequence[Mapping[str, Any]]
) -> None:
    """How many images each bin of a reliability diagram holds."""
    lower = np.array([row["lower"] for row in table])
    width = np.array([row["upper"] for row in table]) - lower
    counts = [row["count"] for row in table]
    axes.bar(
        lower, counts, width, align="edge", color=palette.muted, edgecolor=palette.paper
    )
    axes.set_xlim(0, 1)
    plots.percent_axis(axes, "x")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_ylabel("images")


def reliability_pair(
    figure: FigureBase, palette: Palette, result: Mapping[str, Any]
) -> None:
    """Reliability before and after the temperature, from calibration.json."""
    axes = figure.subplots(2, 2, height_ratios=[4, 1], sharex="col", sharey="row")
    temperature = result["temperature"]
    for column, when in enumerate(("before", "after")):
        table, error = result[f"reliability_{when}"], result[f"ece_{when}"]
        way = {"before": "as trained", "after": f"temperature {temperature:.2f}"}[when]
        title = f"{way}: ECE {error:.3f}"
        reliability(axes[0, column], palette, table, title=title)
        axes[0, column].set_xlabel("")
        confidence_counts(axes[1, column], palette, table)
        axes[1, column].set_xlabel("confidence")
        if column:
            axes[0, column].set_ylabel("")
            axes[1, column].set_ylabel("")


def thresholds(
    axes: Axes,
    palette: Palette,
    table: Sequence[Mapping[str, Any]],
    *,
    target: float,
    chosen: float | None,
) -> None:
    """Accuracy and coverage against the threshold, and the one that was chosen."""
    rows = [row for row in table if row["answered"]]
    x = [row["threshold"] for row in rows]
    for index, name in enumerate(("accuracy", "coverage")):
        y = [row[name] for row in rows]
        axes.plot(x, y, color=palette.series[index], label=name)
    axes.axhline(target, linestyle="--", color=palette.muted, linewidth=1)
    if chosen is not None:
        axes.axvline(chosen, color=palette.series[2], linewidth=1.2, label="chosen")
    axes.set_ylim(0, 1.04)
    plots.percent_axis(axes, "y")
    axes.set_xlabel("threshold")
    plots.legend_above(axes, ("accuracy", "coverage", "chosen"))


def risk_coverage(
    axes: Axes,
    palette: Palette,
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    target_risk: float,
    chosen: Mapping[str, tuple[float, float] | None] | None = None,
) -> None:
    """Error among the answers given, against the share of images answered.

    `chosen` gives the (coverage, risk) of a curve at the threshold, None for none.
    """
    highest = target_risk
    for index, (name, curve) in enumerate(curves.items()):
        coverage = [point["coverage"] for point in curve]
        risk = [point["risk"] for point in curve]
        highest = max([highest, *risk])
        axes.plot(coverage, risk, color=palette.series[index % 6], label=name)
        point = (chosen or {}).get(name)
        if point is not None:
            highest = max(highest, point[1])
            axes.plot(*point, "o", color=palette.series[index % 6], markersize=6)
    axes.axhline(target_risk, linestyle="--", color=palette.muted, linewidth=1)
    axes.annotate(
        f"{target_risk:.0%} error",
        (0.01, target_risk),
        xytext=(0, 3),
        textcoords="offset points",
        color=palette.muted,
        fontsize=8,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, min(1.02, highest * 1.15))
    plots.percent_axis(axes, "x")
    plots.percent_axis(axes, "y")
    axes.set_xlabel("images answered")
    axes.set_ylabel("wrong among them")
    plots.legend_above(axes, curves)
