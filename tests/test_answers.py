import numpy as np
import pytest

from aplantida_jax.data.labels import LabelMap, Taxon
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate.answers import judge

# Four classes of two genera: 0 and 1 of genus 0, 2 and 3 of genus 1.
GENUS_OF = np.array([0, 0, 1, 1], np.int32)


def judged(probability, label, **options):
    probability = np.asarray(probability, np.float64)
    label = np.asarray(label, np.int32)
    image_id = np.arange(1, len(label) + 1, dtype=np.uint64)
    logits = np.log(probability).astype(np.float32)
    return judge(image_id, label, logits, genus_of=GENUS_OF, **options)


def four_answers():
    """Of one photo each."""
    # Image 0 right; 1 wrong, its genus right; 2 right, its genus wrong; 3 wrong.
    return judged(
        [
            [0.7, 0.1, 0.1, 0.1],
            [0.5, 0.3, 0.1, 0.1],
            [0.4, 0.02, 0.3, 0.28],
            [0.1, 0.2, 0.6, 0.1],
        ],
        [0, 1, 0, 0],
    )


def test_hand_computed_answers():
    answers = four_answers()
    np.testing.assert_array_equal(answers.correct, [True, False, True, False])
    np.testing.assert_array_equal(answers.genus_correct, [True, True, False, False])
    np.testing.assert_array_equal(answers.label_rank, [0, 1, 0, 2])
    np.testing.assert_allclose(answers.confidence, [0.7, 0.5, 0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(
        answers.genus_probability, [0.8, 0.8, 0.58, 0.7], rtol=1e-6
    )
    np.testing.assert_allclose(answers.nll, -np.log([0.7, 0.3, 0.4, 0.1]), rtol=1e-6)


def test_equal_probabilities_come_in_the_order_of_class_ids():
    tied = judged([[0.25, 0.25, 0.25, 0.25]], [2])
    np.testing.assert_array_equal(tied.top_class, [[0, 1, 2, 3]])
    np.testing.assert_array_equal(tied.label_rank, [2])


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
    found = judged([[0.1, 0.6, 0.2, 0.1]], [2], class_mask=mask)
    np.testing.assert_array_equal(found.top_class[0, :2], [2, 0])
    assert found.confidence[0] == pytest.approx(2 / 3, rel=1e-6)
    assert found.correct[0]


def test_the_country_prior_is_soft():
    taxa = tuple(
        Taxon(i, f"G{i} s", "", "", f"G{i}", "", ("ES",) if i == 1 else (), ())
        for i in range(4)
    )
    prior = answers_lib.country_log_prior(LabelMap(taxa), "ES", np.log(2.0))
    np.testing.assert_allclose(prior, [0, np.log(2), 0, 0])
    found = judged([[0.4, 0.3, 0.2, 0.1]], [1], log_prior=prior)
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


def test_genera_follow_the_label_map():
    taxa = tuple(
        Taxon(i, name, "", "", name.split()[0], "", (), ())
        for i, name in enumerate(["Rosa a", "Acer b", "Rosa c"])
    )
    genus_of, names = answers_lib.genera(LabelMap(taxa))
    assert names == ["Acer", "Rosa"]
    np.testing.assert_array_equal(genus_of, [1, 0, 1])
