"""One sheet for a wall or a mail: the report's charts and key figures as a PNG."""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.figure import SubFigure

from aplantida_jax.evaluate import plot_style
from aplantida_jax.evaluate.plot_style import Palette
from aplantida_jax.reporting.chart import Chart

# Rows of charts with their heights; a chart that is not there leaves its place to the
# others of its row.
_ROWS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("learning", "regions"), 3.4),
    (("reliability", "coverage"), 4.0),
    (("bands", "differences", "unknown"), 3.4),
    (("classes", "export"), 2.6),
)
_WIDTH = 17.0
_HEAD = 1.3
_TITLE = 0.32
_COLUMN = 19  # characters of a key figure's label


def render(
    charts: Mapping[str, Chart],
    *,
    title: str,
    subtitle: str,
    figures: Sequence[tuple[str, str]],
) -> bytes:
    """PNG bytes.

    Args:
        charts: by name, as `charts.charts` gives them.
        title, subtitle: on top.
        figures: (value, what it is), the key figures beside the title.
    """
    rows = [
        ([charts[name] for name in names if name in charts], height)
        for names, height in _ROWS
    ]
    rows = [(row, height) for row, height in rows if row]
    heights = [_HEAD, *(_TITLE + height for _, height in rows)]
    with plot_style.themed() as palette:
        figure = plot_style.new_figure(_WIDTH, sum(heights))
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
        _draw_head(parts[0, 0], palette, title, subtitle, figures)
        for part, (row, height) in zip(parts[1:, 0], rows, strict=True):
            cells = part.subfigures(1, len(row), squeeze=False)
            for cell, chart in zip(cells[0], row, strict=True):
                top, rest = cell.subfigures(2, 1, height_ratios=[_TITLE, height])
                top.text(0.02, 0.5, chart.title, fontsize=11, fontweight="bold")
                chart.draw(rest, palette)
        return plot_style.png(figure)


def _draw_head(
    part: SubFigure,
    palette: Palette,
    title: str,
    subtitle: str,
    figures: Sequence[tuple[str, str]],
) -> None:
    part.text(0.012, 0.62, title, fontsize=19, fontweight="bold", va="center")
    part.text(0.012, 0.25, subtitle, fontsize=10, color=palette.muted, va="center")
    step = 0.64 / max(len(figures), 1)
    for index, (value, what) in enumerate(figures):
        x = 0.36 + index * step
        lines = textwrap.fill(what, _COLUMN)
        part.text(x, 0.62, value, fontsize=17, fontweight="bold", va="center")
        part.text(x, 0.42, lines, fontsize=8.5, color=palette.muted, va="top")
