"""How often a comparison cries wolf, and what it says in cases done by hand."""

import finished_runs
import numpy as np
import pytest

from aplantida_jax.evaluate import comparison
from aplantida_jax.evaluate.measures import Answered, Contender, Measures

LABEL_MAP = finished_runs.label_map()
TRAIN_IMAGES = np.array([1, 5, 50, 500, 500, 500])


def answered(name, right, label=None, group=None, first_id=0):
    """A run that is right, or whose truth comes tenth."""
    n = len(right)
    ids = np.arange(first_id, first_id + n, dtype=np.uint64)
    label = np.arange(n) % 6 if label is None else np.asarray(label)
    rank = np.where(right, 0, 9).astype(np.int32)
    group = ids if group is None else np.asarray(group, np.uint64)
    return Answered(name, "", ids, label.astype(np.int32), rank, group)


def alone(name, right, **about):
    return Contender(name, (answered(name, right, **about),))


def table(*contenders, resamples=100):
    measures = Measures(LABEL_MAP, TRAIN_IMAGES, resamples=resamples, seed=0)
    return comparison.table(contenders, measures)


def test_differences_by_hand():
    # Photos of classes 0, 0, 1, 3: only the first run knows class 1, only the second
    # photo 1 and class 3.
    label = [0, 0, 1, 3]
    first = alone("first", np.array([True, False, True, False]), label=label)
    second = alone("second", np.array([True, True, False, True]), label=label)
    found = table(first, second)
    (pair,) = found["pairs"]
    step = {name: row["difference"] for name, row in pair["differences"].items()}
    assert step["top1_accuracy"] == pytest.approx(3 / 4 - 2 / 4)
    assert step["macro_recall"] == pytest.approx(2 / 3 - (0.5 + 1) / 3)
    assert pair["mcnemar"] == {"only_reference": 1, "only_run": 2, "p": 1.0}
    assert pair["p"] == 1.0
    bands = {
        name: (band["images"], band["differences"]["top1_accuracy"]["difference"])
        for name, band in pair["bands"].items()
    }
    assert bands == {
        "one_shot": (2, 0.5),
        "tail": (1, -1.0),
        "mid": (0, None),
        "head": (1, 1.0),
    }
    # Class 3 grows in Portugal, class 1 in Germany, class 0 in Spain.
    region = pair["per_region"]["EU_SW"]
    assert region["images"] == 3
    assert region["differences"]["top1_accuracy"]["difference"] == pytest.approx(2 / 3)
    assert found["significant"] == []


def test_holm_is_over_each_family():
    rng = np.random.default_rng(1)
    shares = {"a": 0.5, "b": 0.62, "c": 0.66, "d": 0.5}
    found = table(*(alone(n, rng.random(300) < s) for n, s in shares.items()))
    p = [pair["p"] for pair in found["pairs"]]
    with_a = sorted(p[:3])
    assert found["pairs"][0]["reference"] == found["pairs"][2]["reference"] == "a"
    least = min(found["pairs"][:3], key=lambda pair: pair["p"])
    assert least["p_holm"] == pytest.approx(min(1, 3 * with_a[0]))
    assert min(pair["p_holm_all"] for pair in found["pairs"]) == pytest.approx(
        min(1, 6 * min(p))
    )


def test_groups_make_a_difference_less_certain():
    # The second run is better on 8 observations of 10 photos each, of 60.
    group = np.repeat(np.arange(60), 10)
    first = np.zeros(600, bool)
    second = np.repeat(np.arange(60) < 8, 10)
    second[np.repeat((np.arange(60) >= 50), 10)] = False
    first[np.repeat((np.arange(60) >= 58), 10)] = True
    by_photo, by_group = (
        table(alone("first", first, group=g), alone("second", second, group=g))
        for g in (None, group)
    )
    assert by_photo["pairs"][0]["p"] < 1e-6
    assert by_group["pairs"][0]["p"] == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    widths = [
        np.ptp(found["pairs"][0]["differences"]["top1_accuracy"]["interval"])
        for found in (by_photo, by_group)
    ]
    assert widths[1] > 2 * widths[0]


def test_equal_runs_are_told_apart_once_in_twenty():
    rng = np.random.default_rng(2)
    missed = np.zeros(120)
    for trial in range(len(missed)):
        group = np.arange(200) // 2
        easy = np.repeat(rng.random(100) * 0.6, 2)  # some photos are easy for both
        found = table(
            *(alone(n, rng.random(200) < easy + 0.2, group=group) for n in "ab")
        )
        low, high = found["pairs"][0]["differences"]["top1_accuracy"]["interval"]
        missed[trial] = not low <= 0 <= high
    assert 0.01 <= missed.mean() <= 0.11


def way(name, runs, rng, *, apart=0.02, gain=0.0, photos=1500):
    """Runs of a way; each is better or worse by some points of its own."""
    seeds = [
        answered(
            f"{name}{s}", rng.random(photos) < 0.6 + gain + rng.normal(scale=apart)
        )
        for s in range(runs)
    ]
    return Contender(name, tuple(seeds))


def test_two_seeds_of_each_of_many_ways_find_what_is_better():
    # One way's two seeds alone tell too little of their spread: t has 12.7 for 1.96.
    rng = np.random.default_rng(3)
    ways = [way(name, 2, rng) for name in "abcdef"]
    found = table(*ways, way("better", 2, rng, gain=0.1))
    assert [(row["better"], row["worse"]) for row in found["significant"]][:1] == [
        ("better", "a")
    ]
    assert {row["better"] for row in found["significant"]} == {"better"}
    pair = found["pairs"][0]
    assert pair["seeds"]["degrees_of_freedom"] == 7
    assert 0.008 < pair["seeds"]["standard_deviation"] < 0.035
    assert "spread" not in found["notes"][0]
    assert "7 degrees of freedom" in found["notes"][0]


def test_one_run_has_the_spread_of_the_others():
    # Chance alone, which a run known once had taken for a finding one time in four.
    rng = np.random.default_rng(5)
    found = []
    for _ in range(30):
        ways = [way("a", 1, rng, apart=0.04), way("b", 4, rng, apart=0.04)]
        found.append(table(*ways, resamples=30))
    assert np.mean([bool(x["significant"]) for x in found]) <= 0.1
    assert found[0]["pairs"][0]["test"] == comparison.OVER_SEEDS
    assert "of a one run is known" in found[0]["notes"][1]


def test_single_runs_are_told_as_what_they_are():
    # Ways that are equal: seeds alone make a difference between trained models.
    rng = np.random.default_rng(3)
    found = [
        table(*(way(name, 1, rng, apart=0.06) for name in "ab"), resamples=2)
        for _ in range(40)
    ]
    assert np.mean([bool(x["significant"]) for x in found]) > 0.3
    for told in found:
        assert "another seed may turn which is better" in told["notes"][0]
        assert all(row["test"] == comparison.BY_GROUP for row in told["significant"])


def test_the_spread_is_that_on_the_photos_of_the_pair():
    # The regional way answered 900 photos only; the others' seeds are known there too.
    rng = np.random.default_rng(4)
    ways = [way("a", 2, rng), way("b", 2, rng), way("local", 1, rng, photos=900)]
    found = table(*ways)
    partial = found["pairs"][1]
    assert (partial["run"], partial["images"]) == ("local", 900)
    assert partial["seeds"]["degrees_of_freedom"] == 2
    local = table(way("a", 1, rng), way("local", 2, rng, photos=900))
    assert local["pairs"][0]["seeds"]["degrees_of_freedom"] == 1


def test_one_group_alone_has_no_interval():
    found = table(*(alone(n, np.ones(3, bool), group=[7, 7, 7]) for n in "ab"))
    assert found["pairs"][0]["differences"]["top1_accuracy"]["interval"] is None
    assert found["runs"][0]["intervals"]["top1_accuracy"] is None
