"""Many requests to several hosts, each at its own pace, by one pool of threads.

The main thread decides what starts when (`aplantida_jax.data.schedule`), a pool of
threads does it, and results come back as a stream. An item that met a throttled or
failing host is asked again, later; one whose host was given up is handed back unasked.
"""

import collections
import concurrent.futures
import dataclasses
import heapq
import itertools
import math
import queue
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from absl import logging

from aplantida_jax.data import fetch
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.schedule import Host, Pace, Ticket

_Item = TypeVar("_Item")
_LONGEST_WAIT = 1.0  # seconds between looks at the clock
_MOST_THREADS = 64
_MOST_THROTTLED = 8  # answers of 429 or 503 to one item; then it is given back


class Done(Protocol):
    """What the work on an item returns."""

    @property
    def fetched(self) -> Fetched: ...


@dataclasses.dataclass(frozen=True)
class _Tries:
    """What an item has met so far."""

    failed: int = 0
    throttled: int = 0


@dataclasses.dataclass
class _Lane(Generic[_Item]):
    """A host, what is still to be asked of it, and what to ask again when."""

    name: str
    host: Host
    waiting: collections.deque[_Item]
    again: list[tuple[float, int, _Item, _Tries]]  # heap of (when, tie, item, tries)


class Crawl(Generic[_Item]):
    """Runs `work` on items; see `run`."""

    def __init__(
        self,
        work: Callable[[_Item], Any],
        pace: Pace,
        *,
        retries: int,
        abort: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
            work: makes the request, in a thread; returns a `Done`, and raises only what
                shall end the run.
            pace: of each host.
            retries: of an item, after failures that are not the host's throttling.
            abort: ends the requests under way, so that an interrupted run ends soon.
            clock: monotonic seconds.
        """
        self._work = work
        self._pace = pace
        self._retries = retries
        self._abort = abort
        self._clock = clock
        self._results: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._tie = itertools.count()
        self._under_way = 0
        # Spreads retries; says nothing about what comes out.
        self._jitter = random.Random(0)

    def run(
        self, items: Mapping[str, Iterable[_Item]]
    ) -> Iterator[tuple[_Item, Any | None]]:
        """Yields (item, what `work` returned), or (item, None) when it was not asked.

        Args:
            items: host -> what to ask of it.
        """
        lanes = [
            _Lane(name, Host(self._pace), collections.deque(own), [])
            for name, own in items.items()
        ]
        threads = min(_MOST_THREADS, self._pace.concurrency * max(1, len(lanes)))
        pool = concurrent.futures.ThreadPoolExecutor(threads)
        try:
            while any(self._has_work(lane) for lane in lanes) or self._under_way:
                now = self._clock()
                for lane in lanes:
                    self._start_due(lane, now, pool, threads)
                    if lane.host.given_up:
                        yield from self._hand_back(lane)
                yield from self._take_results(self._wait(lanes, threads))
        finally:
            self._abort()
            pool.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _has_work(lane: _Lane[_Item]) -> bool:
        return bool(lane.waiting or lane.again)

    def _start_due(
        self, lane: _Lane[_Item], now: float, pool: Any, threads: int
    ) -> None:
        while self._under_way < threads and lane.host.may_start(now) <= now:
            if lane.again and lane.again[0][0] <= now:
                _, _, item, tries = heapq.heappop(lane.again)
            elif lane.waiting:
                item, tries = lane.waiting.popleft(), _Tries()
            else:
                return
            ticket = lane.host.start(now)
            self._under_way += 1
            pool.submit(self._perform, lane, item, tries, ticket)
            now = self._clock()

    def _perform(
        self, lane: _Lane[_Item], item: _Item, tries: _Tries, ticket: Ticket
    ) -> None:
        """In a thread of the pool."""
        try:
            result: Any = self._work(item)
        except BaseException as error:
            result = error
        self._results.put((lane, item, tries, ticket, result))

    def _wait(self, lanes: list[_Lane[_Item]], threads: int) -> float:
        """Seconds until something may start; results end the wait earlier."""
        now = self._clock()
        due = math.inf
        for lane in lanes:
            if lane.waiting:
                due = min(due, lane.host.may_start(now))
            elif lane.again:
                due = min(due, max(lane.again[0][0], lane.host.may_start(now)))
        if self._under_way >= threads:
            due = math.inf
        return min(_LONGEST_WAIT, max(0.0, due - now))

    def _take_results(self, wait: float) -> Iterator[tuple[_Item, Any]]:
        """All results that are there, the first within `wait` seconds."""
        try:
            entry = (
                self._results.get(timeout=wait) if wait else self._results.get(False)
            )
            while True:
                yield from self._take(*entry)
                entry = self._results.get(False)
        except queue.Empty:
            return

    def _take(
        self,
        lane: _Lane[_Item],
        item: _Item,
        tries: _Tries,
        ticket: Ticket,
        result: Any,
    ) -> Iterator[tuple[_Item, Any]]:
        self._under_way -= 1
        if isinstance(result, BaseException):
            raise result
        fetched: Fetched = result.fetched
        now = self._clock()
        pauses = lane.host.pauses
        _tell(lane.host, ticket, fetched, now)
        if lane.host.pauses > pauses:
            logging.warning(
                "%s: %s, pausing %.0f s",
                lane.name,
                fetched.reason,
                lane.host.paused(now),
            )
        blocked = fetched.outcome == fetch.BLOCKED
        passing = fetched.outcome == fetch.THROTTLED or (
            blocked and lane.host.is_in_trouble
        )
        # A page in place of one image is asked for once more, then it is believed.
        retries = min(1, self._retries) if blocked else self._retries
        if passing and tries.throttled < _MOST_THROTTLED:
            tries = dataclasses.replace(tries, throttled=tries.throttled + 1)
            heapq.heappush(lane.again, (now, next(self._tie), item, tries))
        elif _may_pass(fetched) and tries.failed < retries:
            when = now + 2.0**tries.failed * self._jitter.uniform(0.5, 1.5)
            tries = dataclasses.replace(tries, failed=tries.failed + 1)
            heapq.heappush(lane.again, (when, next(self._tie), item, tries))
        else:
            yield item, result

    def _hand_back(self, lane: _Lane[_Item]) -> Iterator[tuple[_Item, None]]:
        if self._has_work(lane):
            logging.error("%s is given up for now: %s", lane.name, lane.host.given_up)
        for _, _, item, _ in lane.again:
            yield item, None
        for item in lane.waiting:
            yield item, None
        lane.again.clear()
        lane.waiting.clear()


def _may_pass(fetched: Fetched) -> bool:
    return fetched.outcome in (fetch.TEMPORARY, fetch.BLOCKED)


def _tell(host: Host, ticket: Ticket, fetched: Fetched, now: float) -> None:
    if fetched.outcome == fetch.THROTTLED:
        host.throttled(ticket, now, fetched.retry_after)
    elif fetched.outcome == fetch.FORBIDDEN:
        host.forbade(ticket, now)
    elif _may_pass(fetched):
        host.failed(ticket, now)
    else:
        host.succeeded(ticket, now)
