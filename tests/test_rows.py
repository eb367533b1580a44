"""The packed row, against one that is written and read bit by bit."""

import itertools
import math

import numpy as np
import pytest
import scipy.special

from aplantida_jax.data.view_record import RECORD
from aplantida_jax.distill import rows
from aplantida_jax.distill.rows import Layout
from aplantida_jax.errors import UserError


def ids(count):
    return np.arange(count, dtype=np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)


def naive_bytes(probability, layout, image_id):
    """A row by the formulas of the literature, one bit after the other."""
    best = sorted(range(len(probability)), key=lambda c: (-probability[c], c))
    kept = sorted(c for c in best[: layout.slots] if probability[c] > 0)
    low_bits = math.floor(math.log2(layout.classes / layout.slots))
    low = [0] * (layout.slots * low_bits)
    high = [0] * (layout.slots + ((layout.classes - 1) >> low_bits))
    for i, c in enumerate(kept):
        for bit in range(low_bits):
            low[i * low_bits + bit] = c >> bit & 1
        high[(c >> low_bits) + i] = 1
    greatest = math.log(max(probability))
    fallen = [
        min(255, round((greatest - math.log(probability[c])) * 255 / 16)) for c in kept
    ]
    fallen += [0] * (layout.slots - len(kept))
    tail = math.fsum(p for c, p in enumerate(probability) if c not in kept)
    mass = math.fsum(probability[c] for c in kept)
    log_odds = np.float16(math.log(tail) - math.log(mass) if tail > 0 else -math.inf)
    return b"".join(
        (
            int(image_id).to_bytes(8, "little"),
            as_bytes(low),
            as_bytes(high),
            bytes(fallen),
            log_odds.tobytes(),
        )
    )


def as_bytes(bits):
    parts = [bits[i : i + 8] for i in range(0, len(bits), 8)]
    return bytes(sum(bit << i for i, bit in enumerate(part)) for part in parts)


def make(probability, layout, views=None):
    top = rows.top(probability, layout.k)
    return rows.pack(ids(len(probability)), *top, layout, views)


def sparse(rng, count, classes, present):
    """Probabilities of which all but `present` classes, other ones a row, are 0."""
    logits = rng.normal(0, 3, (count, classes))
    absent = np.argsort(rng.random((count, classes)), axis=1)[:, present:]
    np.put_along_axis(logits, absent, -np.inf, axis=1)
    return scipy.special.softmax(logits, axis=1)


SHAPES = [(2, 1), (2, 2), (3, 2), (5, 32), (31, 32), (32, 32), (33, 32), (64, 32)]
SHAPES += [(100, 7), (1000, 33), (8587, 32), (65_535, 8), (65_536, 16), (100_000, 5)]


@pytest.mark.parametrize(("classes", "k"), SHAPES)
def test_bytes_and_what_is_read_are_those_of_the_naive_row(classes, k):
    rng = np.random.default_rng(classes)
    layout = Layout(k, classes)
    for present in {1, 2, min(k, classes), classes}:
        count = 6 if classes < 10_000 else 2
        probability = sparse(rng, count, classes, min(present, classes))
        packed = make(probability, layout)
        expected = [
            naive_bytes(row.tolist(), layout, i)
            for row, i in zip(probability, ids(count), strict=True)
        ]
        assert [row.tobytes() for row in packed] == expected
        found = rows.unpack(packed, layout)
        for row, kept, logprob, tail in zip(
            probability,
            found["teacher_class"],
            found["teacher_logprob"],
            found["teacher_tail"][:, 0],
            strict=True,
        ):
            best = np.sort(np.argsort(-row, kind="stable")[:k])
            best = best[row[best] > 0]
            assert kept.shape == logprob.shape == (k,)
            assert kept[: len(best)].tolist() == best.tolist()
            assert (kept[len(best) :] == -1).all()
            assert (logprob[len(best) :] == -np.inf).all()
            assert tail == pytest.approx(max(0, 1 - row[best].sum()), abs=3e-4)
            far = row[best] > row.max() * np.exp(-15.9)
            ratio = np.exp(logprob[: len(best)]) / row[best]
            # Half a step of the grid, and what the others' rounding takes or leaves.
            assert np.abs(np.log(ratio[far])).max(initial=0) < 2 * 16 / 255 / 2 + 1e-3


def test_every_row_sums_to_one():
    rng = np.random.default_rng(0)
    for classes, k in SHAPES:
        layout = Layout(k, classes)
        for strength in (0.0, 1.0, 30.0):
            logits = rng.normal(0, strength, (9, classes))
            found = rows.unpack(make(scipy.special.softmax(logits, 1), layout), layout)
            mass = np.exp(found["teacher_logprob"], dtype=np.float64).sum(axis=1)
            mass += found["teacher_tail"][:, 0]
            np.testing.assert_allclose(mass, 1, atol=1e-6)


def test_a_row_by_hand():
    """Classes 1, 5, 6 of 8, k = 3: 1 low bit, high parts 0, 2, 3 in unary."""
    probability = np.array([[0, 0.5, 0, 0, 0, 0.25, 0.125, 0.125]])
    layout = Layout(3, 8)
    packed = rows.pack(np.array([7], np.uint64), *rows.top(probability, 3), layout)
    assert packed["low"].tolist() == [[0b011]]  # 1, 1, 0: the first bit is the lowest
    assert packed["high"].tolist() == [[0b101001]]  # bits 0, 2 + 1 and 3 + 2
    step = 16 / 255
    fallen = [0, round(np.log(2) / step), round(np.log(4) / step)]
    assert packed["fallen"].tolist() == [fallen] == [[0, 11, 22]]
    assert packed["tail"].tolist() == [[np.float16(np.log(0.125 / 0.875))]]
    found = rows.unpack(packed, layout)
    assert found["teacher_class"].tolist() == [[1, 5, 6]]
    tail = scipy.special.expit(float(packed["tail"][0, 0]))
    shares = np.exp(-step * np.array([0, 11, 22]))
    expected = (1 - tail) * shares / shares.sum()
    np.testing.assert_allclose(np.exp(found["teacher_logprob"][0]), expected, rtol=1e-6)


def test_sizes():
    assert Layout(32, 8587).row_type.itemsize == 8 + 32 + 9 + 32 + 2 == 83
    assert 390 * 83 < 4 * 8587
    assert Layout(32, 8587, with_views=True).row_type.itemsize == 83 + 16
    assert Layout(32, 8587, tails=3).row_type.itemsize == 87
    assert rows.row_type(32, 8587, True) == Layout(32, 8587, True).row_type


@pytest.mark.parametrize("classes", [2, 7, 32, 33, 4096, 8587, 65_535])
def test_extreme_classes_are_kept_exactly(classes):
    k = min(classes, 4)
    layout = Layout(k, classes)
    chosen = [*range(k)], [*range(classes - k, classes)], [0], [classes - 1]
    for kept in chosen:
        probability = np.zeros((1, classes))
        probability[0, kept] = 1 / len(kept)
        found = rows.unpack(make(probability, layout), layout)
        there = found["teacher_class"][found["teacher_class"] >= 0]
        assert there.tolist() == kept
        np.testing.assert_allclose(
            np.exp(found["teacher_logprob"][0, : len(kept)]), 1 / len(kept), rtol=1e-6
        )
        assert found["teacher_tail"].tolist() == [[0]]


def test_the_bytes_do_not_depend_on_the_order_in_a_row():
    rng = np.random.default_rng(1)
    probability = scipy.special.softmax(rng.normal(0, 2, (20, 50)), axis=1)
    layout = Layout(6, 50)
    top_class, value, tail = rows.top(probability, 6)
    expected = rows.pack(ids(20), top_class, value, tail, layout)
    for order in itertools.islice(itertools.permutations(range(6)), 1, 700, 100):
        order = list(order)
        shuffled = rows.pack(
            ids(20), top_class[:, order], value[:, order], tail, layout
        )
        assert shuffled.tobytes() == expected.tobytes()


def test_ties_go_to_the_lower_class():
    equal = np.full((3, 9), 1 / 9)
    assert rows.top(equal, 4)[0].tolist() == [[0, 1, 2, 3]] * 3
    mixed = np.array([[0.1, 0.3, 0.1, 0.3, 0.1, 0.1]])
    top_class, value, tail = rows.top(mixed, 4)
    assert top_class.tolist() == [[0, 1, 2, 3]]
    assert value.tolist() == [[0.1, 0.3, 0.1, 0.3]]
    assert tail.tolist() == [pytest.approx(0.2)]


def test_tails_near_nothing_and_near_everything():
    """1e-7 of a row outside its classes, and 1e-4 inside: both survive."""
    for tail in (1e-12, 1e-7, 0.5, 0.9999, 1 - 1e-6):
        packed = rows.pack(
            ids(1), np.array([[3]]), np.array([[1 - tail]]), [tail], Layout(1, 65_535)
        )
        found = rows.unpack(packed, Layout(1, 65_535))
        assert found["teacher_tail"][0, 0] == pytest.approx(tail, rel=0.01)
        kept = np.exp(found["teacher_logprob"][0, 0])
        assert kept == pytest.approx(1 - tail, rel=0.01)


@pytest.mark.parametrize("noise", [1e-7, 1e-4])
def test_the_sums_of_a_float_softmax_are_taken(noise):
    layout = Layout(2, 3)
    values = np.array([[0.5 + noise, 0.5]])
    for tail in (0.0, -noise):
        packed = rows.pack(ids(1), np.array([[0, 2]]), values, [tail], layout)
        assert rows.unpack(packed, layout)["teacher_tail"].tolist() == [[0]]


@pytest.mark.parametrize(
    ("values", "tail"),
    [([0.5, 0.3], 0.1), ([0, 0], 1.0), ([np.nan, 0.5], 0.5), ([1, 1], 0.0)],
)
def test_what_is_no_distribution_is_refused(values, tail):
    with pytest.raises(UserError, match="do not sum to 1.*image 0000000000000000"):
        rows.pack(ids(1), np.array([[0, 1]]), np.array([values]), [tail], Layout(2, 9))


def test_a_value_that_is_not_a_number_is_refused():
    probability = np.full((2, 9), 1 / 9)
    probability[1, 4] = np.nan
    with pytest.raises(UserError, match="not a number"):
        rows.top(probability, 3)


def test_views_are_kept_bit_for_bit():
    rng = np.random.default_rng(5)
    views = np.frombuffer(rng.bytes(16 * 40), RECORD)
    layout = Layout(3, 9, with_views=True)
    probability = scipy.special.softmax(rng.normal(0, 2, (40, 9)), axis=1)
    packed = make(probability, layout, views)
    assert rows.records(packed).tobytes() == views.tobytes()
    plain = rows.unpack(make(probability, Layout(3, 9)), Layout(3, 9))
    for name, value in rows.unpack(packed, layout).items():
        np.testing.assert_array_equal(value, plain[name])


def test_tails_of_teachers_by_hand():
    """One that is 0, one in a quarter and one in an eighth of the mass."""
    layout = Layout(2, 9, tails=3)
    packed = rows.pack(
        ids(1), np.array([[4, 7]]), np.array([[0.5, 0.125]]), [[0, 0.25, 0.125]], layout
    )
    log_odds = np.log([0.25 / 0.625, 0.125 / 0.625]).astype(np.float16)
    assert packed["tail"].tolist() == [[-np.inf, *log_odds]]
    found = rows.unpack(packed, layout)
    np.testing.assert_allclose(found["teacher_tail"], [[0, 0.25, 0.125]], rtol=1e-3)
    kept = np.exp(found["teacher_logprob"], dtype=np.float64)
    np.testing.assert_allclose(kept, [[0.5, 0.125]], rtol=16 / 255)
    assert kept.sum() + found["teacher_tail"].sum() == pytest.approx(1, abs=1e-6)
