import dataclasses
import hashlib

import cv2
import numpy as np
import pytest

from aplantida_jax.data import decode, fetch
from aplantida_jax.data.examine import Rules, current, examine
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.journal import OK, PERMANENT, REJECTED, TEMPORARY, Outcome

RULES = Rules(
    max_bytes=1_000_000,
    max_pixels=1_000_000,
    min_side=100,
    shrink_short_side=128,
    jpeg_quality=90,
)
ID = "0" * 16


def jpeg(height: int, width: int, kind: str = ".jpg") -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return cv2.imencode(kind, cv2.resize(coarse, (width, height)))[1].tobytes()


def look(data: bytes, rules: Rules = RULES, **fields) -> tuple[Outcome, bytes]:
    return examine(ID, Fetched(fetch.OK, body=data, **fields), rules)


def test_a_large_image_is_shrunk():
    data = jpeg(600, 400)
    outcome, kept = look(data)
    assert outcome.status == OK
    assert (outcome.width, outcome.height, outcome.bytes) == (400, 600, len(data))
    assert outcome.sha256 == hashlib.sha256(data).hexdigest()
    assert len(outcome.phash) == 16
    assert decode.decode(kept, max_pixels=10**6).shape == (192, 128, 3)


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_a_small_enough_image_is_kept_as_it_is(kind):
    data = jpeg(128, 300, kind)
    outcome, kept = look(data)
    assert (outcome.status, kept) == (OK, data)
    assert (outcome.width, outcome.height) == (300, 128)


def test_what_follows_the_end_of_a_jpeg_is_not_kept():
    data = jpeg(128, 300)
    outcome, kept = look(data + b"\xff\x01" * 10_000)
    assert (outcome.status, outcome.bytes, kept) == (OK, len(data) + 20_000, data)


def test_originals_are_kept_on_demand():
    data = jpeg(600, 400)
    outcome, kept = look(data, dataclasses.replace(RULES, shrink_short_side=0))
    assert (outcome.status, kept) == (OK, data)
    shrunk, _ = look(data)
    assert (int(outcome.phash, 16) ^ int(shrunk.phash, 16)).bit_count() <= 2


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", REJECTED, "empty"),
        (b"<html>no</html>", REJECTED, "html"),
        (b"words", REJECTED, "unsupported"),
        (jpeg(300, 300)[:-500], REJECTED, "truncated"),
        (jpeg(99, 300), REJECTED, "small"),
        (jpeg(1200, 1200), REJECTED, "bomb"),
    ],
)
def test_what_cannot_be_used(data, status, reason):
    outcome, kept = look(data)
    assert (outcome.status, outcome.reason, kept) == (status, reason, b"")
    assert outcome.sha256 == hashlib.sha256(data).hexdigest()


def test_a_connection_that_was_cut_is_tried_again():
    outcome, _ = look(jpeg(300, 300)[:-500], ends_known=False)
    assert (outcome.status, outcome.reason) == (TEMPORARY, "truncated")


@pytest.mark.parametrize(
    ("fetched", "status"),
    [
        (Fetched(fetch.PERMANENT, "http_404"), PERMANENT),
        (Fetched(fetch.PERMANENT, "too_large"), REJECTED),
        (Fetched(fetch.TEMPORARY, "timeout"), TEMPORARY),
        (Fetched(fetch.THROTTLED, "http_429"), TEMPORARY),
        (Fetched(fetch.FORBIDDEN, "http_403"), TEMPORARY),
        (Fetched(fetch.UNSAFE, "refused_address"), TEMPORARY),
    ],
)
def test_what_did_not_come(fetched, status):
    outcome, kept = examine(ID, fetched, RULES)
    assert (outcome.status, outcome.reason, kept) == (status, fetched.reason, b"")


def test_what_an_outcome_means_later():
    fine = Outcome(ID, OK, width=300, height=200)
    assert current(None, RULES, cached=False) is None
    assert current(fine, RULES, cached=True) == fine
    assert current(fine, RULES, cached=False) is None
    strict = dataclasses.replace(RULES, min_side=201)
    found = current(fine, strict, cached=True)
    assert found is not None
    assert (found.status, found.reason) == (REJECTED, "small")
    for status in (PERMANENT, REJECTED):
        gone = Outcome(ID, status, "whatever")
        assert current(gone, RULES, cached=False) == gone
    assert current(Outcome(ID, TEMPORARY, "timeout"), RULES, cached=False) is None


@pytest.mark.parametrize(
    ("outcome", "looser"),
    [
        (Outcome(ID, REJECTED, "small", 90, 99), {"min_side": 90}),
        (Outcome(ID, REJECTED, "bomb", 2000, 1000), {"max_pixels": 2_000_000}),
        (Outcome(ID, REJECTED, "oversized", 2000, 1000), {"max_pixels": 8_000_000}),
        (Outcome(ID, REJECTED, "too_large", bytes=1_000_000), {"max_bytes": 1_000_001}),
    ],
)
def test_looser_rules_ask_again(outcome, looser):
    assert current(outcome, RULES, cached=False) == outcome
    rules = dataclasses.replace(RULES, **looser)
    assert current(outcome, rules, cached=False) is None
