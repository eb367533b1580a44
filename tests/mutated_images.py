"""Mutations of good images, judged as by the download and read as by training.

    python mutated_images.py <directory>

Run it as a process of its own: what crashes, hangs or eats memory here must not take
the tests with it. Prints one JSON object: how many were accepted, and for which reasons
others were not, and the ids of those that training reads otherwise than the download
judged.
"""

import collections
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from odd_images import flavours

from aplantida_jax.data import decode, fetch, pipeline
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.examine import Rules, examine
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.journal import OK, Outcome

# One mutation each: what most of the collection is, and two others.
MUTATIONS = {"jpeg": 10_000, "png": 1_000, "webp": 1_000}
_ADDRESS_SPACE = 4 << 30  # bytes; the libraries alone map one and a half
_RULES = Rules(
    max_bytes=1_000_000,
    max_pixels=100_000_000,
    min_side=16,
    shrink_short_side=64,
    jpeg_quality=90,
)


def mutate(good: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One to four of: bits flipped, a cut, a piece of another file, noise put in."""
    data = bytearray(good)
    for _ in range(int(rng.integers(1, 5))):
        start = int(rng.integers(0, len(data) + 1))
        length = int(rng.integers(1, 200))
        match rng.choice(["flip", "flip", "drop", "end", "splice", "insert"]):
            case "flip" if start < len(data):
                data[start] ^= 1 << int(rng.integers(0, 8))
            case "drop":
                del data[start : start + length]
            case "end" if rng.random() < 0.25:
                del data[start:]
            case "splice":
                source = int(rng.integers(0, len(other)))
                data[start : start + length] = other[source : source + length]
            case "insert":
                data[start:start] = rng.bytes(length)
    return bytes(data)


def mutations() -> Iterator[tuple[str, int, bytes]]:
    """(format, image id, bytes) of all of them, always the same."""
    number = 0
    for kind, good in flavours().items():
        originals = list(good.values())
        for _ in range(MUTATIONS[kind]):
            rng = np.random.default_rng([1, number])
            first, second = rng.integers(0, len(originals), 2)
            yield kind, number, mutate(originals[first], originals[second], rng)
            number += 1


def judge(directory: Path) -> dict[str, Any]:
    """Downloads, so to speak, all mutations; then reads the cache as training does."""
    cache = Cache(directory / "cache", 1.0)
    verdicts: dict[str, collections.Counter] = collections.defaultdict(
        collections.Counter
    )
    accepted: dict[int, Outcome] = {}
    disagreed = []
    for kind, number, data in mutations():
        image_id = f"{number:016x}"
        outcome, kept = examine(image_id, Fetched(fetch.OK, body=data), _RULES)
        verdicts[kind][outcome.reason or OK] += 1
        if outcome.status == OK:
            cache.put(image_id, kept)
            accepted[number] = outcome
        elif kept or outcome.reason not in (*decode.REASONS, "small"):
            disagreed.append(number)
    disagreed += [n for n, outcome in accepted.items() if not _trains(cache, outcome)]
    cache.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"verdicts": verdicts, "disagreed": disagreed, "peak_kb": peak}


def _trains(cache: Cache, outcome: Outcome) -> bool:
    """Whether the pipeline has the picture that was accepted, at both its scales."""
    image_id = np.array([int(outcome.image_id, 16)], np.uint64)
    one = pipeline.Examples(image_id, np.zeros(1, np.int32), np.ones((1, 3)))
    for least_side in (0, 16):
        skipped = pipeline.Skipped()
        load = pipeline.Load(one, cache, _RULES.max_pixels, least_side, skipped)
        image = load.map(0)["image"]
        if image is None or image.dtype != np.uint8:
            return False
        # One colour throughout only where the download saw nothing either.
        if outcome.phash and image.min() == image.max():
            return False
        height, width = image.shape[:2]
        # Each side of a shrunk picture is rounded to a pixel.
        skew = abs(height * outcome.width - width * outcome.height)
        if skew > outcome.width + outcome.height:
            return False
    return True


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    print(json.dumps(judge(Path(sys.argv[1]))))
