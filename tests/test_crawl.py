import dataclasses
import time

import pytest
from crawl_work import FAST, Done, Host, crawl_with, names

from aplantida_jax.data import crawl as crawl_lib
from aplantida_jax.data import fetch
from aplantida_jax.data.crawl import NotAsked
from aplantida_jax.data.fetch import Fetched, Trail


def run(host: Host, items, pace=FAST, retries=3):
    aborted = []
    crawl = crawl_with(host, pace, retries, lambda: aborted.append(True))
    results = list(crawl.run(items))
    assert aborted == [True]
    return results


def test_everything_is_asked_once():
    host = Host()
    results = run(host, {"a": names(50), "b": ["other"], "c": []})
    assert sorted(item for item, _ in results) == sorted([*names(50), "other"])
    assert len(host.asked) == 51
    assert all(done.fetched.outcome == fetch.OK for _, done in results)


def test_concurrency_is_per_host():
    host = Host()
    run(host, {"a": names(40)})
    assert 2 <= host.most_under_way <= 4
    host = Host()
    run(host, {"a": names(40), "b": names(40)})
    assert 5 <= host.most_under_way <= 8


def test_the_rate_is_kept():
    pace = dataclasses.replace(FAST, per_second=50.0)
    host = Host()
    run(host, {"a": names(15)}, pace)
    times = [when for when, _ in host.asked]
    assert times[-1] - times[0] >= 14 / 50 - 0.02


def test_nothing_is_asked_within_a_pause():
    slow = Fetched(fetch.THROTTLED, "http_429", status=429)
    pace = dataclasses.replace(FAST, concurrency=1)
    host = Host(Fetched(fetch.OK), slow, slow)
    results = run(host, {"a": names(10)}, pace)
    assert sorted(item for item, _ in results) == sorted(names(10))
    gaps = [b[0] - a[0] for a, b in zip(host.asked, host.asked[1:], strict=False)]
    assert gaps[1] >= 0.2
    assert gaps[2] >= 0.3
    assert len(host.asked) == 12


def test_another_host_goes_on_meanwhile():
    finished = {}

    def work(item: str, trail: Trail) -> Done:
        finished[item] = time.monotonic()
        if item == "a0" and "again" not in finished:
            finished["again"] = 0.0
            return Done(Fetched(fetch.THROTTLED, "http_429"))
        return Done(Fetched(fetch.OK))

    crawl = crawl_with(work, retries=0)
    done = [item for item, _ in crawl.run({"a": ["a0"], "b": names(20)})]
    assert done[-1] == "a0"
    others = [when for item, when in finished.items() if item.startswith("item")]
    assert max(others) < finished["a0"]


def test_temporary_failures_are_retried(monkeypatch):
    class NoWait:
        def uniform(self, low: float, high: float) -> float:
            assert (low, high) == (0.5, 1.5)
            return 0.0

    failure = Fetched(fetch.TEMPORARY, "timeout")
    host = Host(failure, failure)
    crawl = crawl_with(host)
    monkeypatch.setattr(crawl, "_jitter", NoWait())
    ((_, done),) = crawl.run({"a": ["item"]})
    assert (done.fetched.outcome, len(host.asked)) == (fetch.OK, 3)

    host = Host(then=fetch.TEMPORARY)
    crawl = crawl_with(host)
    monkeypatch.setattr(crawl, "_jitter", NoWait())
    ((_, done),) = crawl.run({"a": ["item"]})
    assert (done.fetched.outcome, len(host.asked)) == (fetch.TEMPORARY, 4)


@pytest.mark.parametrize("outcome", [fetch.PERMANENT, fetch.UNSAFE, fetch.FORBIDDEN])
def test_other_failures_are_not(outcome):
    host = Host(then=outcome)
    ((_, done),) = run(host, {"a": ["item"]})
    assert (done.fetched.outcome, len(host.asked)) == (outcome, 1)


def test_one_that_is_always_throttled_is_given_back():
    pace = dataclasses.replace(FAST, pauses_s=(0.01,))
    host = Host(then=fetch.THROTTLED)
    ((_, done),) = run(host, {"a": ["item"]}, pace)
    assert done.fetched.outcome == fetch.THROTTLED
    assert len(host.asked) == crawl_lib._MOST_THROTTLED + 1


def test_what_a_given_up_host_was_not_asked_comes_back():
    host = Host(then=fetch.FORBIDDEN)
    results = run(host, {"a": names(100)})
    assert sorted(item for item, _ in results) == sorted(names(100))
    unasked = [done for _, done in results if isinstance(done, NotAsked)]
    assert set(unasked) == {NotAsked("host_given_up")}
    assert 70 <= len(unasked) <= 80
    assert len(host.asked) == 100 - len(unasked)


def test_an_error_in_the_work_ends_the_run():
    def work(item: str, trail: Trail) -> Done:
        if item == "item3":
            raise OSError("no space left")
        return Done(Fetched(fetch.OK))

    aborted = []
    crawl = crawl_with(work, retries=0, abort=lambda: aborted.append(True))
    with pytest.raises(OSError, match="no space"):
        list(crawl.run({"a": names(1000)}))
    assert aborted == [True]
