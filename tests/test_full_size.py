"""The benchmark collection has the plan's size and tail, and can be made again."""

import numpy as np
import pytest

from aplantida_jax.demo import full_size


def test_the_plans_numbers() -> None:
    sizes = full_size.class_sizes()
    assert len(sizes) == 8_587
    assert sizes.sum() == 741_533
    assert (sizes == 1).sum() == 1_504
    assert (sizes == 2).sum() == 913
    assert sizes[0] > 5_000
    assert (np.diff(sizes) <= 0).all()


def test_names_are_unlike() -> None:
    assert len({full_size.latin_name(i) for i in range(9_000)}) == 9_000


def test_documents_follow_from_the_seed() -> None:
    sizes = full_size.class_sizes(20, 200, one=5, two=3)
    first = list(full_size.documents(sizes, 23, seed=1))
    assert first == list(full_size.documents(sizes, 23, seed=1))
    assert first != list(full_size.documents(sizes, 23, seed=2))
    assert sum(len(document["images"]) for document in first) == 200
    assert sum(not document["images"] for document in first) == 3
    ids = [document["_id"] for document in first]
    assert ids == sorted(set(ids))


def test_too_few_photos() -> None:
    with pytest.raises(ValueError, match="do not reach"):
        full_size.class_sizes(20, 30, one=5, two=3)
