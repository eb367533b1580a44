"""Charts show the numbers they are given, and never fail on odd ones."""

import finished_runs
import numpy as np
import pytest
from finished_runs import Skill

from aplantida_jax.evaluate import calibration, calibration_plots, plot_style, plots


@pytest.fixture
def canvas():
    with plot_style.themed() as palette:
        yield plot_style.new_figure(4, 3), palette


@pytest.fixture(scope="module")
def fit():
    scored = [
        finished_runs.score(*finished_runs.drawn(200, 6, seed=s), 6, Skill(3.0, 3.0))
        for s in (1, 2)
    ]
    return finished_runs.fit("run", finished_runs.label_map(), *scored)


def test_bars_have_the_given_heights_and_none_has_no_bar(canvas):
    figure, palette = canvas
    axes = figure.subplots()
    plots.grouped_bars(
        axes,
        ["EU_SW", "EU_EAST"],
        {"teacher": [0.8, None], "student": [0.7, 0.6]},
        palette=palette,
        intervals={"teacher": [[0.75, 0.85], None], "student": [None, None]},
    )
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [0.8, 0.7, 0.6]
    assert axes.patches[2].get_center()[0] == pytest.approx(1.0)  # alone, so centred
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["teacher", "student"]
    assert plot_style.png(figure).startswith(b"\x89PNG")


def test_reliability_bars_reach_confidence_or_accuracy(canvas):
    figure, palette = canvas
    axes = figure.subplots()
    table = calibration.reliability(
        np.array([0.9, 0.9, 0.3, 0.3]), np.array([1, 0, 1, 1], bool), bins=2
    )
    calibration_plots.reliability(axes, palette, table.to_json(), title="t")
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    # Per bin: the part they share, then what is claimed too much or too little.
    np.testing.assert_allclose(tops[:2], [0.3, 0.5])
    np.testing.assert_allclose(tops[2:4], [0.3, 0.9])
    np.testing.assert_allclose(tops[4:], [1.0, 0.5])


def test_the_same_chart_is_the_same_bytes(fit):
    def draw():
        with plot_style.themed() as palette:
            figure = plot_style.new_figure(6, 4)
            calibration_plots.reliability_pair(figure, palette, fit)
            return plot_style.png(figure)

    assert draw() == draw()


@pytest.mark.parametrize("dark", [False, True])
def test_every_calibration_chart_draws(fit, dark):
    with plot_style.themed(dark=dark) as palette:
        figure = plot_style.new_figure(8, 3)
        left, right = figure.subplots(1, 2)
        curves = {"test": fit["risk_coverage"]}
        calibration_plots.risk_coverage(left, palette, curves, target_risk=0.05)
        calibration_plots.thresholds(
            right, palette, fit["threshold_table"], target=0.95, chosen=None
        )
        image = plot_style.png(figure)
    assert image.startswith(b"\x89PNG")


def test_the_style_ends_with_its_block():
    import matplotlib

    before = matplotlib.rcParams["axes.facecolor"]
    with plot_style.themed(dark=True) as palette:
        assert matplotlib.rcParams["axes.facecolor"] == palette.paper
    assert matplotlib.rcParams["axes.facecolor"] == before


def test_a_matrix_writes_its_large_shares(canvas):
    figure, palette = canvas
    axes = figure.subplots()
    plots.matrix(axes, palette, np.array([[0.8, 0.2], [0.0, 1.0]]), ["Acer", "Rosa"])
    assert [text.get_text() for text in axes.texts] == ["80", "20", "100"]
    plot_style.png(figure)


def test_images_per_class_is_sorted_and_leaves_empty_classes_out(canvas):
    figure, palette = canvas
    axes = figure.subplots()
    plots.images_per_class(axes, palette, np.array([3, 0, 100, 1]))
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [100, 3, 1])
    plot_style.png(figure)


def test_lines_and_horizontal_bars_draw(canvas):
    figure, palette = canvas
    left, right = figure.subplots(1, 2)
    curves = {"a": ([1, 2, 3], [0.1, 0.2, 0.3]), "b": ([1], [0.4])}
    colours = palette.by_name(curves)
    plots.lines(left, curves, colours=colours, ylabel="top-1", percent=True)
    assert left.lines[1].get_marker() == "o"  # one epoch is still visible
    plots.horizontal_bars(
        right, palette, {"uint8": 0.5}, text={"uint8": "0.5 MB"}, xlabel="MB"
    )
    assert plot_style.png(figure).startswith(b"\x89PNG")


def test_more_names_than_colours_start_again():
    colours = plot_style.LIGHT.by_name(str(i) for i in range(8))
    assert colours["0"] == colours["6"]
    assert len(set(colours.values())) == 6
