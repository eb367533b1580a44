"""The page holds what was found, and asks nothing of the network."""

import re

import finished_runs
import pytest

from aplantida_jax import report
from aplantida_jax.reporting import charts, criteria, page
from aplantida_jax.reporting.thumbnails import Thumbnails
from configs import report as report_config


def _build(found, variant="demo"):
    config = report_config.get_config(variant)
    config.download.cache_dir = "nowhere"
    return page.build(
        found,
        page.Edition("1.0", variant, "2026-01-01T00:00:00+00:00"),
        criteria=criteria.table(found),
        charts=charts.charts(found),
        verdict=report.licence_verdict(found),
        manifest_yaml="timestamp: now\n",
        thumbnails=Thumbnails(config),
    )


@pytest.fixture(scope="module")
def html():
    return _build(finished_runs.findings(finished_runs.label_map()))


def test_every_section_is_there_and_linked(html):
    sections = re.findall(r'<section id="(\w+)">', html)
    links = re.findall(r'<a href="#(\w+)">', html)
    assert sections == links
    assert sections == [
        "criteria",
        "runs",
        "places",
        "calibration",
        "confusions",
        "data",
        "export",
        "licences",
        "manifest",
    ]


def test_nothing_is_fetched(html):
    sources = re.findall(r'(?:src|srcset|href)="([^"]+)"', html)
    assert all(s.startswith(("data:image/", "#")) for s in sources)
    assert "<script" not in html
    assert "@import" not in html
    assert "url(" not in html


def test_every_image_has_words_for_who_cannot_see_it(html):
    assert re.findall(r"<img(?![^>]* alt=)[^>]*>", html) == []


def test_the_demo_says_that_it_is_one(html):
    assert "plants that the program draws itself" in html


def test_figures_are_those_of_the_findings(html):
    found = finished_runs.findings(finished_runs.label_map())
    top1 = found.run("student_finetune").test["top1_accuracy"]
    assert f"<b>{100 * top1:.1f} %</b>" in html
    assert "may ship" in html
    assert "3 pairs are the same file, 41 nearly, 3 of them under two names" in html


def test_a_project_where_nothing_has_run_has_a_page_too():
    html = _build(finished_runs.nothing(), variant="")
    assert re.findall(r'<section id="(\w+)">', html) == ["criteria", "runs", "manifest"]
    assert "not measured" in html
