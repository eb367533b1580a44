"""Which of a sample of URLs answer; asked as politely as a download.

Asked with HEAD, and where that is refused with GET for the first bytes: as a request of
its own, which waits for its turn and for the host's pauses as every other one does.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from aplantida_jax import paths, progress
from aplantida_jax.data import fetch, origin
from aplantida_jax.data.crawl import Crawl, NotAsked
from aplantida_jax.data.fetch import Fetched, Trail
from aplantida_jax.data.host_claims import Claims
from aplantida_jax.data.origin import Origin

# Hosts that don't do HEAD say so in one of these ways; the latter may also be true.
_REFUSED = (405, 501)
_DOUBTFUL = (400, 401, 403, 404)
_FIRST_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class _Done:
    fetched: Fetched


def ask(config: Any, urls: Sequence[str]) -> dict[str, Any]:
    """Asks for `urls` without their bodies.

    Returns:
        {"asked": n, "broken": n, "unasked": n, "reasons": {reason: n}}; "unasked" are
        those of a host that was given up, or that a running download is asking, and
        are in none of the others.
    """
    by_host = collections.defaultdict(list)
    for url in urls:
        by_host[origin.host_of(url)].append(url)
    counts = {"asked": 0, "broken": 0, "unasked": 0}
    reasons: collections.Counter[str] = collections.Counter()
    with origin.opened(config, urls) as source:
        crawl: Crawl[str] = Crawl(
            _Prober(source).perform,
            origin.pace(config),
            retries=config.download.retries,
            abort=source.fetcher.close,
            claims=Claims(paths.cache_dir(config) / "hosts"),
            parallel_hosts=config.download.parallel_hosts,
        )
        # A download may hold a host for a week: nobody waits for that here.
        with contextlib.closing(crawl.run(by_host, wait_for_hosts=False)) as run:
            for _, done in progress.track(
                run, total=len(urls), what="URLs", unit="URLs"
            ):
                asked = not isinstance(done, NotAsked)
                counts["asked" if asked else "unasked"] += 1
                if asked and done.fetched.outcome != fetch.OK:
                    counts["broken"] += 1
                    reasons[done.fetched.reason] += 1
    return {**counts, "reasons": dict(reasons.most_common())}


class _Prober:
    """Asks for URLs in many threads, and learns which hosts do HEAD.

    What it knows of a host is only ever added to, so that threads need no lock: at
    worst one asks once more than it had to.
    """

    def __init__(self, source: Origin):
        self._source = source
        self._truthful: set[str] = set()  # hosts whose HEAD says what their GET does
        self._refusing: set[str] = set()  # hosts whose HEAD is refused
        self._refused: dict[str, Fetched] = {}  # URL -> the answer to its HEAD

    def perform(self, url: str, trail: Trail) -> _Done:
        """One request; MOVED to the same URL when it has to be asked with GET."""
        absolute = self._source.url(url)
        target = trail.url or absolute
        host = origin.host_of(target)
        if host in self._refusing or target in self._refused:
            fetched = self._source.fetcher.fetch(
                absolute, trail=trail, first_bytes=_FIRST_BYTES
            )
            self._learn(host, self._refused.get(target), fetched)
            return _Done(dataclasses.replace(fetched, body=b""))
        start = time.monotonic()
        fetched = self._source.fetcher.fetch(absolute, trail=trail, head=True)
        if fetched.outcome == fetch.OK:
            self._truthful.add(host)
        doubtful = fetched.status in _DOUBTFUL and host not in self._truthful
        if not doubtful and fetched.status not in _REFUSED:
            return _Done(fetched)
        self._refused[target] = fetched
        seconds = trail.seconds + time.monotonic() - start
        again = dataclasses.replace(trail, url=target, seconds=seconds)
        return _Done(Fetched(fetch.MOVED, fetched.reason, trail=again))

    def _learn(self, host: str, head: Fetched | None, get: Fetched) -> None:
        """From both answers to one URL, `head` None where only one was asked for."""
        if head is None:
            return
        if head.status == get.status:
            self._truthful.add(host)
        elif get.outcome == fetch.OK and host not in self._truthful:
            self._refusing.add(host)
