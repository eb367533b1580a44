"""A contact sheet: unknown pictures that were answered, and with what."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aplantida_jax.evaluate import plot_style

_COLUMNS = 4
_WIDTH, _HEIGHT = 2.0, 2.5  # inches of one picture with its lines


def draw(
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[np.ndarray | None],
    palette: plot_style.Palette,
) -> Figure:
    """The sheet.

    Args:
        rows: of `answered_unknown.wrong_answers`.
        pictures: uint8 RGB [s, s, 3] of each, what the network saw; None if it is gone.
        palette: of the chart.
    """
    if not rows:
        return _empty(palette)
    lines = -(-len(rows) // _COLUMNS)
    figure = plot_style.new_figure(_WIDTH * _COLUMNS, _HEIGHT * lines + 0.5)
    figure.suptitle(
        "pictures that it cannot know, and in red what it says of them",
        x=0.012,
        ha="left",
        fontsize=10,
        fontweight="bold",
        color=palette.ink,
    )
    grid = figure.subplots(lines, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, row, picture in zip(grid.flat, rows, pictures, strict=False):
        if picture is not None:
            axes.imshow(picture)
        _describe(axes, row, palette)
    return figure


def _describe(axes: Axes, row: Mapping[str, Any], palette: plot_style.Palette) -> None:
    """What was said above the picture, and what it shows below."""
    said = f"{row['said']}\n{row['confidence']:.0%} sure"
    axes.set_title(said, fontsize=8, color=palette.bad, loc="left", pad=4)
    axes.text(
        *(0, -0.04, _truth(row)),
        transform=axes.transAxes,
        fontsize=8,
        color=palette.muted,
        va="top",
    )


def _truth(row: Mapping[str, Any]) -> str:
    held_out = row["kind"].startswith("held_out")
    return f"is {row['name']}" if held_out else f"is no plant: {row['kind']}"


def _empty(palette: plot_style.Palette) -> Figure:
    figure = plot_style.new_figure(_WIDTH * _COLUMNS, 1.0)
    text = "no picture that it cannot know was answered wrongly"
    figure.text(0.5, 0.5, text, ha="center", va="center", color=palette.ink)
    return figure
