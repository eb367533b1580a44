"""One chart of the report: its words, its sizes, and a function that draws it.

The page shows a chart wide, or narrow on a phone; the dashboard places it on a part of
a sheet. `panels` and `legend` arrange it for whichever it is.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aplantida_jax.evaluate.plot_style import Palette

Draw = Callable[[FigureBase, Palette], None]
WIDE = 9.0  # inches
NARROW = 3.9
_LEGEND_COLUMN = 1.9  # inches


@dataclasses.dataclass(frozen=True)
class Chart:
    """What it shows, in words too (for who can't see it), and how to draw it.

    Attributes:
        title: heading.
        caption: how to read it; the alternative text.
        height: inches, where it is `WIDE`.
        draw: on an empty figure or subfigure.
        narrow_height: inches, where it is `NARROW`.
    """

    title: str
    caption: str
    height: float
    draw: Draw
    narrow_height: float

    @property
    def sizes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Inches, width and height: wide, then narrow."""
        return (WIDE, self.height), (NARROW, self.narrow_height)


def inches(figure: FigureBase) -> tuple[float, float]:
    """Width and height of a figure, or of a part of one."""
    assert isinstance(figure, Figure | SubFigure)
    scale = figure.get_figure(root=True).dpi
    return figure.bbox.width / scale, figure.bbox.height / scale


def is_narrow(figure: FigureBase) -> bool:
    """Is there no room for two things side by side?"""
    return inches(figure)[0] < 5


def panels(figure: FigureBase, count: int) -> list[Axes]:
    """Axes side by side, or one below the other where it is narrow."""
    rows, columns = (count, 1) if is_narrow(figure) else (1, count)
    return list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def legend(figure: FigureBase, colours: Mapping[str, str], *, line: bool) -> None:
    """Names over everything else, as many in a row as there is room for."""
    width, _ = inches(figure)
    handles = [
        Line2D([], [], color=colour, label=name, linewidth=2.2)
        if line
        else Patch(color=colour, label=name)
        for name, colour in colours.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=max(1, min(len(colours), int(width / _LEGEND_COLUMN))),
        handlelength=1.2,
        columnspacing=1.2,
    )
