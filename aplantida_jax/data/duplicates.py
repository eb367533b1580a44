"""Which images belong together: near duplicates by their hashes, and groups.

Everything here is arrays, so that 741,533 images fit. Near duplicates are found through
bands instead of comparing all pairs: hashes that differ in at most d of 64 bits differ
in at most d // 4 bits of one of their four 16-bit bands (Norouzi et al. 2012, "Fast
search in Hamming space with multi-index hashing"). Every candidate is then verified.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

_BANDS = 4
_BAND_BITS = 16
_CHUNK = 1 << 22  # candidate pairs looked at together
MOST_BITS = 11  # beyond it, bands would differ in too many ways to enumerate

Pairs = tuple[np.ndarray, np.ndarray]  # left[i] and right[i] are a pair; int64


def parse_hashes(hashes: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hex digits -> (uint64 [n], which are known: bool [n]); "" is unknown."""
    texts = list(hashes)
    known = np.array([text != "" for text in texts], bool)
    values = np.array([int(text or "0", 16) for text in texts], np.uint64)
    return values, known


def near_pairs(hashes: np.ndarray, distance: int) -> Iterator[Pairs]:
    """Pairs of positions whose hashes differ in at most `distance` bits.

    Equal hashes are chained: each position is paired with the next one of the same
    hash, and different hashes through the first position of each, so that a thousand
    copies give a thousand pairs and not half a million. The groups are the same.

    Args:
        hashes: uint64 [n].
        distance: 0 to `MOST_BITS`.

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
    if distance == 0:
        return
    for band in range(_BANDS):
        for left, right in _candidates(distinct, band, distance // _BANDS):
            near = np.bitwise_count(distinct[left] ^ distinct[right]) <= distance
            left, right = left[near], right[near]
            new = _first_band(distinct[left] ^ distinct[right], distance) == band
            yield firsts[left[new]], firsts[right[new]]


def count_near_pairs(hashes: np.ndarray, distance: int) -> np.ndarray:
    """How many distinct-hash pairs there are at each distance: int64 [distance + 1].

    Entry 0 counts images whose hash an earlier image has.
    """
    counts = np.zeros(distance + 1, np.int64)
    for left, right in near_pairs(hashes, distance):
        bits = np.bitwise_count(hashes[left] ^ hashes[right])
        counts += np.bincount(bits, minlength=distance + 1)
    return counts


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


def _candidates(hashes: np.ndarray, band: int, radius: int) -> Iterator[Pairs]:
    """Pairs whose bits in this band differ in at most `radius` places."""
    keys = _band(hashes, band).astype(np.int64)
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange((1 << _BAND_BITS) + 1))
    own = keys[order]
    for places in range(radius + 1):
        for flipped in itertools.combinations(range(_BAND_BITS), places):
            mask = sum(1 << place for place in flipped)
            if mask:
                # Each pair of buckets once: from the smaller key to the larger.
                rows = np.flatnonzero(own < (own ^ mask))
                begin = starts[own[rows] ^ mask]
            else:
                rows = np.arange(len(own))
                begin = rows + 1
            end = starts[(own[rows] ^ mask) + 1]
            for left, right in _expand(rows, begin, end):
                yield order[left], order[right]


def _expand(rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Iterator[Pairs]:
    """Pairs rows[i] with begin[i] ... end[i] - 1, about `_CHUNK` pairs at a time."""
    lengths = end - begin
    rows, begin, lengths = (x[lengths > 0] for x in (rows, begin, lengths))
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


def _first_band(differing: np.ndarray, distance: int) -> np.ndarray:
    """The first band that finds a pair, so that the others need not tell it again."""
    radius = distance // _BANDS
    found = np.full(len(differing), _BANDS, np.int64)
    for band in reversed(range(_BANDS)):
        found[np.bitwise_count(_band(differing, band)) <= radius] = band
    return found


def _band(hashes: np.ndarray, band: int) -> np.ndarray:
    shift = np.uint64(band * _BAND_BITS)
    return (hashes >> shift) & np.uint64((1 << _BAND_BITS) - 1)
