"""The download itself: hosts are asked, images examined and kept, outcomes noted.

One thread of many holds an image from its request to its place in the cache; the main
thread then writes its outcome into the journal, at once. So a kill costs the requests
under way and nothing else, and a full disk holds everything up without a loss.
"""

import collections
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cv2

from aplantida_jax import allocator
from aplantida_jax.data import fetch, origin
from aplantida_jax.data.cache import Cache, CacheFull
from aplantida_jax.data.crawl import Crawl, NotAsked
from aplantida_jax.data.crawl_report import CrawlReport
from aplantida_jax.data.disk_room import DiskRoom
from aplantida_jax.data.examine import Rules, current, examine
from aplantida_jax.data.fetch import Fetched, Fetcher, Trail
from aplantida_jax.data.host_claims import Claims
from aplantida_jax.data.journal import OK, REJECTED, TEMPORARY, Journal, Outcome
from aplantida_jax.data.origin import Origin

_NOT_ASKED_AT_ONCE = 1000  # outcomes without a request, which a kill may cost

Item = tuple[str, str]  # image id, URL


@dataclasses.dataclass(frozen=True)
class Done:
    """What came of one request; `fetched` is without its body."""

    fetched: Fetched
    outcome: Outcome


class _Pages:
    """Which images came as a page: is it that image's fault, or does the host block?

    A page instead of one image is believed when its host gave another image since the
    same happened to it before. Else it may be what the host shows to everybody who asks
    too much, whatever they ask for.
    """

    def __init__(self) -> None:
        self._images: collections.Counter[str] = collections.Counter()
        self._first: dict[str, int] = {}  # image id -> images of the host until then
        self._lock = threading.Lock()

    def image_came(self, host: str) -> None:
        """Notes that a host gave an image."""
        with self._lock:
            self._images[host] += 1

    def is_believed(self, host: str, image_id: str) -> bool:
        """Notes that a page came; is it the answer to this image alone?"""
        with self._lock:
            now = self._images[host]
            return self._first.setdefault(image_id, now) < now


class Keeper:
    """Asks for images and keeps them; its `perform` runs in many threads."""

    def __init__(
        self,
        source: Origin,
        put: Callable[[str, bytes], bool],
        accept: Rules,
        disk: DiskRoom,
    ):
        """`put` takes an image's id and bytes, as `Cache.put` does."""
        self._source = source
        self._fetcher: Fetcher = source.fetcher
        self._put = put
        self._accept = accept
        self._disk = disk
        self._pages = _Pages()

    def perform(self, item: Item, trail: Trail) -> Done:
        """Makes one request; examines and keeps what came."""
        image_id, url = item
        url = self._source.url(url)
        host = origin.host_of(trail.url or url)
        fetched = self._fetcher.fetch(url, trail=trail)
        outcome, data = examine(image_id, fetched, self._accept)
        if outcome.status == OK:
            self._pages.image_came(host)
            outcome = self._keep(outcome, data)
        seen = dataclasses.replace(fetched, body=b"")
        if fetched.outcome == fetch.OK and outcome.reason == "html":
            seen = Fetched(fetch.BLOCKED, "html")
            believed = self._pages.is_believed(host, image_id)
            status = REJECTED if believed else TEMPORARY
            outcome = dataclasses.replace(outcome, status=status)
        if fetched.outcome == fetch.OK and outcome.reason == "truncated":
            lost = outcome.status == TEMPORARY
            seen = Fetched(fetch.TEMPORARY, "cut_off") if lost else seen
        return Done(seen, outcome)

    def _keep(self, outcome: Outcome, data: bytes) -> Outcome:
        put = functools.partial(self._put, outcome.image_id, data)
        try:
            reason = "" if self._disk.write(put) else "cache_size"
        except CacheFull:
            reason = "cache_full"
        if reason:
            return dataclasses.replace(outcome, status=TEMPORARY, reason=reason)
        return outcome


class Filling:
    """One run: what is missing of a dataset goes from its hosts into the cache."""

    def __init__(self, config: Any, accept: Rules, cache: Cache, journal: Journal):
        """Make it before the journal is read: it notes what others write from here."""
        self._config = config
        self._accept = accept
        self._cache = cache
        self._journal = journal
        self._version = journal.version()
        self._disk = DiskRoom(
            str(cache.directory),
            retry_s=config.download.disk_retry_s,
            patience_s=config.download.disk_patience_s,
        )

    def run(
        self, todo: Mapping[str, list[Item]], spare_since: int, mean_bytes: float
    ) -> CrawlReport:
        """Asks for everything and writes down what came of it.

        Args:
            todo: host -> what to ask of it.
            spare_since: the cache's tick since which nothing may be evicted.
            mean_bytes: that an image is likely to take in the cache.

        Raises:
            UserError: the disk stayed full.
        """
        # The threads of the crawl are the parallelism; OpenCV's would only add to them.
        cv2.setNumThreads(1)
        allocator.keep_large_blocks()
        config = self._config
        one_each = [own[0][1] for own in todo.values()]
        with origin.opened(config, one_each) as source:
            put = functools.partial(self._cache.put, spare_since=spare_since)
            keeper = Keeper(source, put, self._accept, self._disk)
            crawl = self._crawl(keeper, source.fetcher)
            report = CrawlReport(
                crawl,
                what="download",
                total=sum(map(len, todo.values())),
                per_second=config.download.requests_per_second,
            )
            if self._cache.room(spare_since) < mean_bytes:
                crawl.stop("cache_full")
            missing = functools.partial(self._still_missing, report)
            # Closed here, also when an interrupt comes between two results: its threads
            # must have ended when the cache and the journal are closed.
            with contextlib.closing(crawl.run(todo, still_missing=missing)) as results:
                self._record(report.track(results), crawl, report)
        return report

    def _crawl(self, keeper: Keeper, fetcher: Fetcher) -> Crawl[Item]:
        download = self._config.download
        give_up_after_s = download.give_up_after_hours * 3600.0
        pace = origin.pace(self._config)
        return Crawl(
            keeper.perform,
            dataclasses.replace(pace, give_up_after_s=give_up_after_s),
            retries=download.retries,
            abort=functools.partial(self._abort, fetcher),
            claims=Claims(self._cache.directory / "hosts"),
            parallel_hosts=download.parallel_hosts,
        )

    def _abort(self, fetcher: Fetcher) -> None:
        fetcher.close()
        self._disk.close()

    def _still_missing(self, report: CrawlReport, items: list[Item]) -> list[Item]:
        """Without those that another process got since this one looked."""
        if self._journal.version() == self._version:
            return items
        known = self._journal.outcomes_of(image_id for image_id, _ in items)
        left = [
            (image_id, url)
            for image_id, url in items
            if self._current(known.get(image_id)) is None
        ]
        report.total -= len(items) - len(left)
        return left

    def _current(self, outcome: Outcome | None) -> Outcome | None:
        cached = outcome is not None and outcome.image_id in self._cache
        return current(outcome, self._accept, cached=cached)

    def _record(
        self,
        results: Iterable[tuple[Item, Any]],
        crawl: Crawl[Item],
        report: CrawlReport,
    ) -> None:
        """Writes each outcome down before the next request starts."""
        unasked: list[Outcome] = []
        for (image_id, url), result in results:
            if isinstance(result, NotAsked):
                unasked.append(Outcome(image_id, TEMPORARY, result.reason))
                report.count(origin.host_of(url), result.reason)
                if len(unasked) < _NOT_ASKED_AT_ONCE:
                    continue
                outcomes, unasked = unasked, []
            else:
                outcomes = [result.outcome]
                report.count(origin.host_of(url), result.outcome.reason or OK)
            self._write(outcomes)
            if outcomes[0].reason == "cache_full":
                crawl.stop("cache_full")
        self._write(unasked)

    def _write(self, outcomes: list[Outcome]) -> None:
        self._disk.write(functools.partial(self._journal.record, outcomes))
