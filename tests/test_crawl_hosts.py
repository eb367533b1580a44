"""Redirects between hosts, and hosts shared between processes."""

import dataclasses
import threading
import time

from crawl_work import FAST, Done, Host, crawl_with, names

from aplantida_jax.data import fetch
from aplantida_jax.data.crawl import NotAsked
from aplantida_jax.data.fetch import Fetched, Trail
from aplantida_jax.data.host_claims import Claims


class Redirects:
    """Work for which host a sends everything on to host b, which answers as told."""

    def __init__(self, b: Host):
        self.b = b
        self.lock = threading.Lock()
        self.asked_a = 0

    def __call__(self, item: str, trail: Trail) -> Done:
        if trail.url:
            return self.b(item, trail)
        with self.lock:
            self.asked_a += 1
        return Done(Fetched(fetch.MOVED, trail=Trail(f"http://b/{item}", 1, 0.0)))


def gaps(host: Host) -> list[float]:
    times = sorted(when for when, _ in host.asked)
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def test_a_redirect_keeps_to_the_pace_of_where_it_leads():
    pace = dataclasses.replace(FAST, per_second=50.0)
    b = Host()
    results = list(crawl_with(Redirects(b), pace).run({"a": names(20)}))
    assert sorted(item for item, _ in results) == sorted(names(20))
    assert sum(gaps(b)) >= 19 / 50 - 0.02


def test_a_redirect_never_reaches_into_a_pause():
    slow = Fetched(fetch.THROTTLED, "http_429", status=429)
    pace = dataclasses.replace(FAST, concurrency=1)
    b = Host(Fetched(fetch.OK), slow)
    work = Redirects(b)
    results = list(crawl_with(work, pace).run({"a": names(20), "b": []}))
    assert len(results) == 20
    assert gaps(b)[1] >= 0.2
    # Meanwhile a was not asked for redirects that nobody could follow.
    assert work.asked_a == 20
    assert max(gaps(b)[2:]) < 0.2


def test_a_host_that_was_given_up_is_not_reached_by_redirects():
    work = Redirects(Host(then=fetch.FORBIDDEN))
    results = list(crawl_with(work).run({"a": names(60)}))
    assert len(results) == 60
    assert len(work.b.asked) <= 24
    given_up = [done for _, done in results if isinstance(done, NotAsked)]
    assert len(given_up) == 60 - len(work.b.asked)


def test_a_host_is_asked_by_one_process_at_a_time(tmp_path):
    """A host that others hold is waited for; the free one is asked meanwhile."""
    theirs, ours = Claims(tmp_path), Claims(tmp_path)
    theirs.claim("a")
    host = Host()
    crawl = crawl_with(host, claims=ours)
    results = crawl.run(
        {"a": ["a1", "a2", "a3"], "b": ["b1"]},
        still_missing=lambda items: [item for item in items if item != "a2"],
    )
    assert next(results)[0] == "b1"
    theirs.release("a")
    # What the other process got meanwhile is not asked for again.
    assert sorted(item for item, _ in results) == ["a1", "a3"]
    assert sorted(item for _, item in host.asked) == ["a1", "a3", "b1"]


def test_a_taken_host_can_be_left_out(tmp_path):
    theirs = Claims(tmp_path)
    theirs.claim("a")
    crawl = crawl_with(Host(), claims=Claims(tmp_path), parallel_hosts=1)
    items = {"a": names(5), "b": ["b1"], "c": ["c1"]}
    results = dict(crawl.run(items, wait_for_hosts=False))
    taken = [item for item, done in results.items() if done == NotAsked("host_busy")]
    assert taken == names(5)
    assert len(results) == 7
    theirs.close()


def test_two_that_redirect_to_each_others_host_both_end(tmp_path):
    """Each holds the host that the other needs: it lets go of it while it is stuck."""

    class Across:
        def __call__(self, item: str, trail: Trail) -> Done:
            time.sleep(0.01)
            other = {"a": "b", "b": "a"}[item[0]]
            moved = Trail(f"http://{other}/{item}", 1, 0.0)
            return Done(
                Fetched(fetch.OK) if trail.url else Fetched(fetch.MOVED, trail=moved)
            )

    done: dict[str, list] = {}

    def work(own: str) -> None:
        crawl = crawl_with(Across(), claims=Claims(tmp_path))
        done[own] = list(crawl.run({own: [f"{own}{n}" for n in range(10)]}))

    threads = [threading.Thread(target=work, args=(own,)) for own in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert {own: len(results) for own, results in done.items()} == {"a": 10, "b": 10}


def test_a_pause_outlives_the_process(tmp_path):
    slow = Fetched(fetch.THROTTLED, "http_429", status=429)
    pace = dataclasses.replace(FAST, pauses_s=(0.5,))
    first = Host(slow)
    crawl = crawl_with(first, pace, claims=Claims(tmp_path))
    # Ended within the pause.
    threading.Timer(0.1, crawl.stop, ["interrupted"]).start()
    ((_, done),) = crawl.run({"a": names(1)})
    assert done == NotAsked("interrupted")
    second = Host()
    list(crawl_with(second, pace, claims=Claims(tmp_path)).run({"a": names(1)}))
    assert second.asked[0][0] - first.asked[0][0] >= 0.5


def test_stopping_hands_the_rest_back():
    host = Host()
    crawl = crawl_with(host)
    results = []
    for item, done in crawl.run({"a": names(100)}):
        results.append((item, done))
        if len(results) == 3:
            crawl.stop("cache_full")
    unasked = [item for item, done in results if done == NotAsked("cache_full")]
    assert len(results) == 100
    assert len(unasked) == 100 - len(host.asked) >= 80
