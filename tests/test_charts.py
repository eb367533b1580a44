import dataclasses
import re

import finished_project
import finished_runs
import pytest

from aplantida_jax.evaluate import plot_style
from aplantida_jax.reporting import charts, dashboard, run_charts, svg


@pytest.fixture(scope="module")
def found():
    return finished_project.findings(finished_runs.label_map())


def test_all_charts_are_there_and_draw(found):
    drawn = charts.charts(found)
    names = ["learning", "runs", "differences", "regions", "bands", "reliability"]
    assert list(drawn) == [*names, "coverage", "unknown", "classes", "export"]
    for name, chart in drawn.items():
        assert chart.caption.endswith(".")
        wide, narrow = (svg.render(chart, size, name=name) for size in chart.sizes)
        assert wide.startswith("<svg viewBox=")
        assert wide != narrow


def test_every_colour_of_a_chart_is_one_of_the_page(found):
    """A colour that is no variable would be the light theme's on a dark page."""
    for name, chart in charts.charts(found).items():
        drawn = svg.render(chart, chart.sizes[0], name=name)
        bare = re.findall(r"(?:fill|stroke): (#\w+)", drawn)
        assert bare == [], name
        used = set(re.findall(r"var\((--chart-\w+)", drawn))
        assert used <= set(re.findall(r"(--chart-\w+):", svg.styles()))


def test_ids_of_two_charts_never_meet(found):
    drawn = charts.charts(found)
    one, other = (
        set(re.findall(r'\bid="([^"]+)"', svg.render(drawn[n], (6, 3), name=n)))
        for n in ("coverage", "bands")
    )
    assert one
    assert not one & other
    again = svg.render(drawn["bands"], (6, 3), name="bands")
    assert again == svg.render(drawn["bands"], (6, 3), name="bands")


def test_twelve_runs_have_colours_of_their_own(found):
    run = found.run("student_finetune")
    runs = [dataclasses.replace(run, name=f"run_{i}") for i in range(10)]
    many = dataclasses.replace(found, runs=[*runs, run, found.run("baseline")])
    own = run_charts.colours(many, plot_style.LIGHT)
    assert len(set(own.values())) == 11
    assert own["student_finetune"] == plot_style.LIGHT.series[0]
    assert own["baseline"] == plot_style.LIGHT.series[-1]


def test_charts_of_stages_that_have_not_run_are_left_out(found):
    assert charts.charts(finished_project.nothing()) == {}
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
