"""Seconds and memory of an evaluation's intervals, and of a comparison of two runs.

    .venv/bin/python scripts/benchmark_intervals.py [--images=85000] [--classes=8587]

Prints `name value goal`. As many drawn answers as the test split of the whole
collection, in groups of 1 to 6 photos, 1,000 resamples: the intervals of all photos, of
the bands, and all that stage `compare` computes for a pair. The memory is what the
process had at its peak beyond the answers themselves.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aplantida_jax.data.labels import LabelMap, Taxon
from aplantida_jax.evaluate import comparison, metrics
from aplantida_jax.evaluate.answers import Answers
from aplantida_jax.evaluate.ece_interval import ece_interval
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.measures import Answered, Contender, Measures

_RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=85_000)
    parser.add_argument("--classes", type=int, default=8_587)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    answers = _drawn(options.images, options.classes, rng)
    train_images = (1000 / np.arange(1, options.classes + 1) ** 0.8).astype(int) + 1
    before = _peak_mb()
    start = time.monotonic()
    metrics.accuracy_intervals(answers, resamples=_RESAMPLES, seed=0)
    ece_interval(
        answers.confidence,
        answers.correct,
        Groups.of(answers.group),
        bins=15,
        resamples=_RESAMPLES,
        seed=0,
    )
    print(f"intervals_all_seconds {time.monotonic() - start:.1f} <=30")
    start = time.monotonic()
    metrics.by_band(answers, train_images, resamples=_RESAMPLES, seed=0)
    print(f"intervals_bands_seconds {time.monotonic() - start:.1f} <=30")
    start = time.monotonic()
    other = rng.permutation(answers.label_rank)
    sides = [
        _contender("a", answers, answers.label_rank),
        _contender("b", answers, other),
    ]
    measures = Measures(
        _label_map(options.classes), train_images, resamples=_RESAMPLES, seed=0
    )
    comparison.table(sides, measures)
    print(f"comparison_of_two_seconds {time.monotonic() - start:.1f} <=120")
    print(f"intervals_memory_mb {_peak_mb() - before:.0f} <=1000")


def _drawn(images: int, classes: int, rng: np.random.Generator) -> Answers:
    share = 1 / np.arange(1, classes + 1) ** 0.8  # a long tail, as in the collection
    ids = np.arange(images, dtype=np.uint64)
    sizes = rng.integers(1, 7, size=images)
    group = np.repeat(ids, sizes)[:images]
    label = rng.choice(classes, size=images, p=share / share.sum()).astype(np.int32)
    probability = np.sort(rng.random((images, 5), np.float32))[:, ::-1]
    return Answers(
        image_id=ids,
        label=label,
        top_class=np.tile(label[:, None], (1, 5)),
        top_probability=probability,
        label_rank=rng.geometric(0.6, size=images).astype(np.int32) - 1,
        nll=rng.exponential(size=images),
        genus=label,
        top_genus=label,
        genus_probability=probability[:, 0],
        group=group,
    )


def _contender(name: str, answers: Answers, rank: np.ndarray) -> Contender:
    run = Answered(name, "", answers.image_id, answers.label, rank, answers.group)
    return Contender(name, (run,))


def _label_map(classes: int) -> LabelMap:
    return LabelMap(
        tuple(
            Taxon(i, f"species {i}", "", "", "", "", (), ("EU_SW",)[: i % 2])
            for i in range(classes)
        )
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
