"""The audit's histogram: how many classes have how many images."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

BINS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_COLOURS = {
    False: {"paper": "#ffffff", "ink": "#1f2a24", "bar": "#1b7f5c", "line": "#c4cec8"},
    True: {"paper": "#151b18", "ink": "#e6ece8", "bar": "#4fc49a", "line": "#47544d"},
}


def bars(counts: Sequence[int]) -> dict[str, int]:
    """ "5–9" -> classes with so many images; every class is in one bar."""
    found = {}
    for low, above in zip(BINS, [*BINS[1:], None], strict=True):
        if above is None:
            name = f"{low:,}+"
        else:
            name = str(low) if above == low + 1 else f"{low}\u2013{above - 1}"
        found[name] = sum(low <= n and (above is None or n < above) for n in counts)
    return found


def histogram(counts: Sequence[int], *, dark: bool = False) -> bytes:
    """A PNG; `counts` are the images of every class."""
    colours = _COLOURS[dark]
    found = bars(counts)
    figure = Figure(figsize=(8, 3.4), dpi=150, layout="constrained")
    figure.set_facecolor(colours["paper"])
    axes = figure.add_subplot(facecolor=colours["paper"])
    drawn = axes.bar(list(found), list(found.values()), color=colours["bar"])
    labels = [f"{n:,}" if n else "" for n in found.values()]
    axes.bar_label(drawn, labels, fontsize=8, color=colours["ink"], padding=2)
    axes.set_xlabel("images of a class", color=colours["ink"])
    axes.set_ylabel("classes", color=colours["ink"])
    axes.tick_params(labelsize=8, colors=colours["ink"], length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(colours["line"])
    axes.set_yticks([])
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
