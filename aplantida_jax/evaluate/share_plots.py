"""Accuracies of one evaluation as bars: per region, and by training images of a class.

In: what `summary.py` puts into metrics.json. Each draws on one matplotlib `Axes`.
"""

from typing import Any

from matplotlib.axes import Axes

from aplantida_jax.evaluate import metrics, plots
from aplantida_jax.evaluate.plot_style import Palette

_REGIONS = {"all classes": "top1_accuracy", "its own": "masked_top1_accuracy"}
_BANDS = {"top-1": "top1_accuracy", "macro recall": "macro_recall"}


def regions(axes: Axes, palette: Palette, found: dict[str, Any]) -> None:
    """Top-1 per region, among all classes and among the region's only."""
    rows = with_images(found["per_region"])
    _bars(axes, palette, list(rows), list(rows.values()), _REGIONS)
    axes.set_ylabel("top-1 accuracy per region")


def bands(axes: Axes, palette: Palette, found: dict[str, Any]) -> None:
    """Top-1 and macro recall by how many training images the class has."""
    rows = with_images(found["bands"])
    names = [metrics.band_name(band) for band in rows]
    _bars(axes, palette, names, list(rows.values()), _BANDS)
    axes.set_xlabel("training images of the class")


def with_images(rows: dict[str, Any]) -> dict[str, Any]:
    """The regions or bands that the split has images of."""
    return {name: row for name, row in rows.items() if row["images"]}


def _bars(
    axes: Axes,
    palette: Palette,
    names: list[str],
    rows: list[dict[str, Any]],
    fields: dict[str, str],
) -> None:
    plots.grouped_bars(
        axes,
        names,
        {title: [row[field] for row in rows] for title, field in fields.items()},
        palette=palette,
        intervals={
            title: [row["intervals"].get(field) for row in rows]
            for title, field in fields.items()
        },
    )
