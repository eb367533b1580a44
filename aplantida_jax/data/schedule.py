"""When a host may be asked next: pace, pauses, and the way back.

Pure bookkeeping on a clock that the caller passes in; nothing here waits or sends.

- At most `per_second` requests start per second, at most `concurrency` are under way.
- A throttled answer (429, 503) pauses the whole host: nothing starts within a pause.
  One pause follows another up the ladder, e.g. 60, 120, 300, 600 s, as long as the
  first request after each is throttled too; a longer `Retry-After` wins, up to a cap.
- After a pause a single request probes. If it succeeds the host is open again, and each
  `_CALM` further successes bring the next pause one step down the ladder.
- Many failures in a row (the network is down, the host refuses) count as throttling.
- A host that keeps forbidding (401, 403), or that gave nothing but reasons for pauses
  for as long as `give_up_after_s`, is given up for this run.
"""

import dataclasses
import math

_CALM = 20  # successes that bring the next pause one step down
_TROUBLE = 10  # failures in a row that count as being throttled
_FORBIDDEN = 20  # refusals in a row after which the host is given up


@dataclasses.dataclass(frozen=True)
class Pace:
    """What is asked of every host; see `config.download`.

    Attributes:
        per_second: requests that start.
        concurrency: requests under way.
        pauses_s: the ladder.
        max_retry_after_s: the longest wish of a host that is granted.
        give_up_after_s: of pauses in a row without a success; 0 never does.
    """

    per_second: float
    concurrency: int
    pauses_s: tuple[float, ...]
    max_retry_after_s: float
    give_up_after_s: float = 7200.0


@dataclasses.dataclass(frozen=True)
class Ticket:
    """A request that has started."""

    started: float


class Host:
    """The state of one host. Times are seconds on any monotonic clock."""

    def __init__(self, pace: Pace):
        self.given_up = ""  # why nothing more is asked, "" while it is
        self.pauses = 0  # so far
        self.paused_s = 0.0  # seconds that they last, all together
        self._pace = pace
        self._under_way = 0
        self._next_start = -math.inf
        self._paused_until = -math.inf
        self._paused_at = -math.inf
        self._probing = False  # after a pause, until a request succeeds
        self._step = 0  # of the ladder, which the next pause takes
        self._vain_since = math.inf  # when the first of the pauses in a row began
        self._successes = 0
        self._failures = 0
        self._refusals = 0

    def may_start(self, now: float) -> float:
        """The earliest time for the next request, `now` or later.

        Infinity when that depends on a request under way, or the host is given up.
        """
        most = 1 if self._probing else self._pace.concurrency
        if self.given_up or self._under_way >= most:
            return math.inf
        return max(now, self._next_start, self._paused_until)

    def start(self, now: float) -> Ticket:
        """Notes that a request starts; only when `may_start(now) <= now`."""
        self._under_way += 1
        self._next_start = now + 1.0 / self._pace.per_second
        return Ticket(now)

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """Any answer that shows the host at work: also 404."""
        self._under_way -= 1
        self._failures = self._refusals = 0
        if ticket.started < self._paused_at:
            return  # it was sent before the pause: no sign that the pause is over
        self._probing = False
        self._vain_since = math.inf
        self._successes += 1
        if self._successes % _CALM == 0:
            self._step = max(0, self._step - 1)

    def failed(self, ticket: Ticket, now: float) -> None:
        """No answer, or 5xx."""
        self._failures += 1
        if self._failures % _TROUBLE == 0 or self._probing:
            self.throttled(ticket, now, None)
        else:
            self._under_way -= 1

    def throttled(self, ticket: Ticket, now: float, retry_after: float | None) -> None:
        """429 or 503; `retry_after` in seconds, None without a valid one."""
        self._under_way -= 1
        wish = min(retry_after or 0.0, self._pace.max_retry_after_s)
        self._successes = 0
        if ticket.started < self._paused_at or now < self._paused_until:
            # Several requests met the same wall: one pause, the longest wish.
            self._extend(now + wish)
            return
        last = len(self._pace.pauses_s) - 1
        pause = max(self._pace.pauses_s[min(self._step, last)], wish)
        self._step = min(self._step + 1, last)
        self._paused_at = now
        self._extend(now + pause)
        self._probing = True
        self.pauses += 1
        self._vain_since = min(self._vain_since, now)
        vain = now - self._vain_since
        if 0 < self._pace.give_up_after_s <= vain:
            self.given_up = f"it did not recover in {vain / 3600:.1f} hours of pauses"

    def forbade(self, ticket: Ticket, now: float) -> None:
        """401 or 403."""
        del now, ticket
        self._under_way -= 1
        self._refusals += 1
        if self._refusals >= _FORBIDDEN:
            self.given_up = (
                f"it forbade {self._refusals} requests in a row (does it want another "
                "download.user_agent, or a download.contact?)"
            )

    def inherit(self, now: float, seconds: float, step: int) -> None:
        """Goes on in a pause that somebody else was given.

        Args:
            now: the time.
            seconds: that it still lasts.
            step: of the ladder, which the next pause takes.
        """
        self._step = max(self._step, min(step, len(self._pace.pauses_s) - 1))
        if seconds > 0:
            self._paused_at = now
            self._extend(now + min(seconds, self._longest_pause()))
            self._probing = True

    @property
    def is_idle(self) -> bool:
        """Is no request under way?"""
        return not self._under_way

    @property
    def step(self) -> int:
        """Of the ladder, which the next pause takes."""
        return self._step

    @property
    def is_in_trouble(self) -> bool:
        """Has it failed for all alike, so that a failure says nothing of one URL?"""
        return self._probing or self._failures >= _TROUBLE

    def paused(self, now: float) -> float:
        """Seconds that the pause still lasts, 0 outside one."""
        return max(0.0, self._paused_until - now)

    def _extend(self, until: float) -> None:
        """Lets the pause, or a new one, last until then if that is later."""
        begin = max(self._paused_at, self._paused_until)
        self.paused_s += max(0.0, until - begin)
        self._paused_until = max(self._paused_until, until)

    def _longest_pause(self) -> float:
        return max(*self._pace.pauses_s, self._pace.max_retry_after_s)
