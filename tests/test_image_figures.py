import pytest

from aplantida_jax.data.image_figures import Pair, collect
from aplantida_jax.data.journal import OK, PERMANENT, REJECTED, TEMPORARY, Outcome
from aplantida_jax.data.phash import MIRROR


def fine(number: int, phash: int | None, sha256: str = "", **fields) -> Outcome:
    return Outcome(
        f"{number:016x}",
        OK,
        width=fields.pop("width", 300),
        height=fields.pop("height", 200),
        sha256=sha256 or f"sha{number}",
        phash="" if phash is None else f"{phash:016x}",
        **fields,
    )


def test_what_was_asked_and_what_is_broken():
    figures = collect(
        [
            fine(1, 1, orientation=6),
            fine(2, None, width=500, height=900, orientation=0),
            Outcome("3", PERMANENT, "http_404"),
            Outcome("4", REJECTED, "html"),
            Outcome("5", REJECTED, "small", 50, 60),
            Outcome("6", TEMPORARY, "timeout"),
            Outcome("7", TEMPORARY, "not_asked"),
            Outcome("8", TEMPORARY, "not_in_cache"),
            Outcome("9", TEMPORARY, "host_given_up"),
        ]
    )
    assert (figures.asked, figures.broken) == (6, 3)
    summary = figures.summary()
    assert summary["downloaded"] == 2
    assert summary["faults"] == {
        "permanent: http_404": 1,
        "rejected: html": 1,
        "rejected: small": 1,
        "temporary: timeout": 1,
    }
    assert summary["short_side_percentiles"]["0"] == 200
    assert summary["short_side_percentiles"]["100"] == 500
    told = [summary[key] for key in ("exif_turned", "exif_impossible", "featureless")]
    assert told == [1, 1, 1]


def test_duplicates_by_kind_and_class():
    outcomes = [
        fine(0, 0b0, "same"),
        fine(1, 0b0, "same"),
        fine(2, 0b111),
        fine(3, 0xFF << 40),
        fine(4, 0xFF << 40, "other bytes"),
        fine(5, None, "even"),
        fine(6, None, "even"),
    ]
    classes = (0, 0, 1, 2, 2, 3, 3)
    class_of = {o.image_id: c for o, c in zip(outcomes, classes, strict=True)}
    counts, pairs = collect(outcomes).duplicates(class_of, 6, examples=10)
    assert counts == {
        "images": 7,
        "distance": 6,
        "exact": 2,
        "near": 2,
        "exact_of_different_classes": 0,
        "near_of_different_classes": 1,
        "groups": 3,
        "largest_group": 3,
    }
    ids = [outcome.image_id for outcome in outcomes]
    assert pairs == [
        Pair(ids[0], ids[2], 3, exact=False, same_class=False),
        Pair(ids[3], ids[4], 0, exact=False, same_class=True),
        Pair(ids[0], ids[1], 0, exact=True, same_class=True),
        Pair(ids[5], ids[6], 0, exact=True, same_class=True),
    ]
    assert len(collect(outcomes).duplicates(class_of, 6, examples=1)[1]) == 1


def test_a_mirrored_copy_is_near():
    outcomes = [fine(0, 0b1), fine(1, MIRROR ^ 0b110), fine(2, 0xFF << 40)]
    class_of = dict.fromkeys((outcome.image_id for outcome in outcomes), 0)
    counts, pairs = collect(outcomes).duplicates(class_of, 6, examples=3)
    assert (counts["near"], counts["largest_group"]) == (1, 2)
    ids = [outcome.image_id for outcome in outcomes]
    assert pairs == [Pair(ids[0], ids[1], 3, exact=False, same_class=True)]


@pytest.mark.parametrize("outcomes", [[], [Outcome("1", TEMPORARY, "not_asked")]])
def test_nothing_downloaded(outcomes):
    figures = collect(outcomes)
    assert (figures.asked, figures.summary()["downloaded"]) == (0, 0)
    counts, pairs = figures.duplicates({}, 6, examples=3)
    assert (counts["groups"], counts["largest_group"], pairs) == (0, 0, [])
