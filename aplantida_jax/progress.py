"""Progress of long work: a bar with rate and time left on a terminal, else lines."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from absl import logging
from tqdm import tqdm

_T = TypeVar("_T")


def track(
    items: Iterable[_T],
    *,
    total: int | None,
    what: str,
    unit: str = "images",
    every_seconds: float = 10.0,
) -> Iterator[_T]:
    """Yields `items` unchanged while showing how far they are.

    Args:
        items: anything iterable.
        total: how many there will be, None when unknown.
        what: what is being done, e.g. "download".
        unit: what an item is, in the plural.
        every_seconds: least time between two log lines (not used on a terminal).
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit=f" {unit}", leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_seconds:
            last = now
            logging.info(_line(what, unit, done, total, now - start))


def _line(what: str, unit: str, done: int, total: int | None, elapsed: float) -> str:
    rate = done / elapsed
    if total is None:
        return f"{what}: {done} {unit}, {rate:.1f}/s"
    left = (total - done) / rate
    return f"{what}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left"
