"""Work for a crawl that answers as told, in place of requests."""

import dataclasses
import threading
import time

from aplantida_jax.data import fetch
from aplantida_jax.data.crawl import Crawl
from aplantida_jax.data.fetch import Fetched, Trail
from aplantida_jax.data.host_claims import Claims
from aplantida_jax.data.schedule import Pace

FAST = Pace(per_second=1e4, concurrency=4, pauses_s=(0.2, 0.3), max_retry_after_s=0.5)


@dataclasses.dataclass(frozen=True)
class Done:
    fetched: Fetched


class Host:
    """Work that answers as told, and notes what was asked when."""

    def __init__(self, *answers: Fetched, then: str = fetch.OK):
        self.answers = list(answers)
        self.then = Fetched(then, "" if then == fetch.OK else then)
        self.asked: list[tuple[float, str]] = []
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()

    def __call__(self, item: str, trail: Trail) -> Done:
        with self.lock:
            self.asked.append((time.monotonic(), item))
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            answer = self.answers.pop(0) if self.answers else self.then
        time.sleep(0.002)
        with self.lock:
            self.under_way -= 1
        return Done(answer)


def crawl_with(work, pace=FAST, retries=3, abort=lambda: None, claims=None, **more):
    claims = claims or Claims(None)
    return Crawl(work, pace, retries=retries, abort=abort, claims=claims, **more)


def names(count: int) -> list[str]:
    return [f"item{number}" for number in range(count)]
