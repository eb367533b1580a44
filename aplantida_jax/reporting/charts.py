"""The report's charts, each a `Chart` that draws on a figure or a part of one.

The page renders every chart twice (light and dark), the dashboard places some of them
on one sheet. A chart exists only when its stage has run.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import FigureBase

from aplantida_jax import paths
from aplantida_jax.data import regions
from aplantida_jax.evaluate import calibration_plots, metrics, plots
from aplantida_jax.evaluate.plot_style import Palette
from aplantida_jax.reporting.criterion import at, in_unit
from aplantida_jax.reporting.findings import Findings, Run

Draw = Callable[[FigureBase, Palette], None]


@dataclasses.dataclass(frozen=True)
class Chart:
    """What it shows, in words too (for who can't see it), and how to draw it.

    Attributes:
        title: heading.
        caption: how to read it; the alternative text.
        size: inches, width and height.
        draw: on an empty figure or subfigure.
    """

    title: str
    caption: str
    size: tuple[float, float]
    draw: Draw


def charts(found: Findings) -> dict[str, Chart]:
    """By name: learning, regions, bands, reliability, coverage, classes, export."""
    student = found.run(found.student)
    fit = student.calibration if student else None
    candidates = {
        "learning": _learning(found),
        "regions": _regions(found),
        "bands": _bands(found),
        "reliability": _reliability(fit),
        "coverage": _coverage(fit),
        "classes": _classes(found),
        "export": _export(found),
    }
    return {name: chart for name, chart in candidates.items() if chart is not None}


def _colours(found: Findings, palette: Palette) -> dict[str, str]:
    """A run has the same colour in every chart; the student has the first one."""
    names = [run.name for run in found.runs]
    # Last, and so grey in the full set, is the floor that the others stand on.
    names.sort(key=lambda name: (name != found.student, name == "baseline"))
    return palette.by_name(names)


def _learning(found: Findings) -> Chart | None:
    trained = [run for run in found.runs if run.history]
    if not trained:
        return None

    def curves(field: str) -> dict[str, tuple[list[float], list[float]]]:
        return {
            run.name: (
                [row["epoch"] for row in run.history],
                [row[field] for row in run.history],
            )
            for run in trained
        }

    def draw(figure: FigureBase, palette: Palette) -> None:
        left, right = figure.subplots(1, 2)
        colours = _colours(found, palette)
        for axes, field, ylabel, percent in (
            (left, "val_top1_accuracy", "top-1 on val", True),
            (right, "val_loss", "loss on val", False),
        ):
            plots.lines(
                axes, curves(field), colours=colours, ylabel=ylabel, percent=percent
            )
        plots.legend_above(left, [run.name for run in trained])

    caption = "Accuracy and loss on the validation split after each epoch."
    return Chart("Learning", caption, (9.0, 3.6), draw)


def _regions(found: Findings) -> Chart | None:
    rows = {run.name: run.per_region for run in found.runs if run.test}
    if not rows:
        return None
    shown = [
        region
        for region in regions.REGIONS
        if any(region in own for own in rows.values())
    ]

    def draw(figure: FigureBase, palette: Palette) -> None:
        axes = figure.subplots()
        plots.grouped_bars(
            axes,
            shown,
            {
                name: [at(own.get(region), "top1_accuracy") for region in shown]
                for name, own in rows.items()
            },
            palette=palette,
            colours=_colours(found, palette),
            intervals={
                name: [
                    at(own.get(region), "intervals", "top1_accuracy")
                    for region in shown
                ]
                for name, own in rows.items()
            },
        )
        axes.set_ylabel("top-1 on test")

    caption = (
        "Top-1 over the test photos of each region's plants, with 95 % intervals. "
        "Regional teachers appear where they were trained."
    )
    return Chart("Regions", caption, (9.0, 3.6), draw)


def _bands(found: Findings) -> Chart | None:
    # Teachers of a region have other classes, so their bands do not compare.
    rows = {r.name: r.test["bands"] for r in found.runs if r.test and _is_global(r)}
    shown = [
        band
        for band in metrics.BANDS
        if any(band in row and row[band]["images"] for row in rows.values())
    ]
    if not shown:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        axes = figure.subplots()
        plots.grouped_bars(
            axes,
            [metrics.band_name(band) for band in shown],
            {
                name: [at(row.get(band), "top1_accuracy") for band in shown]
                for name, row in rows.items()
            },
            palette=palette,
            colours=_colours(found, palette),
        )
        axes.set_ylabel("top-1 on test")
        axes.set_xlabel("training images of the class")

    caption = "Top-1 on test by how many training images the plant has."
    return Chart("The long tail", caption, (9.0, 3.6), draw)


def _is_global(run: Run) -> bool:
    return run.best is None or not paths.region_slug(run.best["region"])


def _reliability(fit: Mapping[str, Any] | None) -> Chart | None:
    if fit is None:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        calibration_plots.reliability_pair(figure, palette, fit)

    caption = (
        f"Accuracy against confidence on test, before and after dividing the logits by "
        f"{fit['temperature']:.2f}; on the dashed line they agree. Below, how many "
        "photos each bin holds."
    )
    return Chart("Is its confidence honest?", caption, (9.0, 4.6), draw)


def _coverage(fit: Mapping[str, Any] | None) -> Chart | None:
    if fit is None:
        return None
    target = fit["accuracy_target"]

    def draw(figure: FigureBase, palette: Palette) -> None:
        left, right = figure.subplots(1, 2)
        curves = {"test": fit["risk_coverage"], "val": fit["val"]["risk_coverage"]}
        calibration_plots.risk_coverage(left, palette, curves, target_risk=1 - target)
        calibration_plots.thresholds(
            right,
            palette,
            fit["threshold_table"],
            target=target,
            chosen=fit["threshold"],
        )

    caption = (
        "Left: how many answers are wrong among the most confident ones, as more "
        "photos are answered. Right: what a threshold does on test."
    )
    return Chart("When to say “no concluyente”", caption, (9.0, 3.6), draw)


def _classes(found: Findings) -> Chart | None:
    counts = found.train_images
    if counts is None or not counts.any():
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        plots.images_per_class(figure.subplots(), palette, counts)

    there = counts[counts > 0]
    caption = (
        f"{counts.sum():,} training images of {len(there):,} classes: from "
        f"{there.min():,} to {there.max():,} of a class."
    )
    return Chart("Images per class", caption, (9.0, 3.2), draw)


def _export(found: Findings) -> Chart | None:
    variants = at(found.validation, "variants")
    sizes = {n: v["bytes"] / 1e6 for n, v in (variants or {}).items() if "bytes" in v}
    times = {n: v["median_ms"] for n, v in (variants or {}).items() if "median_ms" in v}
    if not sizes:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        left, right = figure.subplots(1, 2)
        for axes, values, unit in ((left, sizes, "MB"), (right, times, "ms")):
            text = {name: in_unit(value, unit) for name, value in values.items()}
            plots.horizontal_bars(axes, palette, values, text=text, xlabel=unit)
        left.set_title("model size")
        right.set_title("one photo in the browser")

    caption = "Size of the exported model by precision, and the browser's median time."
    return Chart("Size and speed", caption, (9.0, 2.4), draw)
