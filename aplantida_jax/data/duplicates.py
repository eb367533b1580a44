"""Which images belong together: near duplicates by their hashes, and groups.

Everything here is arrays, so that 741,533 images fit. Near duplicates are found through
bands of bits instead of comparing all pairs (Norouzi et al. 2012, "Fast search in
Hamming space with multi-index hashing"). Of hashes that differ in d bits at most, one
band at least differs in its radius at most, when the radii plus one each sum to d + 1
(Qin et al. 2018, "GPH: similarity search in Hamming space"). Every candidate is
verified.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

# Widths of the bands. Wide ones give fewer candidates, and more places to look at.
_NARROW, _WIDE = (16, 16, 16, 16), (22, 21, 21)
_MANY = 1 << 18  # hashes, from which on the wide ones are faster
_CHUNK = 1 << 22  # candidate pairs looked at together
MOST_BITS = 11  # beyond it, bands would differ in too many ways to enumerate

Pairs = tuple[np.ndarray, np.ndarray]  # left[i] and right[i] are a pair; int64


def parse_hashes(hashes: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hex digits -> (uint64 [n], which are known: bool [n]); "" is unknown."""
    texts = list(hashes)
    known = np.array([text != "" for text in texts], bool)
    values = np.array([int(text or "0", 16) for text in texts], np.uint64)
    return values, known


def near_pairs(hashes: np.ndarray, distance: int, twist: int = 0) -> Iterator[Pairs]:
    """Pairs of positions whose hashes differ in at most `distance` bits.

    Equal hashes are chained: each position is paired with the next one of the same
    hash, and different hashes through the first position of each, so that a thousand
    copies give a thousand pairs and not half a million. The groups are the same.

    Args:
        hashes: uint64 [n].
        distance: 0 to `MOST_BITS`.
        twist: bits that another kind of copy has the other way round, more than twice
            `distance` of them; pairs come too that are as near with them turned.

    Yields:
        Arrays of pairs; no pair comes twice.
    """
    if not 0 <= distance <= MOST_BITS:
        raise ValueError(f"distance must be 0 to {MOST_BITS}, not {distance}")
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    fresh = np.ones(len(hashes), bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    repeats = np.flatnonzero(~fresh)
    yield order[repeats - 1], order[repeats]
    firsts, distinct = order[fresh], ordered[fresh]
    for turned in sorted({0, twist}):
        for left, right in _gathered(_verified(distinct, distance, turned)):
            yield firsts[left], firsts[right]


def equal_pairs(keys: Iterable[str]) -> Pairs:
    """Pairs each position with the first one of the same key; "" is no key."""
    first: dict[str, int] = {}
    left, right = [], []
    for position, key in enumerate(keys):
        earlier = first.setdefault(key, position) if key else position
        if earlier != position:
            left.append(earlier)
            right.append(position)
    return np.array(left, np.int64), np.array(right, np.int64)


def groups(count: int, pairs: Iterable[Pairs]) -> np.ndarray:
    """Connected components.

    Args:
        count: of images.
        pairs: of positions that belong together.

    Returns:
        int64 [count]: for each position the smallest position of its group.
    """
    parent = np.arange(count)
    for left, right in pairs:
        _join(parent, left, right)
    return parent


def _join(parent: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Merges in place; every position points at the smallest of its group."""
    while True:
        a, b = parent[left], parent[right]
        apart = a != b
        if not apart.any():
            return
        left, right = left[apart], right[apart]
        low, high = np.minimum(a, b)[apart], np.maximum(a, b)[apart]
        np.minimum.at(parent, high, low)
        while True:
            further = parent[parent]
            if np.array_equal(further, parent):
                break
            parent[:] = further


def _verified(hashes: np.ndarray, distance: int, twist: int) -> Iterator[Pairs]:
    """Pairs of different hashes, each from the first band that finds it."""
    widths = _WIDE if len(hashes) >= _MANY else _NARROW
    shifts = np.cumsum((0, *widths[:-1])).tolist()
    # The radii plus one sum to distance + 1; -1 is a band that need not be looked at.
    least, more = divmod(distance + 1 - len(widths), len(widths))
    radii = [least + (band < more) for band in range(len(widths))]
    bands = list(zip(shifts, widths, radii, strict=True))
    for band, (shift, width, radius) in enumerate(bands):
        keys = _bits(hashes, shift, width)
        order = np.argsort(keys, kind="stable")
        ordered = hashes[order]
        for left, right in _candidates(keys[order], width, radius, twist >> shift):
            differing = ordered[left] ^ ordered[right] ^ np.uint64(twist)
            near = np.bitwise_count(differing) <= distance
            left, right, differing = left[near], right[near], differing[near]
            new = np.ones(len(differing), bool)
            for earlier in bands[:band]:
                part = _bits(differing, *earlier[:2])
                new &= np.bitwise_count(part).astype(np.int8) > earlier[2]
            yield order[left[new]], order[right[new]]


def _candidates(
    keys: np.ndarray, width: int, radius: int, twist: int
) -> Iterator[Pairs]:
    """Pairs whose keys, one of them twisted, differ in at most `radius` bits.

    Args:
        keys: sorted, below 2 ** width.
        width: bits of a key.
        radius: -1 for no pairs at all.
        twist: bits to turn in one of a pair; those beyond `width` are ignored.
    """
    starts = np.zeros((1 << width) + 1, np.int32)
    np.cumsum(np.bincount(keys, minlength=1 << width), out=starts[1:])
    taken = starts[1:] > starts[:-1]
    twist &= (1 << width) - 1
    for places in range(radius + 1):
        for flipped in itertools.combinations(range(width), places):
            mask = np.int32(twist ^ sum(1 << place for place in flipped))
            others = keys ^ mask
            # Each pair of buckets once, from the smaller key to the larger; within one
            # bucket, each row with those after it.
            ahead = (
                keys < others if mask else starts[keys + 1] > np.arange(len(keys)) + 1
            )
            rows = np.flatnonzero(taken[others] & ahead)
            others = others[rows]
            begin = starts[others] if mask else rows + 1
            yield from _expand(rows, begin, starts[others + 1])


def _gathered(parts: Iterable[Pairs]) -> Iterator[Pairs]:
    """The same pairs in fewer and larger arrays."""
    held: list[Pairs] = []
    for part in parts:
        held.append(part)
        if sum(len(left) for left, _ in held) > _CHUNK:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(parts: list[Pairs]) -> Pairs:
    left, right = zip(*parts, strict=True)
    return np.concatenate(left), np.concatenate(right)


def _expand(rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Iterator[Pairs]:
    """Pairs rows[i] with begin[i] ... end[i] - 1, about `_CHUNK` pairs at a time."""
    lengths = end - begin
    edges = np.searchsorted(
        np.cumsum(lengths), np.arange(0, lengths.sum() + _CHUNK, _CHUNK)
    )
    for first, last in itertools.pairwise(np.unique(np.append(edges, len(rows)))):
        part = lengths[first:last]
        offsets = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
        yield (
            np.repeat(rows[first:last], part),
            np.repeat(begin[first:last], part) + offsets,
        )


def _bits(hashes: np.ndarray, shift: int, width: int) -> np.ndarray:
    """int32: `width` bits of each, from bit `shift` on."""
    part = (hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)
    return part.astype(np.int32)
