"""The report's charts, by name; each exists only when its stage has run.

The page draws them wide and narrow, the dashboard places some of them on one sheet.
Those that compare runs are in `run_charts.py`.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import FigureBase

from aplantida_jax.evaluate import calibration_plots, plots
from aplantida_jax.evaluate.plot_style import Palette
from aplantida_jax.reporting import run_charts, unknown_chart
from aplantida_jax.reporting.chart import Chart, is_narrow, panels
from aplantida_jax.reporting.criterion import at, in_unit
from aplantida_jax.reporting.findings import Findings


def charts(found: Findings) -> dict[str, Chart]:
    """By name, in the order of the page."""
    student = found.run(found.student)
    fit = student.calibration if student else None
    candidates = {
        "learning": run_charts.learning(found),
        "runs": run_charts.learning_by_run(found),
        "differences": run_charts.differences(found),
        "regions": run_charts.by_region(found),
        "bands": run_charts.by_band(found),
        "reliability": _reliability(fit),
        "coverage": _coverage(fit),
        "unknown": unknown_chart.chart(found.out_of_distribution),
        "classes": _classes(found),
        "export": _export(found),
    }
    return {name: chart for name, chart in candidates.items() if chart is not None}


def _reliability(fit: Mapping[str, Any] | None) -> Chart | None:
    if fit is None:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        if not is_narrow(figure):
            calibration_plots.reliability_pair(figure, palette, fit)
            return
        axes = figure.subplots(4, 1, height_ratios=[4, 1, 4, 1])
        for place, when in ((0, "before"), (2, "after")):
            table, error = fit[f"reliability_{when}"], fit[f"ece_{when}"]
            title = f"{when}: ECE {error:.3f}"
            calibration_plots.reliability(axes[place], palette, table, title=title)
            axes[place].set_xlabel("")
            calibration_plots.confidence_counts(axes[place + 1], palette, table)

    caption = (
        f"Accuracy against confidence on test, before and after dividing the logits by "
        f"{fit['temperature']:.2f}; on the dashed line they agree. Below, how many "
        "photos each bin holds."
    )
    return Chart("Is its confidence honest?", caption, 4.6, draw, 8.6)


def _coverage(fit: Mapping[str, Any] | None) -> Chart | None:
    if fit is None:
        return None
    target = fit["accuracy_target"]

    def draw(figure: FigureBase, palette: Palette) -> None:
        left, right = panels(figure, 2)
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
    return Chart("When to say “no concluyente”", caption, 3.6, draw, 6.4)


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
    return Chart("Images per class", caption, 3.2, draw, 3.2)


def _export(found: Findings) -> Chart | None:
    variants = at(found.validation, "variants")
    sizes = {n: v["bytes"] / 1e6 for n, v in (variants or {}).items() if "bytes" in v}
    times = {n: v["median_ms"] for n, v in (variants or {}).items() if "median_ms" in v}
    if not sizes:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        left, right = panels(figure, 2)
        for axes, values, unit in ((left, sizes, "MB"), (right, times, "ms")):
            text = {name: in_unit(value, unit) for name, value in values.items()}
            plots.horizontal_bars(axes, palette, values, text=text, xlabel=unit)
        left.set_title("model size")
        right.set_title("one photo in the browser")

    caption = "Size of the exported model by precision, and the browser's median time."
    return Chart("Size and speed", caption, 2.4, draw, 4.2)
