"""The page of an evaluation holds its figures, and asks nothing of the network."""

import dataclasses
import re

import evaluated_runs
import finished_runs
import numpy as np
import pytest
from finished_runs import OPTIONS, Skill

from aplantida_jax.evaluate import page, summary
from aplantida_jax.evaluate.examples import Examples
from aplantida_jax.reporting.thumbnails import Thumbnails

IDS = np.arange(1, 301, dtype=np.uint64)
LABEL = (np.arange(300) % 6).astype(np.int32)


@pytest.fixture
def thumbnails(tmp_path):
    shown = Thumbnails(evaluated_runs.configuration(tmp_path))  # of no cache
    yield shown
    shown.close()


def evaluated(skill, *, region=""):
    label_map = finished_runs.label_map()
    logits = evaluated_runs.logits(LABEL, 6, skill, seed=4)
    about = finished_runs.subject("run <1>", label_map, region=region)
    found, answers = summary.summarise(
        about, IDS, LABEL, logits, group=IDS // 3, options=OPTIONS
    )
    examples = Examples(
        answers.image_id, answers.label, answers.top_class[:, 0], answers.confidence
    )
    return found, summary.per_class(about, answers), examples


def test_the_page_holds_the_figures_and_fetches_nothing(thumbnails):
    found, classes, examples = evaluated(Skill(1.5))
    html = page.build(found, classes, examples, thumbnails)
    sections = re.findall(r'<section id="(\w+)">', html)
    assert sections == ["figures", "places", "tail", "confusions", "species"]
    links = re.findall(r'<a href="#(\w+)">', html)
    assert links == sections
    assert f"{100 * found['top1_accuracy']:.1f}&thinsp;%" in html
    low, high = found["intervals"]["macro_recall"]
    assert f"{100 * low:.1f} to {100 * high:.1f}" in html
    assert "100 resamples of the 101 groups that the 300 photos form" in html
    assert "run &lt;1&gt; on test" in html
    assert "run <1>" not in html
    sources = re.findall(r'(?:src|srcset|href)="([^"]+)"', html)
    assert all(s.startswith(("data:image/", "#")) for s in sources)
    assert "<script" not in html
    assert "@import" not in html
    worst = classes[0]["latin_name"]
    assert html.index(worst) < html.index("All species are in per_class.json")


def test_a_regional_model_says_what_it_does_not_know(thumbnails):
    found, classes, examples = evaluated(Skill(1.5), region="EU_SW")
    html = page.build(found, classes, examples, thumbnails)
    assert "It answers with the 4 of 6 classes of EU_SW only." in html
    assert "100 photos are of other plants and count as wrong" in html


def test_a_perfect_model_has_no_mistakes_to_show(thumbnails):
    found, classes, examples = evaluated(Skill(50.0))
    html = page.build(found, classes, examples, thumbnails)
    assert re.findall(r'<section id="(\w+)">', html) == ["figures", "places", "tail"]


def test_a_model_without_a_country_has_no_prior(thumbnails):
    found, classes, examples = evaluated(Skill(1.5))
    assert "soft prior" in page.build(found, classes, examples, thumbnails)
    html = page.build({**found, "country": None}, classes, examples, thumbnails)
    assert "soft prior" not in html


class TestExamples:
    @pytest.fixture
    def examples(self):
        # Of class 1: photos 10 and 12 recognised, 11 and 13 taken for class 2.
        return Examples(
            image_id=np.array([10, 11, 12, 13, 14], np.uint64),
            label=np.array([1, 1, 1, 1, 2]),
            answer=np.array([1, 2, 1, 2, 2]),
            probability=np.array([0.5, 0.9, 0.8, 0.95, 0.7], np.float32),
        )

    def test_typical_photos_are_those_recognised_best(self, examples):
        ids = examples.typical(1, limit=3)
        assert [int(i, 16) for i in ids] == [12, 10, 13]

    def test_missed_photos_are_the_most_confident_mistakes(self, examples):
        assert [int(i, 16) for i in examples.missed(1, limit=5)] == [13, 11]
        assert examples.missed(2, limit=5) == []

    def test_what_a_species_is_taken_for(self, examples):
        assert examples.taken_for(1) == (2, 2)
        assert examples.taken_for(2) is None
        nothing = dataclasses.replace(examples, label=np.full(5, 7))
        assert nothing.taken_for(1) is None
