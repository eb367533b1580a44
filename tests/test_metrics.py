import numpy as np
import pytest

from aplantida_jax.data.labels import LabelMap, Taxon
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import intervals, metrics
from aplantida_jax.evaluate.answers import judge

# Four classes of two genera: 0 and 1 of genus 0, 2 and 3 of genus 1.
GENUS_OF = np.array([0, 0, 1, 1], np.int32)


def _judged(probability, label, **options):
    probability = np.asarray(probability, np.float64)
    label = np.asarray(label, np.int32)
    image_id = np.arange(1, len(label) + 1, dtype=np.uint64)
    logits = np.log(probability).astype(np.float32)
    return judge(image_id, label, logits, genus_of=GENUS_OF, **options)


@pytest.fixture
def answers():
    # Image 0 right; 1 wrong, its genus right; 2 right, its genus wrong; 3 wrong.
    return _judged(
        [
            [0.7, 0.1, 0.1, 0.1],
            [0.5, 0.3, 0.1, 0.1],
            [0.4, 0.02, 0.3, 0.28],
            [0.1, 0.2, 0.6, 0.1],
        ],
        [0, 1, 0, 0],
    )


def test_hand_computed_answers(answers):
    np.testing.assert_array_equal(answers.correct, [True, False, True, False])
    np.testing.assert_array_equal(answers.genus_correct, [True, True, False, False])
    np.testing.assert_array_equal(answers.label_rank, [0, 1, 0, 2])
    np.testing.assert_allclose(answers.confidence, [0.7, 0.5, 0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(
        answers.genus_probability, [0.8, 0.8, 0.58, 0.7], rtol=1e-6
    )
    np.testing.assert_allclose(answers.nll, -np.log([0.7, 0.3, 0.4, 0.1]), rtol=1e-6)


def test_equal_probabilities_come_in_the_order_of_class_ids():
    tied = _judged([[0.25, 0.25, 0.25, 0.25]], [2])
    np.testing.assert_array_equal(tied.top_class, [[0, 1, 2, 3]])
    np.testing.assert_array_equal(tied.label_rank, [2])


def test_hand_computed_accuracy(answers):
    found = metrics.accuracy(answers)
    assert found["images"] == 4
    assert found["top1_accuracy"] == 0.5
    assert found["top5_accuracy"] == 1.0
    assert found["genus_accuracy"] == 0.5
    # Class 0: 2 of 3; class 1: 0 of 1.
    assert found["macro_recall"] == pytest.approx(1 / 3)
    expected = -np.log([0.7, 0.3, 0.4, 0.1]).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


def test_top5_counts_the_fifth_and_not_the_sixth():
    logits = np.tile(np.arange(6, 0, -1, dtype=np.float32), (2, 1))
    found = judge(
        np.arange(2, dtype=np.uint64),
        np.array([4, 5], np.int32),
        logits,
        genus_of=np.arange(6, dtype=np.int32),
    )
    assert metrics.accuracy(found)["top5_accuracy"] == 0.5


def test_chunks_do_not_change_anything(monkeypatch):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(23, 4)).astype(np.float32)
    label = rng.integers(4, size=23).astype(np.int32)
    ids = np.arange(23, dtype=np.uint64)
    whole = judge(ids, label, logits, genus_of=GENUS_OF)
    monkeypatch.setattr(answers_lib, "_CHUNK", 20)
    chunked = judge(ids, label, logits, genus_of=GENUS_OF)
    for field in ("top_class", "label_rank", "nll", "genus_probability"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(chunked, field))


def test_a_mask_forbids_the_other_classes():
    mask = np.array([True, False, True, False])
    found = _judged([[0.1, 0.6, 0.2, 0.1]], [2], class_mask=mask)
    np.testing.assert_array_equal(found.top_class[0, :2], [2, 0])
    assert found.confidence[0] == pytest.approx(2 / 3, rel=1e-6)
    assert found.correct[0]


def test_a_masked_label_is_wrong_and_has_no_loss():
    mask = np.array([True, False, True, True])
    found = _judged([[0.1, 0.6, 0.2, 0.1]], [1], class_mask=mask)
    assert not found.correct[0]
    assert metrics.accuracy(found)["loss"] is None


def test_the_country_prior_is_soft():
    taxa = tuple(
        Taxon(i, f"G{i} s", "", "", f"G{i}", "", ("ES",) if i == 1 else (), ())
        for i in range(4)
    )
    prior = answers_lib.country_log_prior(LabelMap(taxa), "ES", np.log(2.0))
    np.testing.assert_allclose(prior, [0, np.log(2), 0, 0])
    found = _judged([[0.4, 0.3, 0.2, 0.1]], [1], log_prior=prior)
    # Odds of class 1 double: 0.6 against 0.7 for the rest.
    assert found.confidence[0] == pytest.approx(0.6 / 1.3, rel=1e-6)
    assert found.correct[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        judge(
            np.zeros(1, np.uint64),
            np.zeros(1, np.int32),
            np.array([[0.0, bad, 0.0, 0.0]], np.float32),
            genus_of=GENUS_OF,
        )


def test_no_images_give_none_not_a_crash(answers):
    nothing = answers.at(np.zeros(4, bool))
    found = metrics.accuracy(nothing)
    assert found["images"] == 0
    assert found["top1_accuracy"] is None
    assert found["macro_recall"] is None
    assert metrics.confusions(nothing, limit=5) == []
    again = metrics.accuracy_intervals(nothing, resamples=10, seed=0)
    assert set(again.values()) == {None}


def test_bands_by_training_images(answers):
    found = metrics.by_band(answers, np.array([100, 1, 9, 99]))
    assert list(found) == ["one_shot", "tail", "mid", "head"]
    assert found["head"]["images"] == 3
    assert found["head"]["top1_accuracy"] == pytest.approx(2 / 3)
    assert found["one_shot"] == {
        "train_images": [1, 1],
        "classes": 1,
        "images": 1,
        "top1_accuracy": 0.0,
        "top5_accuracy": 1.0,
        "macro_recall": 0.0,
    }
    assert found["tail"]["top1_accuracy"] is None
    unseen = metrics.by_band(answers, np.array([100, 0, 9, 99]))
    assert unseen["unseen"]["images"] == 1


def test_bands_leave_no_count_out():
    bounds = list(metrics.BANDS.values())
    for (_, high), (low, _) in zip(bounds, bounds[1:], strict=False):
        assert low == high + 1


def test_confusions_count_and_name_the_photos(answers):
    rows = metrics.confusions(answers, limit=5)
    assert [(r["true"], r["predicted"], r["count"]) for r in rows] == [
        (1, 0, 1),  # all of class 1 goes there, so it comes before a third of class 0
        (0, 2, 1),
    ]
    assert rows[0]["share"] == 1.0
    assert rows[1]["share"] == pytest.approx(1 / 3)
    assert rows[1]["image_ids"] == ["0000000000000004"]
    assert rows[1]["mean_probability"] == pytest.approx(0.6, rel=1e-6)
    assert len(metrics.confusions(answers, limit=1)) == 1


def test_genus_matrix(answers):
    genus, shares = metrics.genus_matrix(answers, limit=5)
    np.testing.assert_array_equal(genus, [0])
    np.testing.assert_allclose(shares, [[0.5]])


def test_genera_follow_the_label_map():
    taxa = tuple(
        Taxon(i, name, "", "", name.split()[0], "", (), ())
        for i, name in enumerate(["Rosa a", "Acer b", "Rosa c"])
    )
    genus_of, names = answers_lib.genera(LabelMap(taxa))
    assert names == ["Acer", "Rosa"]
    np.testing.assert_array_equal(genus_of, [1, 0, 1])


def test_hex_id_is_that_of_the_record():
    assert metrics.hex_id(int("00ff00ff00ff00ff", 16)) == "00ff00ff00ff00ff"


class TestIntervals:
    def test_the_mean_of_coin_flips_matches_the_binomial(self):
        # 400 flips, 100 heads: standard error sqrt(.25 * .75 / 400) = 0.02165.
        values = np.repeat([1.0, 0.0], [100, 300])
        found = intervals.bootstrap(
            {"mean": intervals.mean_of(values)}, 400, resamples=4000, seed=1
        )
        np.testing.assert_allclose(found["mean"], [0.2076, 0.2924], atol=0.004)

    def test_same_seed_same_interval(self):
        values = np.random.default_rng(0).random(50)
        runs = [
            intervals.bootstrap(
                {"mean": intervals.mean_of(values)}, 50, resamples=100, seed=seed
            )["mean"]
            for seed in (7, 7, 8)
        ]
        assert runs[0] == runs[1]
        assert runs[0] != runs[2]

    def test_chunks_hold_all_resamples(self, monkeypatch):
        monkeypatch.setattr(intervals, "_CHUNK", 120)  # three rows of forty
        values = np.arange(40.0)
        parts = []
        intervals.bootstrap(
            {"rows": lambda counts: parts.append(counts) or counts @ values},
            40,
            resamples=10,
            seed=0,
        )
        counts = np.concatenate(parts)
        assert counts.shape == (10, 40)
        np.testing.assert_array_equal(counts.sum(axis=1), 40)

    def test_grouped_statistics_equal_the_plain_formula(self):
        rng = np.random.default_rng(2)
        values, group = rng.random(30), rng.integers(5, size=30)
        drawn = rng.integers(30, size=30)
        counts = np.bincount(drawn, minlength=30)[None].astype(np.float32)
        groups = np.unique(group[drawn])
        mean = np.mean([values[drawn][group[drawn] == g].mean() for g in groups])
        found = intervals.macro_mean_of(values, group)(counts)
        np.testing.assert_allclose(found, [mean], rtol=1e-5)
        total = [abs(values[drawn][group[drawn] == g].sum()) for g in range(5)]
        found = intervals.absolute_sum_of(values, group)(counts)
        np.testing.assert_allclose(found, [np.sum(total) / 30], rtol=1e-5)

    def test_wilson_is_the_textbook_one(self):
        # Wilson 1927, as computed by R's prop.test(95, 100, correct=FALSE).
        np.testing.assert_allclose(
            intervals.wilson(95, 100), [0.8882, 0.9785], atol=5e-5
        )
        low, high = intervals.wilson(3, 3)
        assert low == pytest.approx(0.4385, abs=1e-4)
        assert high == 1.0
        assert intervals.wilson(0, 0) is None
