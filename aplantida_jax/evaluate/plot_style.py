"""The one style of every chart: colours, sizes, and figures as PNG.

Everything is drawn and saved inside `with themed() as palette:`, light or dark. pyplot
is not used: no global state, no display.
"""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from aplantida_jax import files

_DPI = 160


@dataclasses.dataclass(frozen=True)
class Palette:
    """Colours of a theme; `series` are told apart with any common colour blindness."""

    ink: str
    muted: str
    grid: str
    paper: str
    series: tuple[str, ...]
    good: str
    bad: str
    ramp: str  # name of a matplotlib colour map, from paper to strong

    def by_name(self, names: Iterable[str]) -> dict[str, str]:
        """A colour for each name, in the order of `series`, again from the start."""
        return dict(zip(names, itertools.cycle(self.series)))


LIGHT = Palette(
    ink="#1f2a24",
    muted="#66736b",
    grid="#e3e8e4",
    paper="#ffffff",
    series=("#1b7f5c", "#d08a1d", "#4a69b5", "#b5476b", "#7a8c2e", "#7d8790"),
    good="#1b7f5c",
    bad="#c2453c",
    ramp="Greens",
)
DARK = Palette(
    ink="#e6ece8",
    muted="#98a59d",
    grid="#2f3a34",
    paper="#151b18",
    series=("#4fc49a", "#e9b04f", "#8ba6ee", "#e688a8", "#b9c96a", "#a4adb5"),
    good="#4fc49a",
    bad="#ef8078",
    ramp="YlGn_r",
)


@contextlib.contextmanager
def themed(*, dark: bool = False) -> Iterator[Palette]:
    """Sets matplotlib's style for the charts drawn and saved inside the block."""
    palette = DARK if dark else LIGHT
    style: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": palette.muted,
        "axes.facecolor": palette.paper,
        "axes.labelcolor": palette.muted,
        "axes.titlecolor": palette.ink,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": palette.grid,
        "grid.linewidth": 0.8,
        "text.color": palette.ink,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.8,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.facecolor": palette.paper,
        "savefig.facecolor": palette.paper,
    }
    with matplotlib.rc_context(style):
        yield palette


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches, laid out so that no label is cut."""
    return Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure) -> bytes:
    """PNG bytes, without matplotlib's version, so that equal charts are equal."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def save(figure: Figure, path: Path) -> None:
    files.write_bytes(path, png(figure))
