"""Turns at hosts, for threads that ask for themselves and must not be held up long.

A download has one thread that decides what starts when (`crawl`). Training's threads
come in the order of the images, so here each waits for its own turn, under the same
rules: a host's pace and pauses (`schedule`), one process at a time (`host_claims`).
Waiting for the pace is short. A pause, or another process that keeps a host to itself,
is not: then there is no turn, and the caller goes on without the image.
"""

import dataclasses
import math
import threading
import time
from collections.abc import Callable

from absl import logging

from aplantida_jax.data import crawl
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.host_claims import Claims, Pause
from aplantida_jax.data.schedule import Host, Pace, Ticket

PAUSED, BUSY, STOPPED = "host_paused", "host_busy", "stopped"
_LONGEST_WAIT = 1.0  # seconds between looks at the clock
_POLL_S = 0.05  # between looks whether another process has let go of a host
_BUSY_S = 10.0  # that others may keep a host before nobody waits for it any more
_TURN_S = 5.0  # that a host is kept from other processes at a time


class NoTurn(Exception):
    """The host is not to be asked now; `reason` is one word."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclasses.dataclass
class _Lane:
    """What is known of one host. Times are those of the clock."""

    host: Host
    waiting: int = 0  # threads
    held: bool = False  # does this process have the claim?
    held_since: float = 0.0
    busy_since: float = math.inf  # others have had the claim since then
    not_before: float = 0.0  # the pace of whoever had the claim before
    claim_after: float = 0.0  # others come first until then


class Turns:
    """Shared by all threads of a process; see `take`."""

    def __init__(
        self, pace: Pace, claims: Claims, clock: Callable[[], float] = time.monotonic
    ):
        self._pace = pace
        self._claims = claims
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}
        self._changed = threading.Condition()
        self._stopped = False

    def take(
        self, name: str, *, wanted: Callable[[], bool], patience_s: float
    ) -> Ticket | None:
        """Waits until this thread may ask the host; then `give_back` must follow.

        Args:
            name: of the host, as `origin.host_of` says it.
            wanted: whether there is still something to ask, looked at before the turn.
            patience_s: to wait for a pause, or another process, to end.

        Returns:
            The turn, or None when nothing is wanted any more.

        Raises:
            NoTurn: PAUSED, BUSY, STOPPED or `crawl.GIVEN_UP`.
        """
        with self._changed:
            lane = self._lanes.setdefault(name, _Lane(Host(self._pace)))
            lane.waiting += 1
            try:
                return self._wait(name, lane, wanted, self._clock() + patience_s)
            finally:
                lane.waiting -= 1
                if not lane.waiting:
                    self._let_go_if_idle(name, lane)

    def give_back(self, name: str, ticket: Ticket, fetched: Fetched) -> None:
        """Says what came of the request."""
        with self._changed:
            now = self._clock()
            lane = self._lanes[name]
            host, pauses, given_up = lane.host, lane.host.pauses, lane.host.given_up
            crawl.note(host, ticket, fetched, now)
            if host.pauses > pauses:
                wait = host.paused(now)
                logging.warning("%s: %s, pausing %.0f s", name, fetched.reason, wait)
            if host.given_up and not given_up:
                logging.error("%s is given up: %s", name, host.given_up)
            self._claims.note(name, Pause(host.paused(now), host.step))
            if not lane.waiting:
                self._let_go_if_idle(name, lane)
            self._changed.notify_all()

    def stop(self) -> None:
        """No more turns; threads that wait for one are told so within a second.

        Takes no lock, so that a signal's handler may call it.
        """
        self._stopped = True

    def close(self) -> None:
        """Stops, and lets all hosts go."""
        self.stop()
        with self._changed:
            self._changed.notify_all()
            self._claims.close()

    def _wait(
        self, name: str, lane: _Lane, wanted: Callable[[], bool], until: float
    ) -> Ticket | None:
        while True:
            if self._stopped:
                raise NoTurn(STOPPED)
            if lane.host.given_up:
                raise NoTurn(crawl.GIVEN_UP)
            if not wanted():
                return None
            now = self._clock()
            due, held_up = self._due(name, lane, now)
            if due <= now:
                return lane.host.start(now)
            patience_ends = math.inf
            if held_up:
                patience_ends = until
                if held_up == BUSY:
                    patience_ends = max(until, lane.busy_since + _BUSY_S)
                if now >= patience_ends:
                    raise NoTurn(held_up)
            self._changed.wait(min(due - now, patience_ends - now, _LONGEST_WAIT))

    def _due(self, name: str, lane: _Lane, now: float) -> tuple[float, str]:
        """When the next request may start, and what holds it up beyond the pace."""
        host = lane.host
        if host.paused(now):
            return now + host.paused(now), PAUSED
        if not lane.held:
            if now < lane.claim_after:
                return lane.claim_after, ""
            if not self._claim(name, lane, now):
                return now + _POLL_S, BUSY
            if host.paused(now):
                return now + host.paused(now), PAUSED
        if now - lane.held_since > _TURN_S:
            # Whoever waits in another process has its turn once nothing is under way.
            self._let_go_if_idle(name, lane)
            lane.claim_after = now + 2 * _POLL_S
            return now + _POLL_S, ""
        due = max(host.may_start(now), lane.not_before)
        # Others wait for the one request that looks whether a pause is over.
        return due, PAUSED if due == math.inf and host.is_in_trouble else ""

    def _claim(self, name: str, lane: _Lane, now: float) -> bool:
        """Takes the host from the other processes; False while one has it."""
        pause = self._claims.claim(name)
        if pause is None:
            lane.busy_since = min(lane.busy_since, now)
            return False
        lane.held, lane.held_since, lane.busy_since = True, now, math.inf
        lane.not_before = now + 1.0 / self._pace.per_second
        lane.host.inherit(now, pause.seconds, pause.step)
        return True

    def _let_go_if_idle(self, name: str, lane: _Lane) -> None:
        """Lets other processes have a host unless a request to it is under way."""
        if lane.held and lane.host.is_idle:
            lane.held = False
            now = self._clock()
            self._claims.note(name, Pause(lane.host.paused(now), lane.host.step))
            self._claims.release(name)
