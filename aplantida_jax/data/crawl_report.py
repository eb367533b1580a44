"""How a crawl goes, and how it went: progress that knows of pauses, counts by host."""

import collections
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from absl import logging
from tqdm import tqdm

from aplantida_jax.data.crawl import GIVEN_UP, Crawl
from aplantida_jax.data.lanes import Lane

_EVERY_S = 10.0  # between two log lines (not used on a terminal)
_BAR_EVERY_S = 0.5  # between two looks at all hosts, for the bar
# Without the time left that tqdm would tell, which knows of no pauses.
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {rate_fmt}{postfix}"
_MOST_HOSTS = 50  # in the manifest
_SHOWN_HOSTS = 5  # in the log

_T = TypeVar("_T")


class CrawlReport:
    """Counts results by host, and says how long the rest will take."""

    def __init__(
        self,
        crawl: Crawl[Any],
        *,
        what: str,
        total: int,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
            crawl: whose results are counted.
            what: is being done, for the lines.
            total: items to come.
            per_second: requests that a host allows, where nothing is measured yet.
            clock: of the crawl.
        """
        self.total = total
        self.done = 0
        self._crawl = crawl
        self._what = what
        self._per_second = per_second
        self._clock = clock
        self._start = clock()
        self._reasons: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )

    def count(self, host: str, reason: str) -> None:
        """Notes one result."""
        self.done += 1
        self._reasons[host][reason] += 1

    def track(self, results: Iterable[_T]) -> Iterator[_T]:
        """Yields `results` unchanged while showing how far they are."""
        if sys.stderr.isatty():
            yield from self._bar(results)
            return
        last = self._clock()
        for result in results:
            yield result
            if self._clock() - last >= _EVERY_S:
                last = self._clock()
                logging.info(self.line())

    def _bar(self, results: Iterable[_T]) -> Iterator[_T]:
        last = -math.inf
        with tqdm(
            total=self.total, desc=self._what, leave=False, bar_format=_BAR
        ) as bar:
            for result in results:
                yield result
                if self._clock() - last >= _BAR_EVERY_S:
                    last = self._clock()
                    bar.total = self.total
                    bar.set_postfix_str(self._outlook(), refresh=False)
                bar.update()

    def line(self) -> str:
        """E.g. "download: 120/900 images, 9.8/s, 80 s left (paused: a.org 30 s)"."""
        rate = self.done / max(1e-9, self.seconds)
        return (
            f"{self._what}: {self.done}/{self.total} images, {rate:.1f}/s, "
            f"{self._outlook()}"
        )

    def seconds_left(self) -> float:
        """Until the slowest host is done: the rest of its pause and of its images."""
        lanes = self._crawl.lanes.by_name.values()
        return max((self._seconds_of(lane) for lane in lanes), default=0.0)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._start

    def by_host(self) -> dict[str, Any]:
        """What was asked of the busiest hosts in this run, for the manifest."""
        lanes = self._crawl.lanes.by_name.values()
        busiest = sorted(lanes, key=lambda lane: lane.asked, reverse=True)
        return {
            lane.name: {
                "requests": lane.asked,
                "pauses": lane.host.pauses,
                "paused_s": round(self._paused_so_far(lane), 1),
                "given_up": lane.host.given_up,
                "results": dict(self._reasons[lane.name].most_common()),
            }
            for lane in busiest[:_MOST_HOSTS]
            if lane.asked or self._reasons[lane.name]
        }

    def summarise(self) -> None:
        """Logs the busiest hosts, a line each, and all that were given up."""
        for host, counts in list(self.by_host().items())[:_SHOWN_HOSTS]:
            results = ", ".join(f"{n} {why}" for why, n in counts["results"].items())
            logging.info(
                "%s: %d requests in this run (%s), %d pauses of %.0f s altogether",
                host or "beside the dump",
                counts["requests"],
                results or "no results",
                counts["pauses"],
                counts["paused_s"],
            )
        for host, reasons in self._reasons.items():
            if reasons[GIVEN_UP]:
                logging.warning(
                    "%d images of %s were not asked: run stage 'download' again",
                    reasons[GIVEN_UP],
                    host or "beside the dump",
                )

    def _outlook(self) -> str:
        now = self._clock()
        paused = [
            f"{lane.name} {_duration(lane.host.paused(now))}"
            for lane in self._crawl.lanes.held.values()
            if lane.host.paused(now)
        ]
        pauses = f" (paused: {', '.join(paused[:3])})" if paused else ""
        return f"about {_duration(self.seconds_left())} left{pauses}"

    def _seconds_of(self, lane: Lane[Any]) -> float:
        now = self._clock()
        if not len(lane) or lane.host.given_up:
            return 0.0
        active = self.seconds - self._paused_so_far(lane)
        done = self._reasons[lane.name].total()
        rate = done / active if done and active > 0 else self._per_second
        return lane.host.paused(now) + len(lane) / rate

    def _paused_so_far(self, lane: Lane[Any]) -> float:
        return lane.host.paused_s - lane.host.paused(self._clock())


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
