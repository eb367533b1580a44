"""Charts of evaluation, each drawn on one matplotlib `Axes`.

Functions take plain values (shares 0 to 1) and a `Palette` (see `plot_style.py`), so
that the stages, the report's page and the dashboard share them.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

from aplantida_jax.evaluate.plot_style import Palette

Interval = Sequence[float] | None  # [low, high]
_LEAST = 0.5  # where a scale of images begins, so that a single one has a height


def grouped_bars(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    palette: Palette,
    colours: Mapping[str, str] | None = None,
    intervals: Mapping[str, Sequence[Interval]] | None = None,
) -> None:
    """Bars of shares, one colour per series, with whiskers; None has no bar.

    `series` has a share for each of `groups`; `intervals` and `colours` have the same
    names. Without `colours` they are those of the palette, in order.
    """
    colours = colours or palette.by_name(series)
    labelled: set[str] = set()
    width = 0.8 / max(len(series), 1)
    for position in range(len(groups)):
        there = [name for name, v in series.items() if v[position] is not None]
        for index, name in enumerate(there):
            x = position + (index - (len(there) - 1) / 2) * width
            value = series[name][position] or 0.0
            label = None if name in labelled else name
            axes.bar(x, value, width * 0.92, color=colours[name], label=label)
            labelled.add(name)
            interval = intervals[name][position] if intervals else None
            _whisker(axes, palette, x, value, interval, labelled=len(series) <= 3)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, max(len(groups), 1) - 0.4)
    axes.grid(visible=False, axis="x")
    percent_axis(axes, "y")
    axes.set_ylim(0, 1.08)
    axes.set_yticks(np.linspace(0, 1, 6))
    if len(series) > 1:
        legend_above(axes, labelled)


def percent_axis(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def matrix(
    axes: Axes, palette: Palette, shares: np.ndarray, names: Sequence[str]
) -> None:
    """A confusion matrix of shares [g, g]: rows are true, columns answered."""
    shown = np.ma.masked_less(shares, 0.005)
    # The square root lifts the mistakes, which are small beside the diagonal.
    axes.imshow(shown, cmap=palette.ramp, norm=PowerNorm(0.5, 0, 1.1), aspect="equal")
    axes.grid(visible=False)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(visible=True, which="minor", linewidth=0.6)
    for row, column in zip(*np.nonzero(shares >= 0.095), strict=True):
        strong = shares[row, column] > 0.4
        axes.text(
            column,
            row,
            f"{shares[row, column] * 100:.0f}",
            ha="center",
            va="center",
            fontsize=7,
            color=palette.paper if strong else palette.ink,
        )
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontstyle("italic")
    axes.tick_params(length=0, which="both")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")


def lines(
    axes: Axes,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    colours: Mapping[str, str],
    ylabel: str,
    percent: bool,
) -> None:
    """One line per curve {name: (epochs, values)}."""
    for name, (x, y) in curves.items():
        marker = "o" if len(x) < 3 else None  # a line through one point is invisible
        axes.plot(x, y, color=colours[name], label=name, marker=marker, markersize=4)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylim(bottom=0)
    if percent:
        percent_axis(axes, "y")


def images_per_class(axes: Axes, palette: Palette, counts: np.ndarray) -> None:
    """Classes in the order of their size, on a logarithmic scale: the long tail."""
    ordered = np.sort(counts[counts > 0])[::-1]
    # Only the ends of what is level: thousands of classes have few sizes, and as many
    # points would be megabytes of a page.
    changes = ordered[1:] != ordered[:-1]
    ends = np.flatnonzero(np.append(True, changes) | np.append(changes, True))
    place, ordered = ends + 1, ordered[ends]
    axes.fill_between(
        place,
        ordered,
        _LEAST,
        step="mid",
        color=palette.series[0],
        alpha=0.35,
        linewidth=0,
    )
    axes.step(place, ordered, where="mid", color=palette.series[0])
    axes.set_yscale("log")
    axes.set_ylim(bottom=_LEAST)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.set_xlabel("classes, largest first")
    axes.set_ylabel("training images")


def horizontal_bars(
    axes: Axes,
    palette: Palette,
    values: Mapping[str, float],
    *,
    text: Mapping[str, str],
    xlabel: str,
) -> None:
    """A bar per name with its value written beside it, first name on top."""
    place = np.arange(len(values))[::-1]
    axes.barh(place, list(values.values()), 0.62, color=palette.series[0])
    for y, (name, value) in zip(place, values.items(), strict=True):
        axes.annotate(
            text[name],
            (value, y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(place, list(values))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max(values.values(), default=1) * 1.3)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(xlabel)


def _whisker(
    axes: Axes,
    palette: Palette,
    x: float,
    value: float,
    interval: Interval,
    *,
    labelled: bool,
) -> None:
    top = value
    if interval is not None:
        axes.plot([x, x], list(interval), color=palette.ink, linewidth=1, alpha=0.7)
        top = max(value, interval[1])
    if labelled:
        axes.annotate(
            f"{value:.0%}",
            (x, top),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=palette.muted,
        )


def legend_above(axes: Axes, names: Collection[str]) -> None:
    """A legend over the axes, which covers no data."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=min(max(len(names), 1), 3),
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
