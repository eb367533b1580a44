"""What a crawl still has to ask, host by host, and in which order.

Pure bookkeeping, like `aplantida_jax.data.schedule`: the crawl passes the time in.
"""

import collections
import dataclasses
import heapq
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from aplantida_jax.data.http_answer import START, Trail
from aplantida_jax.data.schedule import Host, Pace

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Errand(Generic[Item]):
    """An item, and what it has met so far.

    Attributes:
        item: what is asked for.
        failed: answers that may pass, which it got.
        throttled: answers of a host that wants fewer requests.
        trail: where it has been redirected to.
    """

    item: Item
    failed: int = 0
    throttled: int = 0
    trail: Trail = START


class Lane(Generic[Item]):
    """A host and what is to be asked of it.

    Attributes:
        name: of the host.
        host: its pace and pauses.
        waiting: items that were not asked for yet.
        asked: requests of this run.
        leads_to: lanes that its answers redirect to.
    """

    def __init__(self, name: str, pace: Pace, items: Iterable[Item] = ()):
        self.name = name
        self.host = Host(pace)
        self.waiting = collections.deque(items)
        self.asked = 0
        self.leads_to: set[str] = set()
        self._again: list[tuple[float, int, Errand[Item]]] = []
        self._tie = itertools.count()

    def __len__(self) -> int:
        return len(self.waiting) + len(self._again)

    @property
    def backlog(self) -> int:
        """Errands to be done again, or sent here by a redirect."""
        return len(self._again)

    def put_back(self, errand: Errand[Item], when: float) -> None:
        """To be done again, at `when` or later."""
        heapq.heappush(self._again, (when, next(self._tie), errand))

    def take(self, now: float, *, fresh: bool) -> Errand[Item] | None:
        """The next errand; `fresh` allows one that was not asked for yet."""
        if self._again and self._again[0][0] <= now:
            return heapq.heappop(self._again)[2]
        if fresh and self.waiting:
            return Errand(self.waiting.popleft())
        return None

    def due(self, now: float, *, fresh: bool) -> float:
        """When the next errand may start; infinity when that depends on others."""
        ready = now if fresh and self.waiting else math.inf
        if self._again:
            ready = min(ready, self._again[0][0])
        return max(ready, self.host.may_start(now))

    def drain(self) -> list[Item]:
        """Everything that is left, which the lane then no longer has."""
        left = [errand.item for _, _, errand in self._again] + list(self.waiting)
        self._again.clear()
        self.waiting.clear()
        return left


class Lanes(Generic[Item]):
    """The lanes of a crawl: those this process holds, and those still to be claimed.

    A lane is in `free` when it has work and is not held.
    """

    def __init__(self, items: Mapping[str, Iterable[Item]], pace: Pace):
        self._pace = pace
        made = [Lane(name, pace, own) for name, own in items.items()]
        # The longest first: it decides how long all of it takes.
        made.sort(key=len, reverse=True)
        self.by_name = {lane.name: lane for lane in made}
        self.free = {lane.name: lane for lane in made if len(lane)}
        self.held: dict[str, Lane[Item]] = {}

    def has_work(self) -> bool:
        return bool(self.free) or any(map(len, self.held.values()))

    def hold(self, lane: Lane[Item]) -> None:
        """Notes that this process has claimed the lane's host."""
        self.held[lane.name] = self.free.pop(lane.name)

    def let_go(self, lane: Lane[Item]) -> None:
        """Notes that it no longer has."""
        del self.held[lane.name]
        if len(lane):
            self.free[lane.name] = lane

    def send(self, name: str, errand: Errand[Item], now: float) -> Lane[Item]:
        """Puts a redirected errand into the lane of the host that it leads to."""
        lane = self.by_name.setdefault(name, Lane(name, self._pace))
        lane.put_back(errand, now)
        if name not in self.held:
            self.free[name] = lane
        return lane

    def wanted(self) -> list[Lane[Item]]:
        """Lanes to be claimed; those that redirects lead to come first."""
        able = [lane for lane in self.free.values() if not self.is_blocked(lane)]
        return sorted(able, key=lambda lane: not lane.backlog)

    def is_blocked(self, lane: Lane[Item]) -> bool:
        """Has it nothing to do until a host that it leads to is claimed?"""
        return not lane.backlog and any(
            self.free[name].backlog for name in lane.leads_to if name in self.free
        )

    def may_take_fresh(self, lane: Lane[Item]) -> bool:
        """Not while the hosts that it leads to are behind with what it sent."""
        return not self.is_blocked(lane) and all(
            self.by_name[name].backlog < self._pace.concurrency
            for name in lane.leads_to
        )

    def drain(self) -> list[Item]:
        """Everything that waits in any lane."""
        everything = [item for lane in self.by_name.values() for item in lane.drain()]
        self.free.clear()
        return everything
