"""Charts that compare runs: learning curves, regions, the long tail, differences."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator, PercentFormatter

from aplantida_jax import paths
from aplantida_jax.data import regions
from aplantida_jax.evaluate import metrics, plots
from aplantida_jax.evaluate.plot_style import Palette
from aplantida_jax.reporting import svg
from aplantida_jax.reporting.chart import Chart, is_narrow, legend, panels
from aplantida_jax.reporting.criterion import at
from aplantida_jax.reporting.findings import Findings, Run

_CURVES = (("top1_accuracy", "top-1", True), ("loss", "loss, nats", False))
_PER_ROW = 4  # small charts of runs; 2 where it is narrow


def colours(found: Findings, palette: Palette) -> dict[str, str]:
    """A run has the same colour in every chart; the student has the first one.

    The floor that the others stand on is grey; a second round is lighter.
    """
    names = [run.name for run in found.runs if run.name != "baseline"]
    names.sort(key=lambda name: name != found.student)
    *series, grey = palette.series
    # The lighter ones begin elsewhere: the student's own would stand beside it.
    others = [*series[2:], *series[:2]]
    rounds = [*series, *(svg.tint(colour, palette) for colour in others)]
    found_colours = {
        name: rounds[index % len(rounds)] for index, name in enumerate(names)
    }
    return {run.name: found_colours.get(run.name, grey) for run in found.runs}


def learning(found: Findings) -> Chart | None:
    """Validation of all runs in one chart."""
    trained = [run for run in found.runs if run.history]
    if not trained:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        own = {r.name: c for r, c in _coloured(found, palette) if r.history}
        for axes, (field, label, percent) in zip(
            panels(figure, len(_CURVES)), _CURVES, strict=True
        ):
            curves = {run.name: _curve(run, f"val_{field}") for run in trained}
            plots.lines(
                axes, curves, colours=own, ylabel=f"{label} on val", percent=percent
            )
        legend(figure, own, line=True)

    caption = "Accuracy and loss on the validation split after each epoch."
    return Chart("Learning", caption, 3.9, draw, 6.4)


def learning_by_run(found: Findings) -> Chart | None:
    """Train beside val, a small chart a run."""
    trained = [run for run in found.runs if run.history]
    if not trained:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        columns = min(2 if is_narrow(figure) else _PER_ROW, len(trained))
        rows = -(-len(trained) // columns)
        places = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        for axes in places[len(trained) :]:
            axes.set_axis_off()
        own = colours(found, palette)
        for axes, run in zip(places, trained, strict=False):
            _train_and_val(axes, run, own[run.name], palette)

    caption = (
        "Top-1 by epoch, a chart for each run: the line is the validation split, dots "
        "are the training images as they were augmented (with mixup, what they were "
        "mixed to)."
    )
    wide, narrow = (
        0.4 + 1.8 * -(-len(trained) // columns) for columns in (_PER_ROW, 2)
    )
    return Chart("Train and val, run by run", caption, wide, draw, narrow)


def _train_and_val(axes: Axes, run: Run, colour: str, palette: Palette) -> None:
    x, train = _curve(run, "train_top1_accuracy")
    _, val = _curve(run, "val_top1_accuracy")
    few = "o" if len(x) < 3 else None  # a line through one point is invisible
    axes.plot(x, train, color=palette.muted, linewidth=1.2, linestyle=":", marker=few)
    axes.plot(x, val, color=colour, marker=few, markersize=4)
    axes.set_title(run.name, fontsize=8.5, pad=5)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    plots.percent_axis(axes, "y")


def by_region(found: Findings) -> Chart | None:
    rows = {run.name: run.per_region for run in found.runs if run.test}
    shown = [
        region
        for region in regions.REGIONS
        if any(region in own for own in rows.values())
    ]
    caption = (
        "Top-1 over the test photos of each region's plants, with 95 % intervals. "
        "Regional teachers appear where they were trained."
    )
    return _bars("Regions", caption, found, rows, shown, labels=shown)


def by_band(found: Findings) -> Chart | None:
    # Teachers of a region have other classes, so their bands do not compare.
    rows = {r.name: r.test["bands"] for r in found.runs if r.test and _is_global(r)}
    shown = [
        band
        for band in metrics.BANDS
        if any(band in row and row[band]["images"] for row in rows.values())
    ]
    images = {
        band: max(row[band]["images"] for row in rows.values() if band in row)
        for band in shown
    }
    labels = [
        f"{metrics.band_name(band)}\n{images[band]:,} "
        f"{'photo' if images[band] == 1 else 'photos'}"
        for band in shown
    ]
    caption = (
        "Top-1 on test by how many training images the plant has, with 95 % intervals; "
        "below each band, how many test photos it rests on."
    )
    return _bars("The long tail", caption, found, rows, shown, labels=labels)


def differences(found: Findings) -> Chart | None:
    """What stage compare found against its reference, top-1 and macro recall."""
    comparison = found.comparison
    pairs = [p for p in at(comparison, "pairs") or [] if p["with_reference"]]
    if not pairs:
        return None
    shown = (("top1_accuracy", "top-1"), ("macro_recall", "macro recall"))

    def draw(figure: FigureBase, palette: Palette) -> None:
        names = [short(pair["run"]) for pair in pairs]
        for number, (axes, (metric, label)) in enumerate(
            zip(panels(figure, len(shown)), shown, strict=True)
        ):
            _forest(axes, pairs, metric, palette)
            beside = number > 0 and not is_narrow(figure)
            axes.set_yticks(range(len(pairs)), [""] * len(pairs) if beside else names)
            axes.set_xlabel(f"{label}, points")

    caption = (
        f"Difference to {short(at(comparison, 'reference'))} on the same test photos, "
        "with its 95 % interval, of that one comparison; coloured where top-1 differs "
        "after the correction for all of them."
    )
    height = 1.1 + 0.42 * len(pairs)
    return Chart("Differences", caption, height, draw, 2 * height + 0.4)


def _forest(
    axes: Axes, pairs: Sequence[dict[str, Any]], metric: str, palette: Palette
) -> None:
    """A mark and an interval for each pair's difference, the first on top."""
    for place, pair in enumerate(pairs):
        row = pair["differences"][metric]
        colour = _verdict_colour(pair, row, palette)
        if row["interval"] is not None:
            axes.plot(row["interval"], [place, place], color=colour)
        axes.plot(row["difference"], place, "o", color=colour, markersize=6)
    axes.axvline(0, color=palette.muted, linewidth=1)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(visible=False, axis="y")


def short(run: str) -> str:
    """ "a_s1+a_s2+a_s3" -> "a, 3 seeds"; a single run as it is."""
    members = run.split("+")
    if len(members) == 1:
        return run
    return f"{members[0].rstrip('0123456789').removesuffix('_s')}, {len(members)} seeds"


def _verdict_colour(pair: dict[str, Any], row: dict[str, Any], palette: Palette) -> str:
    interval = row["interval"]
    if not pair["significant"] or interval is None or interval[0] <= 0 <= interval[1]:
        return palette.muted
    return palette.good if interval[0] > 0 else palette.bad


def _coloured(found: Findings, palette: Palette) -> list[tuple[Run, str]]:
    own = colours(found, palette)
    return [(run, own[run.name]) for run in found.runs]


def _curve(run: Run, field: str) -> tuple[list[float], list[float]]:
    return [row["epoch"] for row in run.history], [row[field] for row in run.history]


def _is_global(run: Run) -> bool:
    return run.best is None or not paths.region_slug(run.best["region"])


def _bars(
    title: str,
    caption: str,
    found: Findings,
    rows: dict[str, dict[str, Any]],
    groups: Sequence[str],
    *,
    labels: Sequence[str],
) -> Chart | None:
    """Bars of top-1 of runs by group, or None where there is no group."""
    if not groups:
        return None

    def draw(figure: FigureBase, palette: Palette) -> None:
        own = {name: c for name, c in colours(found, palette).items() if name in rows}
        axes = figure.subplots()
        plots.grouped_bars(
            axes,
            labels,
            {
                name: [at(row.get(group), "top1_accuracy") for group in groups]
                for name, row in rows.items()
            },
            palette=palette,
            colours=own,
            intervals={
                name: [
                    at(row.get(group), "intervals", "top1_accuracy") for group in groups
                ]
                for name, row in rows.items()
            },
        )
        if (inner := axes.get_legend()) is not None:
            inner.remove()
        axes.set_ylabel("top-1 on test")
        legend(figure, own, line=False)

    return Chart(title, caption, 3.9, draw, 4.2)
