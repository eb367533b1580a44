"""Which of a sample of URLs answer; asked as politely as a download."""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from aplantida_jax import paths, progress
from aplantida_jax.data import fetch, origin
from aplantida_jax.data.crawl import Crawl, NotAsked
from aplantida_jax.data.fetch import Fetched, Trail
from aplantida_jax.data.host_claims import Claims
from aplantida_jax.data.origin import Origin

# Hosts that don't do HEAD say so in one of these ways.
_NO_HEAD = (400, 401, 403, 404, 405, 501)
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
            functools.partial(_perform, source),
            origin.pace(config),
            retries=config.download.retries,
            abort=source.fetcher.close,
            claims=Claims(paths.cache_dir(config) / "hosts"),
            parallel_hosts=config.download.parallel_hosts,
        )
        # A download may hold a host for a week: nobody waits for that here.
        run = crawl.run(by_host, wait_for_hosts=False)
        for _, done in progress.track(run, total=len(urls), what="URLs", unit="URLs"):
            asked = not isinstance(done, NotAsked)
            counts["asked" if asked else "unasked"] += 1
            if asked and done.fetched.outcome != fetch.OK:
                counts["broken"] += 1
                reasons[done.fetched.reason] += 1
    return {**counts, "reasons": dict(reasons.most_common())}


def _perform(source: Origin, url: str, trail: Trail) -> _Done:
    """In a thread: HEAD, and where that is refused the first bytes."""
    absolute = source.url(url)
    fetched = source.fetcher.fetch(absolute, trail=trail, head=True)
    if fetched.status in _NO_HEAD:
        fetched = source.fetcher.fetch(absolute, trail=trail, first_bytes=_FIRST_BYTES)
    return _Done(dataclasses.replace(fetched, body=b""))
