"""Chart of what the model says of pictures that it cannot know, by kind.

In: out_of_distribution.json, see `evaluate/out_of_distribution.py`.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from aplantida_jax.evaluate import plots
from aplantida_jax.evaluate.plot_style import Palette
from aplantida_jax.reporting import svg
from aplantida_jax.reporting.chart import Chart, legend

_NAMES = {
    "held_out": "held-out species",
    "held_out_known_genus": "... of a known genus",
    "held_out_new_genus": "... of a new genus",
    "pictures": "pictures of no plant",
}
_PICTURE = "picture:"


def name_of(kind: str) -> str:
    """ "picture:tiles" -> "... tiles"."""
    if kind.startswith(_PICTURE):
        return "... " + kind.removeprefix(_PICTURE).replace("_", " ")
    return _NAMES.get(kind, kind)


def chart(asked: Mapping[str, Any] | None) -> Chart | None:
    """A bar for each kind: the shares answered as species, as genus, and not at all."""
    if asked is None:
        return None
    rows = {"test": asked["known"]}
    rows |= {name_of(k): row for k, row in asked["kinds"].items() if row["images"]}
    if len(rows) == 1:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        axes = figure.subplots()
        colours = _colours(palette)
        pale = svg.tint(palette.series[0], palette)  # mostly right, of test
        for place, row in enumerate(rows.values()):
            _bar(
                axes, place, row, colours | ({"a species": pale} if place == 0 else {})
            )
        axes.set_yticks(range(len(rows)), list(rows))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1)
        plots.percent_axis(axes, "x")
        axes.set_xlabel("of the pictures, answered as")
        legend(figure, {"a species, of test": pale, **colours}, line=False)

    caption = (
        "What the app would say, by kind of picture. Red is a species where none can "
        "be right; of the test photos above, for comparison, what is answered as a "
        "species is right for the most part."
    )
    height = 1.3 + 0.3 * len(rows)
    return Chart(
        "How often it answers all the same", caption, height, draw, height + 0.3
    )


def _colours(palette: Palette) -> dict[str, str]:
    return {
        "a species": palette.bad,
        "a genus, wrong": palette.series[1],
        "a genus": palette.series[0],
        "“no concluyente”": palette.series[-1],
    }


def _bar(
    axes: Axes, place: int, row: Mapping[str, Any], colours: Mapping[str, str]
) -> None:
    left = 0.0
    for part, share in _shares(row).items():
        axes.barh(place, share, 0.66, left=left, color=colours[part])
        left += share


def _shares(row: Mapping[str, Any]) -> dict[str, float]:
    genus = row["genus"]
    wrong = genus.get("wrong", 0) / row["images"]
    return {
        "a species": row["species"]["share"],
        "a genus, wrong": wrong,
        "a genus": genus["share"] - wrong,
        "“no concluyente”": row["not_conclusive"]["share"],
    }
