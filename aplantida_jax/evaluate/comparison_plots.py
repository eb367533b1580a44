"""A forest plot of a comparison: every pair's differences, with their intervals.

In: what `compare.py` writes as comparison.json. A filled mark is a pair whose
difference in top-1 is significant after the correction.
"""

from typing import Any

from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aplantida_jax.evaluate.plot_style import Palette

TITLES = {
    "top1_accuracy": "top-1",
    "top5_accuracy": "top-5",
    "macro_recall": "macro recall",
}
_MOST_PAIRS = 24  # drawn; those against the reference come first


def shown(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The pairs that are drawn."""
    return found["pairs"][:_MOST_PAIRS]


def size(found: dict[str, Any]) -> tuple[float, float]:
    """Inches, width and height."""
    return 10.0, 1.8 + 0.46 * len(shown(found))


def forest(figure: FigureBase, palette: Palette, found: dict[str, Any]) -> None:
    """Draws a panel per metric, a line per pair; points to the right favour the run."""
    pairs = shown(found)
    ours = sum(pair["with_reference"] for pair in pairs)
    panels = figure.subplots(1, len(TITLES), sharey=True)
    for axes, (metric, title) in zip(panels, TITLES.items(), strict=True):
        axes.axvline(0, color=palette.muted, linewidth=1)
        if ours < len(pairs):  # two families, each corrected by itself
            axes.axhline(ours - 0.5, color=palette.muted, linewidth=0.8, linestyle=":")
        for row, pair in enumerate(pairs):
            _mark(axes, palette, row, pair["differences"][metric], pair["significant"])
        axes.set_title(title)
        axes.set_xlabel("difference, points")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(_signed))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    panels[0].set_ylim(len(pairs) - 0.5, -0.5)
    names = [f"{_short(p['run'])}\nagainst {_short(p['reference'])}" for p in pairs]
    panels[0].set_yticks(range(len(pairs)), names)
    figure.suptitle(
        f"{found['split']}: 95 % intervals; filled where top-1 differs (Holm)",
        x=0.01,
        ha="left",
        fontsize=9,
        color=palette.muted,
    )


def _mark(
    axes: Any, palette: Palette, row: int, step: dict[str, Any], significant: bool
) -> None:
    if step["difference"] is None:
        return
    value = 100 * step["difference"]
    colour = palette.muted
    if significant:
        colour = palette.good if value > 0 else palette.bad
    if step["interval"] is not None:
        ends = [100 * end for end in step["interval"]]
        axes.plot(ends, [row, row], color=colour, linewidth=2, solid_capstyle="round")
    axes.plot(
        [value],
        [row],
        marker="o",
        markersize=7,
        color=colour,
        markerfacecolor=colour if significant else palette.paper,
    )


def _signed(value: float, _: int) -> str:
    return f"{value:+.3g}" if abs(value) > 1e-9 else "0"


def _short(name: str) -> str:
    """ "a_s1+a_s2+a_s3" as "a_s1 + 2 more"."""
    first, *others = name.split("+")
    return f"{first} + {len(others)} more" if others else first
