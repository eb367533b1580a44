import numpy as np
import pytest

from aplantida_jax.data import duplicates


def clustered_hashes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random hashes, half of them a few bits away from another one."""
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for position in range(count // 2, count):
        hashes[position] = hashes[rng.integers(0, position)]
        for bit in rng.choice(64, rng.integers(0, 10), replace=False):
            hashes[position] ^= np.uint64(1) << np.uint64(bit)
    return hashes


def brute_force(hashes: np.ndarray, distance: int) -> set[tuple[int, int]]:
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    left, right = np.nonzero(np.triu(bits <= distance, 1))
    return set(zip(left.tolist(), right.tolist(), strict=True))


def components(count: int, pairs: set[tuple[int, int]]) -> list[int]:
    """The slow and obvious way: spread the smallest label until nothing changes."""
    label = list(range(count))
    changed = True
    while changed:
        changed = False
        for a, b in pairs:
            low = min(label[a], label[b])
            if label[a] != low or label[b] != low:
                label[a] = label[b] = low
                changed = True
    return label


def found_pairs(hashes: np.ndarray, distance: int) -> list[tuple[int, int]]:
    return [
        (min(a, b), max(a, b))
        for left, right in duplicates.near_pairs(hashes, distance)
        for a, b in zip(left.tolist(), right.tolist(), strict=True)
    ]


@pytest.mark.parametrize("distance", range(duplicates.MOST_BITS + 1))
def test_near_pairs_against_all_pairs(distance):
    rng = np.random.default_rng(distance)
    hashes = np.unique(clustered_hashes(rng, 400))
    rng.shuffle(hashes)
    pairs = found_pairs(hashes, distance)
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == brute_force(hashes, distance)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 22])
@pytest.mark.parametrize("distance", [0, 3, 6])
def test_groups_against_brute_force(monkeypatch, chunk, distance):
    monkeypatch.setattr(duplicates, "_CHUNK", chunk)
    hashes = clustered_hashes(np.random.default_rng(1), 300)
    hashes[200:240] = hashes[7]
    labels = duplicates.groups(300, duplicates.near_pairs(hashes, distance))
    assert labels.tolist() == components(300, brute_force(hashes, distance))


def test_copies_give_few_pairs():
    hashes = np.full(2000, 5, np.uint64)
    assert len(found_pairs(hashes, 6)) == 1999
    assert duplicates.groups(2000, duplicates.near_pairs(hashes, 6)).max() == 0


TWIST = 0x5A5A5A5A5A5A5A5A  # 32 bits


@pytest.mark.parametrize("many", [100, 1 << 18], ids=["wide bands", "narrow bands"])
@pytest.mark.parametrize("distance", [0, 1, 2, 6, 11])
def test_twisted_pairs_against_all_pairs(monkeypatch, many, distance):
    monkeypatch.setattr(duplicates, "_MANY", many)
    rng = np.random.default_rng(distance)
    hashes = clustered_hashes(rng, 300)
    hashes[rng.choice(300, 100, replace=False)] ^= np.uint64(TWIST)
    hashes = np.unique(hashes)
    rng.shuffle(hashes)
    pairs = [
        (min(a, b), max(a, b))
        for left, right in duplicates.near_pairs(hashes, distance, TWIST)
        for a, b in zip(left.tolist(), right.tolist(), strict=True)
    ]
    assert len(pairs) == len(set(pairs))
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :] ^ np.uint64(TWIST))
    turned = np.argwhere(np.triu(bits <= distance, 1)).tolist()
    assert len(turned) > 1
    assert set(pairs) == brute_force(hashes, distance) | set(map(tuple, turned))


def test_joins_of_several_kinds_chain():
    sha = duplicates.equal_pairs(["a", "b", "a", "", ""])
    observation = duplicates.equal_pairs(["", "x", "y", "y", ""])
    labels = duplicates.groups(5, [sha, observation])
    assert labels.tolist() == [0, 1, 0, 0, 4]


def test_random_pairs_against_the_slow_way():
    rng = np.random.default_rng(3)
    pairs = {tuple(pair) for pair in rng.integers(0, 500, (350, 2)).tolist()}
    left, right = np.array(sorted(pairs)).T
    halves = [(left[:100], right[:100]), (left[100:], right[100:])]
    assert duplicates.groups(500, halves).tolist() == components(500, pairs)


def test_parse_hashes():
    values, known = duplicates.parse_hashes(
        ["ffffffffffffffff", "", "000000000000000a"]
    )
    assert values.tolist() == [2**64 - 1, 0, 10]
    assert known.tolist() == [True, False, True]


@pytest.mark.parametrize("distance", [-1, 12])
def test_impossible_distances_are_refused(distance):
    with pytest.raises(ValueError, match="distance must be"):
        list(duplicates.near_pairs(np.zeros(2, np.uint64), distance))


def test_nothing_to_group():
    empty = np.zeros(0, np.uint64)
    assert duplicates.groups(0, duplicates.near_pairs(empty, 6)).tolist() == []
