"""The packed row of a soft label: k classes, their probabilities and the tails' mass.

    image_id   uint64
    low, high  the kept classes as an Elias-Fano sequence
    fallen     uint8 [k]: how far under the row's greatest each log-probability is
    tail       float16 [t]: log-odds of the mass outside the kept classes, one for each
               teacher: what a teacher has there is of the classes that it covers alone
    and the fields of `data.view_record.RECORD`, when views were recorded

Classes: sorted, each split into `low_bits` low bits, stored as they are, and high bits,
stored in unary: class number i sets bit (high part) + i of a bit vector. That is within
half a bit a class of the least possible (Elias 1974, "Efficient storage and retrieval
by content and address of static files", JACM 21; Fano 1971; the form of Vigna 2013,
"Quasi-succinct indices", section 3). Fewer classes than k set fewer bits.

Probabilities: on a grid of 16 / 255 nats, clamped at 16 nats, where a class has 1e-7 of
the greatest; a reader scales them to fill what the tails leave, so that every row sums
to 1. Rounding costs 16^2 / 255^2 / 24 = 1.6e-4 nats of KL at most on average. A tail's
log-odds are against the kept classes: they keep both a small tail and a small rest.

At 8,587 classes and k = 32 a teacher's row takes 8 + 32 + 9 + 32 + 2 = 83 bytes, one of
three teachers 87, 16 more with a view, where float32 for all classes take 34,348.
"""

import dataclasses

import numpy as np
import scipy.special

from aplantida_jax.data.view_record import RECORD
from aplantida_jax.errors import UserError

_DEPTH = 16.0  # nats under the greatest that a byte reaches
_STEPS = 255
_SUM_TOLERANCE = 1e-3  # of float32 softmaxes; more is no distribution


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the bytes of a row depend on.

    Attributes:
        k: classes kept a row, if there are as many.
        classes: of the label map.
        with_views: whether a row tells the view that it was predicted from.
        tails: teachers that the row is of.
    """

    k: int
    classes: int
    with_views: bool = False
    tails: int = 1

    @property
    def slots(self) -> int:
        """Classes that a row has room for."""
        return min(self.k, self.classes)

    @property
    def low_bits(self) -> int:
        """floor(log2(classes / slots))."""
        return (self.classes // self.slots).bit_length() - 1

    @property
    def high_bits(self) -> int:
        return self.slots + ((self.classes - 1) >> self.low_bits)

    @property
    def row_type(self) -> np.dtype:
        fields: list[tuple] = [("image_id", "<u8")]
        if self.low_bits:
            fields.append(("low", "u1", (_bytes(self.slots * self.low_bits),)))
        fields.append(("high", "u1", (_bytes(self.high_bits),)))
        fields.append(("fallen", "u1", (self.slots,)))
        fields.append(("tail", "<f2", (self.tails,)))
        views = RECORD.descr if self.with_views else []
        return np.dtype(fields + views)


def row_type(k: int, classes: int, with_views: bool) -> np.dtype:
    return Layout(k, classes, with_views).row_type


def top(probability: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k greatest of each row; of equal ones those that come first.

    Args:
        probability: float [n, c].
        k: how many; c when there are fewer.

    Returns:
        class int [n, k'], ascending, with k' = min(k, c); probability float [n, k'];
        tail float64 [n], the sum of the others.

    Raises:
        UserError: NaN or infinity.
    """
    count, classes = probability.shape
    kept = min(k, classes)
    if not np.isfinite(probability).all():
        raise _no_distribution("a value is not a number")
    if kept == classes:
        every = np.broadcast_to(np.arange(classes), (count, classes))
        return every, probability, np.zeros(count)
    least = np.partition(probability, classes - kept, axis=1)[:, classes - kept]
    above = probability > least[:, None]
    equal = probability == least[:, None]
    room = kept - above.sum(axis=1)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= room[:, None]))
    at = np.nonzero(chosen)[1].reshape(count, kept)
    tail = np.where(chosen, 0, probability).sum(axis=1, dtype=np.float64)
    return at, np.take_along_axis(probability, at, axis=1), tail


def pack(
    image_id: np.ndarray,
    top_class: np.ndarray,
    top_probability: np.ndarray,
    tail: np.ndarray,
    layout: Layout,
    views: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of a store.

    Args:
        image_id: uint64 [n].
        top_class: int [n, m], m <= `layout.slots`; distinct in a row, in any order.
        top_probability: float [n, m]; a class with 0 is not kept.
        tail: float [n, t], each teacher's sum of all others; [n] for one teacher. Not
            1 minus the kept ones, which in float32 is noise where they are nearly all.
        layout: of the rows.
        views: RECORD [n] with `layout.with_views`.

    Returns:
        Structured [n] of `layout.row_type`; its bytes are a function of the values.

    Raises:
        UserError: a row does not sum to 1, or has a negative or infinite part.
    """
    probability = np.asarray(top_probability, np.float64)
    tail = np.maximum(np.asarray(tail, np.float64), 0)
    tail = tail.reshape(len(probability), layout.tails)
    _check(image_id, probability, tail)
    classes = np.where(probability > 0, top_class, layout.classes)
    order = np.argsort(classes, axis=1, kind="stable")  # the kept ones first
    classes = np.take_along_axis(classes, order, axis=1)
    probability = np.take_along_axis(probability, order, axis=1)
    packed = np.zeros(len(image_id), layout.row_type)
    packed["image_id"] = image_id
    _write_classes(packed, classes, layout)
    _write_probabilities(packed, probability, tail)
    if views is not None:
        _copy_fields(views, packed)
    return packed


def sum_error(top_probability: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """|sum - 1| of rows as `pack` is given them, float64 [n].

    A packed row says nothing of it: a reader scales it to sum to 1.
    """
    mass = np.asarray(top_probability, np.float64).sum(axis=1)
    return np.abs(mass + np.asarray(tail, np.float64).reshape(len(mass), -1).sum(1) - 1)


def unpack(rows: np.ndarray, layout: Layout) -> dict[str, np.ndarray]:
    """What a reader makes of rows [n].

    Returns:
        teacher_class int32 [n, k], ascending, then -1; teacher_logprob float32 [n, k],
        -inf where there is no class; teacher_tail float32 [n, t]. A row's exp of
        teacher_logprob and teacher_tail sum to 1.
    """
    classes, there = _read_classes(rows, layout)
    log_odds = rows["tail"].astype(np.float64)
    relative = np.where(there, rows["fallen"] * (-_DEPTH / _STEPS), -np.inf)
    mass = np.exp(relative).sum(axis=1)
    # Log of what the tails leave.
    log_kept = -np.logaddexp(0, scipy.special.logsumexp(log_odds, axis=1))
    logprob = relative + (log_kept - np.log(mass))[:, None]
    missing = ((0, 0), (0, layout.k - layout.slots))
    return {
        "teacher_class": np.pad(classes, missing, constant_values=-1),
        "teacher_logprob": np.pad(
            logprob.astype(np.float32), missing, constant_values=-np.inf
        ),
        "teacher_tail": np.exp(log_odds + log_kept[:, None]).astype(np.float32),
    }


def records(rows: np.ndarray) -> np.ndarray:
    """The views of rows that have them, RECORD [n]."""
    found = np.empty(len(rows), RECORD)
    _copy_fields(rows, found)
    return found


def _copy_fields(source: np.ndarray, target: np.ndarray) -> None:
    """Those of a recorded view."""
    for name in RECORD.names or ():
        target[name] = source[name]


def _check(image_id: np.ndarray, probability: np.ndarray, tail: np.ndarray) -> None:
    """UserError unless every row is a distribution of which something is kept."""
    mass = probability.sum(axis=1)
    total = mass + tail.sum(axis=1)
    wrong = ~(np.abs(total - 1) <= _SUM_TOLERANCE) | (mass == 0)
    wrong |= ~(probability >= 0).all(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise _no_distribution(f"image {int(image_id[row]):016x}: {total[row]:g}")


def _write_probabilities(
    packed: np.ndarray, probability: np.ndarray, tail: np.ndarray
) -> None:
    """Of probabilities [n, m] and tails [n, t]; 0 is of no class."""
    with np.errstate(divide="ignore"):
        logprob = np.log(probability)
        kept = probability.sum(axis=1, keepdims=True)
        packed["tail"] = np.log(tail) - np.log(kept)
    fallen = (logprob.max(axis=1, keepdims=True) - logprob) * (_STEPS / _DEPTH)
    fallen = np.where(probability > 0, np.rint(np.minimum(fallen, _STEPS)), 0)
    packed["fallen"][:, : fallen.shape[1]] = fallen


def _write_classes(packed: np.ndarray, classes: np.ndarray, layout: Layout) -> None:
    """Elias-Fano of classes [n, m], ascending; `layout.classes` is none."""
    there = classes < layout.classes
    row, slot = np.nonzero(there)
    high = np.zeros((len(packed), layout.high_bits), np.uint8)
    high[row, (classes[row, slot] >> layout.low_bits) + slot] = 1
    packed["high"] = np.packbits(high, axis=1, bitorder="little")
    if layout.low_bits:
        low = np.zeros((len(packed), layout.slots, layout.low_bits), np.uint8)
        of_class = np.where(there, classes, 0)[..., None]
        low[:, : classes.shape[1]] = of_class >> np.arange(layout.low_bits) & 1
        packed["low"] = np.packbits(
            low.reshape(len(packed), -1), axis=1, bitorder="little"
        )


def _read_classes(rows: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Classes int32 [n, slots], -1 for none, and bool [n, slots] for those there."""
    count, slots = len(rows), layout.slots
    high = np.unpackbits(
        rows["high"], axis=1, count=layout.high_bits, bitorder="little"
    )
    number = np.cumsum(high, axis=1, dtype=np.int32)
    there = np.arange(slots) < number[:, -1:]
    row, position = np.nonzero(high)
    slot = number[row, position] - 1
    classes = np.zeros((count, slots), np.int32)
    classes[row, slot] = (position - slot) << layout.low_bits
    if layout.low_bits:
        low = np.unpackbits(
            rows["low"], axis=1, count=slots * layout.low_bits, bitorder="little"
        ).reshape(count, slots, layout.low_bits)
        classes += low @ (1 << np.arange(layout.low_bits, dtype=np.int32))
    return np.where(there, classes, np.int32(-1)), there


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _no_distribution(what: str) -> UserError:
    return UserError(
        f"a teacher's probabilities do not sum to 1 ({what}): its weights or its "
        "answers are damaged; train it or import it again"
    )
