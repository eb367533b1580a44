import dataclasses

import finished_runs
import pytest

from aplantida_jax.evaluate import plot_style
from aplantida_jax.reporting import charts, dashboard, markup


@pytest.fixture(scope="module")
def found():
    return finished_runs.findings(finished_runs.label_map())


def test_all_charts_are_there_and_draw(found):
    drawn = charts.charts(found)
    names = ["learning", "regions", "bands", "reliability", "coverage", "classes"]
    assert list(drawn) == [*names, "export"]
    for chart in drawn.values():
        assert markup.render(chart, dark=False) != markup.render(chart, dark=True)
        assert chart.caption.endswith(".")


def test_charts_of_stages_that_have_not_run_are_left_out(found):
    assert charts.charts(finished_runs.nothing()) == {}
    partly = dataclasses.replace(found, validation=None, train_images=None)
    assert {"export", "classes"}.isdisjoint(charts.charts(partly))


def test_regional_teachers_show_where_they_were_trained(found):
    drawn = charts.charts(found)["regions"]
    with plot_style.themed() as palette:
        figure = plot_style.new_figure(6, 3)
        drawn.draw(figure, palette)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        "EU_SW",
        "EU_NORTH",
        "EU_EAST",
    ]
    # Four runs of all plants in three regions, the regional teacher in its own.
    assert len(axes.patches) == 4 * 3 + 1


def test_the_dashboard_holds_what_there_is(found):
    drawn = charts.charts(found)
    figures = [("71 %", "top-1 on test"), ("9 ms", "one photo in the browser")]
    whole = dashboard.render(drawn, title="t", subtitle="s", figures=figures)
    assert whole.startswith(b"\x89PNG")
    empty = dashboard.render({}, title="t", subtitle="s", figures=[])
    assert empty.startswith(b"\x89PNG")
    assert len(empty) < len(whole)
