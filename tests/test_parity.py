import numpy as np
import pytest

from aplantida_jax.export import parity

REFERENCE = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 1.02, -1.0]], np.float32)


def compare(logits, **options):
    given = {"temperature": 1.0, "threshold": 0.6, **options}
    return parity.compare(REFERENCE, np.asarray(logits, np.float32), **given)


def test_equal_logits_agree_in_everything():
    found = compare(REFERENCE)
    assert found["max_abs_difference"] == 0
    assert found["correlation"] == pytest.approx(1)
    assert found["top1_agreement"] == 1
    assert found["top5_overlap"] == 1
    assert (found["ties"], found["misses"], found["threshold_flips"]) == (0, 0, 0)
    assert parity.failures("float32", found, 3) == []


def test_a_tie_is_a_disagreement_but_not_a_miss():
    found = compare(REFERENCE + [[0, 0, 0], [0, 0, 0], [0.03, 0, 0]])
    assert found["top1_agreement"] == pytest.approx(2 / 3)
    assert (found["ties"], found["misses"]) == (1, 0)
    assert parity.failures("float16", found, 3) == []


def test_temperature_decides_what_a_tie_is():
    swapped = REFERENCE + [[0, 0, 0], [0, 0, 0], [0.03, 0, 0]]
    assert compare(swapped, temperature=0.2)["misses"] == 1
    nearly = REFERENCE + [[-0.6, 0.6, 0], [0, 0, 0], [0, 0, 0]]
    assert compare(nearly, temperature=1.0)["misses"] == 1
    assert compare(nearly, temperature=50.0)["ties"] == 1


def test_a_miss_fails_where_none_is_allowed():
    found = compare(REFERENCE + [[-0.6, 0.6, 0], [0, 0, 0], [0, 0, 0]])
    assert found["misses"] == 1
    found["correlation"] = 1.0
    (reason,) = parity.failures("float16", found, 999)
    assert reason.startswith("another first species on 1 of 999 images, at most 0")
    assert parity.failures("float16", found, 1000) == []
    assert parity.failures("uint8", found, 100) == []


def test_flips_count_images_answered_on_one_side_only():
    # Confidences of the reference: 0.67, 0.84, 0.47.
    moved = REFERENCE + [[-0.5, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert compare(moved)["threshold_flips"] == 1
    assert compare(moved, threshold=None)["threshold_flips"] == 0


def test_constant_or_broken_logits_do_not_pass():
    with np.errstate(invalid="ignore", divide="ignore"):
        found = compare(np.zeros((3, 3)))
    assert "correlation nan" in parity.failures("uint8", found, 3)[0]


def test_images_needed_to_show_an_agreement():
    assert parity.images_needed(0.99) == 299
    assert parity.images_needed(0.999) == 2995
