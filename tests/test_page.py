"""The page holds what was found, and asks nothing of the network."""

import re

import finished_project
import finished_runs
import pytest

from aplantida_jax import report
from aplantida_jax.reporting import charts, confidence_sections, criteria, page
from aplantida_jax.reporting.thumbnails import Thumbnails
from configs import report as report_config


def _build(found, variant="demo"):
    config = report_config.get_config(variant)
    config.download.cache_dir = "nowhere"
    return page.build(
        found,
        page.Edition("1.0", variant, "2026-01-01T00:00:00+00:00", 42),
        criteria=criteria.table(found),
        charts=charts.charts(found),
        verdict=report.licence_verdict(found),
        manifest_yaml="timestamp: now\n",
        thumbnails=Thumbnails(config),
    )


@pytest.fixture(scope="module")
def html():
    return _build(finished_project.findings(finished_runs.label_map()))


def test_every_section_is_there_and_linked(html):
    sections = re.findall(r'<section id="(\w+)">', html)
    links = re.findall(r'<a href="#(\w+)">', html.partition("<nav")[2])
    assert sections == links
    assert sections == [
        "criteria",
        "runs",
        "comparison",
        "places",
        "calibration",
        "unknown",
        "confusions",
        "data",
        "soft_labels",
        "export",
        "licences",
        "reproduction",
        "manifest",
    ]


def test_confidence_is_shown_with_its_intervals():
    found = finished_project.findings(finished_runs.label_map())
    fit = found.run(found.student).calibration
    way = {"loss": 0.5, "ece": 0.0123, "top1_accuracy": 0.8}
    fit["vector_scaling"] = {
        "cross_validated_on_val": {"helps": True},
        "on_test": {"vector": way},
        "agree": False,
    }
    fit["assured_threshold"] = 0.9
    shown = confidence_sections.calibration(found, {})
    low, high = fit["intervals"]["ece_change"]
    ends = f"{low:.4f} to {high:.4f}".replace("-", "\N{MINUS SIGN}")
    assert ends in shown
    assert "0.0123" in shown
    assert "helps (on test the loss changes the other way)" in shown
    row = next(r for r in fit["threshold_table"] if r["threshold"] == 0.9)
    cautious = shown.partition("species, cautiously")[2]
    assert f"{100 * row['coverage']:.1f}" in cautious
    fit["vector_scaling"] = fit["assured_threshold"] = None
    shown = confidence_sections.calibration(found, {})
    assert "autiously" not in shown
    assert "Vector scaling" not in shown


def test_nothing_is_fetched(html):
    sources = re.findall(r'(?:src|srcset|href)="([^"]+)"', html)
    sources += re.findall(r"url\(([^)]+)\)", html)
    assert all(s.startswith(("data:image/", "#")) for s in sources)
    assert "<script" not in html
    assert "@import" not in html


def test_every_image_has_words_for_who_cannot_see_it(html):
    assert re.findall(r"<img(?![^>]* alt=)[^>]*>", html) == []


def test_no_id_is_there_twice(html):
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_headings_go_down_one_level_at_a_time(html):
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_the_comparison_says_what_is_shown_and_what_is_not(html):
    shown = html.partition('<section id="comparison">')[2].partition("</section>")[0]
    assert "Each run less <b>student_labels</b>" in shown
    assert re.search(r"student_distill</th>.*?\+5\.2.*?better</span>", shown)
    assert re.search(r"student_finetune, 2 seeds.*?no difference shown", shown)


def test_what_it_cannot_know_has_shares_and_the_worst_answers(html):
    shown = html.partition('<section id="unknown">')[2].partition("</section>")[0]
    held_out = shown.partition("held-out species</th>")[2].partition("</tr>")[0]
    cells = re.findall(r"<td[^>]*>([\d.,]+)", held_out)
    assert cells == ["80", "15.0", "11.2", "3.8", "70.0", "0.910", "0.420"]
    assert "of 5 species" in held_out
    assert "0.71 to 0.97" in held_out
    card = shown.partition('<div class="card">')[2].partition("</div>")[0]
    assert "Acer species1</i></b>, 99" in card
    assert "is no plant: tiles" in card


def test_soft_labels_tell_size_and_divergence(html):
    shown = html.partition('<section id="soft_labels">')[2].partition("</section>")[0]
    assert "1/414" in shown  # 4 * 8587 bytes over 83
    assert "0.0004" in shown
    assert "0.0075 at 3" in shown


def test_the_commands_are_those_that_ran(html):
    shown = html.partition('<section id="reproduction">')[2].partition("</section>")[0]
    command = "python -m aplantida_jax.main --config=configs/x.py --config.stage=train"
    assert shown.count(command) == 4
    assert "6e1f0c3a9b21" in shown


def test_the_demo_says_that_it_is_one(html):
    assert "plants that the program draws itself" in html


def test_figures_are_those_of_the_findings(html):
    found = finished_project.findings(finished_runs.label_map())
    top1 = found.run("student_finetune").test["top1_accuracy"]
    assert f"<b>{100 * top1:.1f} %</b>" in html
    assert "may ship" in html
    assert "3 pairs are the same file, 41 nearly, 3 of them under two names" in html


def test_a_project_where_nothing_has_run_has_a_page_too():
    html = _build(finished_project.nothing(), variant="")
    assert re.findall(r'<section id="(\w+)">', html) == ["criteria", "runs", "manifest"]
    assert "not measured" in html
