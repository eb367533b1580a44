"""Many requests to several hosts, each at its own pace, by one pool of threads.

The main thread decides what starts when (`schedule`, `lanes`), a pool of threads does
it, and results come back as a stream. An item that met a throttled or failing host is
asked again, later; a redirected one goes on in the lane of the host that it leads to,
so that no redirect reaches into another host's pause. A host is asked only while this
process holds the claim on it (`host_claims`). What was not asked is handed back with
the reason.
"""

import collections
import concurrent.futures
import dataclasses
import math
import queue
import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol

from absl import logging

from aplantida_jax.data import fetch
from aplantida_jax.data.fetch import Fetched, Trail
from aplantida_jax.data.host_claims import Claims, Pause
from aplantida_jax.data.lanes import Errand, Item, Lane, Lanes
from aplantida_jax.data.origin import host_of
from aplantida_jax.data.schedule import Host, Pace, Ticket

_LONGEST_WAIT = 1.0  # seconds between looks at the clock, and at others' claims
_MOST_THREADS = 64
_MOST_THROTTLED = 8  # answers of 429 or 503 to one item; then it is given back
_SAY_WAITING_S = 60.0
GIVEN_UP = "host_given_up"  # why an item was not asked


class Done(Protocol):
    """What the work on an item returns."""

    @property
    def fetched(self) -> Fetched: ...


@dataclasses.dataclass(frozen=True)
class NotAsked:
    """Instead of a result; `reason` is one word."""

    reason: str


class Crawl(Generic[Item]):
    """Runs `work` on items; see `run`."""

    def __init__(
        self,
        work: Callable[[Item, Trail], Any],
        pace: Pace,
        *,
        retries: int,
        abort: Callable[[], None],
        claims: Claims,
        parallel_hosts: int = _MOST_THREADS,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
            work: makes one request, for an item and the trail of its redirects, in a
                thread; returns a `Done`, and raises only what shall end the run.
            pace: of each host.
            retries: of an item, after failures that are not the host's throttling.
            abort: ends the requests under way, so that an interrupted run ends soon.
            claims: on hosts, among the processes that must not ask the same.
            parallel_hosts: that are asked at a time; paused ones do not count.
            clock: monotonic seconds.
        """
        self._work = work
        self._pace = pace
        self._retries = retries
        self._abort = abort
        self._claims = claims
        self._parallel_hosts = parallel_hosts
        self._threads = min(_MOST_THREADS, pace.concurrency * parallel_hosts)
        self._clock = clock
        self._results: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._under_way = 0
        self._stopped = ""
        self._all_taken = False  # are the hosts with work left others' to ask?
        self._claim_at = self._say_at = -math.inf
        self.lanes: Lanes[Item] = Lanes({}, pace)
        # Spreads retries; says nothing about what comes out.
        self._jitter = random.Random(0)

    def run(
        self,
        items: Mapping[str, Iterable[Item]],
        *,
        still_missing: Callable[[Iterable[Item]], Iterable[Item]] = iter,
        wait_for_hosts: bool = True,
    ) -> Generator[tuple[Item, Any], None, None]:
        """Yields (item, what `work` returned), or (item, NotAsked).

        Args:
            items: host -> what to ask of it.
            still_missing: of a host's items, asked when its claim is won: what another
                process has not got meanwhile. The others are not yielded.
            wait_for_hosts: until another process lets go of them; else their items
                come back not asked.
        """
        self.lanes = Lanes(items, self._pace)
        pool = concurrent.futures.ThreadPoolExecutor(self._threads)
        try:
            while self.lanes.has_work() or self._under_way:
                self._claim_more(still_missing)
                if self._stopped or (self._all_taken and not wait_for_hosts):
                    reason = NotAsked(self._stopped or "host_busy")
                    yield from ((item, reason) for item in self.lanes.drain())
                for lane in list(self.lanes.held.values()):
                    self._start_due(lane, pool)
                    yield from self._let_go_when_done(lane)
                yield from self._take_results(self._wait())
        finally:
            self._abort()
            pool.shutdown(wait=True, cancel_futures=True)
            self._claims.close()

    def stop(self, reason: str) -> None:
        """Asks for nothing more; what waits comes back not asked, for `reason`."""
        self._stopped = reason

    def _claim_more(
        self, still_missing: Callable[[Iterable[Item]], Iterable[Item]]
    ) -> None:
        now = self._clock()
        if now < self._claim_at:
            return
        self._claim_at = now + _LONGEST_WAIT
        held = self.lanes.held
        taken = []
        for lane in self.lanes.wanted():
            busy = sum(not own.host.paused(now) for own in held.values())
            # Where redirects lead to is asked in any case, or nothing would go on.
            if busy >= self._parallel_hosts and not lane.backlog:
                break
            pause = self._claims.claim(lane.name)
            if pause is None:
                taken.append(lane.name)
                continue
            self.lanes.hold(lane)
            lane.host.inherit(now, pause.seconds, pause.step)
            if pause.seconds:
                logging.warning("%s: still pausing %.0f s", lane.name, pause.seconds)
            lane.waiting = collections.deque(still_missing(list(lane.waiting)))
        self._all_taken = bool(taken) and not held
        if self._all_taken and now >= self._say_at:
            self._say_at = now + _SAY_WAITING_S
            holder = self._claims.holder(taken[0])
            logging.info("waiting for %s, which %s asks", ", ".join(taken[:3]), holder)

    def _start_due(self, lane: Lane[Item], pool: Any) -> None:
        now = self._clock()
        while self._under_way < self._threads and lane.host.may_start(now) <= now:
            errand = lane.take(now, fresh=self.lanes.may_take_fresh(lane))
            if errand is None:
                return
            ticket = lane.host.start(now)
            lane.asked += 1
            self._under_way += 1
            pool.submit(self._perform, lane, errand, ticket)
            now = self._clock()

    def _perform(self, lane: Lane[Item], errand: Errand[Item], ticket: Ticket) -> None:
        """In a thread of the pool."""
        try:
            result: Any = self._work(errand.item, errand.trail)
        except BaseException as error:
            result = error
        self._results.put((lane, errand, ticket, result))

    def _let_go_when_done(self, lane: Lane[Item]) -> Iterator[tuple[Item, NotAsked]]:
        """Gives a host up, or back, as soon as there is nothing more to ask of it."""
        if lane.host.given_up:
            left = lane.drain()
            if left:
                logging.error("%s is given up: %s", lane.name, lane.host.given_up)
            for item in left:
                yield item, NotAsked(GIVEN_UP)
        # One that only waits for hosts that others hold must not hold theirs up.
        if lane.host.is_idle and (not len(lane) or self.lanes.is_blocked(lane)):
            self.lanes.let_go(lane)
            self._claim_at = now = self._clock()
            self._claims.note(lane.name, Pause(lane.host.paused(now), lane.host.step))
            self._claims.release(lane.name)

    def _wait(self) -> float:
        """Seconds until something may start; results end the wait earlier."""
        now = self._clock()
        due = now + _LONGEST_WAIT
        if self._under_way < self._threads:
            for lane in self.lanes.held.values():
                fresh = self.lanes.may_take_fresh(lane)
                due = min(due, lane.due(now, fresh=fresh))
        if self.lanes.free:
            due = min(due, self._claim_at)
        return max(0.0, due - now)

    def _take_results(self, wait: float) -> Iterator[tuple[Item, Any]]:
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
        self, lane: Lane[Item], errand: Errand[Item], ticket: Ticket, result: Any
    ) -> Iterator[tuple[Item, Any]]:
        self._under_way -= 1
        if isinstance(result, BaseException):
            raise result
        fetched: Fetched = result.fetched
        self._tell(lane, ticket, fetched)
        if fetched.outcome == fetch.MOVED:
            yield from self._move(lane, errand, fetched.trail)
            return
        now = self._clock()
        blocked = fetched.outcome == fetch.BLOCKED
        passing = fetched.outcome == fetch.THROTTLED or (
            blocked and lane.host.is_in_trouble
        )
        # A page in place of one image is asked for once more in a run.
        retries = min(1, self._retries) if blocked else self._retries
        if passing and errand.throttled < _MOST_THROTTLED:
            again = dataclasses.replace(errand, throttled=errand.throttled + 1)
            lane.put_back(again, now)
        elif _may_pass(fetched) and errand.failed < retries:
            when = now + 2.0**errand.failed * self._jitter.uniform(0.5, 1.5)
            lane.put_back(dataclasses.replace(errand, failed=errand.failed + 1), when)
        else:
            yield errand.item, result

    def _move(
        self, lane: Lane[Item], errand: Errand[Item], trail: Trail
    ) -> Iterator[tuple[Item, NotAsked]]:
        """Sends an errand on to the host that it was redirected to."""
        name, now = host_of(trail.url), self._clock()
        target = self.lanes.by_name.get(name)
        if target and target.host.given_up:
            yield errand.item, NotAsked(GIVEN_UP)
            return
        self.lanes.send(name, dataclasses.replace(errand, trail=trail), now)
        if name != lane.name:
            lane.leads_to.add(name)
        if name not in self.lanes.held:
            self._claim_at = now

    def _tell(self, lane: Lane[Item], ticket: Ticket, fetched: Fetched) -> None:
        """Lets the host's schedule, and whoever asks it next, know of an answer."""
        now = self._clock()
        host, pauses, seconds = lane.host, lane.host.pauses, lane.host.paused_s
        note(host, ticket, fetched, now)
        if host.paused_s > seconds:
            self._claims.note(lane.name, Pause(host.paused(now), host.step))
        if host.pauses > pauses:
            wait = host.paused(now)
            logging.warning("%s: %s, pausing %.0f s", lane.name, fetched.reason, wait)


def _may_pass(fetched: Fetched) -> bool:
    return fetched.outcome in (fetch.TEMPORARY, fetch.BLOCKED)


def note(host: Host, ticket: Ticket, fetched: Fetched, now: float) -> None:
    """Tells a host's schedule what came of the request that `ticket` started."""
    if fetched.outcome == fetch.THROTTLED:
        host.throttled(ticket, now, fetched.retry_after)
    elif fetched.outcome == fetch.FORBIDDEN:
        host.forbade(ticket, now)
    elif _may_pass(fetched):
        host.failed(ticket, now)
    else:
        host.succeeded(ticket, now)
