"""Turns at hosts: pace, pauses, other processes, and threads that are let go."""

import itertools
import threading
import time

import pytest
from crawl_work import FAST

from aplantida_jax.data import crawl, fetch
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.host_claims import Claims
from aplantida_jax.data.host_turns import BUSY, PAUSED, STOPPED, NoTurn, Turns
from aplantida_jax.data.schedule import Pace

CAME = Fetched(fetch.OK)
THROTTLED = Fetched(fetch.THROTTLED, "http_429")


def turns(pace=FAST, directory=None):
    return Turns(pace, Claims(directory))


def take(of, host="h", wanted=lambda: True, patience_s=0.0):
    return of.take(host, wanted=wanted, patience_s=patience_s)


def in_thread(work):
    """A thread that runs `work`, and a list of what it returned or raised."""
    found = []

    def run():
        try:
            found.append(work())
        except NoTurn as error:
            found.append(error.reason)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def test_no_more_threads_than_the_pace_allows_ask_at_once():
    several = turns(Pace(1e4, 2, (1.0,), 1.0))
    first, second = take(several), take(several)
    third, found = in_thread(lambda: take(several))
    time.sleep(0.05)
    assert not found
    several.give_back("h", first, CAME)
    third.join(timeout=5)
    assert found
    several.give_back("h", second, CAME)


def test_turns_start_no_faster_than_the_pace():
    several = turns(Pace(20.0, 8, (1.0,), 1.0))
    started = [take(several).started for _ in range(5)]
    gaps = [later - one for one, later in zip(started, started[1:], strict=False)]
    assert min(gaps) >= 0.05 - 1e-9


def test_a_pause_gives_no_turn_to_who_has_no_patience_and_then_one_probe():
    several = turns()
    several.give_back("h", take(several), THROTTLED)
    with pytest.raises(NoTurn, match=PAUSED):
        take(several)
    before = time.monotonic()
    probe = take(several, patience_s=60.0)
    assert time.monotonic() - before > 0.15  # of 0.2
    with pytest.raises(NoTurn, match=PAUSED):  # until the probe tells
        take(several)
    several.give_back("h", probe, CAME)
    assert take(several) is not None
    assert take(several) is not None


def test_a_host_that_forbids_is_given_up_and_others_are_not():
    several = turns()
    for _ in range(20):
        several.give_back("h", take(several), Fetched(fetch.FORBIDDEN, "http_403"))
    with pytest.raises(NoTurn, match=crawl.GIVEN_UP):
        take(several)
    assert take(several, "another") is not None


def test_nothing_is_asked_that_is_not_wanted_any_more():
    assert take(turns(), wanted=lambda: False) is None


def test_two_processes_take_turns_and_share_pauses(tmp_path):
    one, other = turns(directory=tmp_path), turns(directory=tmp_path)
    ticket = take(one)
    waiting, found = in_thread(lambda: take(other))
    time.sleep(0.1)
    assert not found  # `one` asks just now
    one.give_back("h", ticket, CAME)
    waiting.join(timeout=5)
    other.give_back("h", found[0], THROTTLED)
    with pytest.raises(NoTurn, match=PAUSED):
        take(one)


def test_a_host_that_others_keep_is_waited_for_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr("aplantida_jax.data.host_turns._BUSY_S", 0.5)
    crawling = Claims(tmp_path)
    assert crawling.claim("h") is not None
    ticks = itertools.count()
    several = Turns(FAST, Claims(tmp_path), clock=lambda: 0.05 * next(ticks))
    looks = []
    for _ in range(2):
        before = next(ticks)
        with pytest.raises(NoTurn, match=BUSY):
            take(several)
        looks.append(next(ticks) - before)
    assert looks[0] >= 0.5 / 0.05
    assert looks[1] <= 5
    crawling.close()
    assert take(several) is not None


def test_a_busy_process_lets_another_have_its_turn(tmp_path, monkeypatch):
    monkeypatch.setattr("aplantida_jax.data.host_turns._TURN_S", 0.2)
    one, other = turns(directory=tmp_path), turns(directory=tmp_path)
    stop = threading.Event()

    def ask_on():
        while not stop.is_set():
            one.give_back("h", take(one), CAME)

    threads = [threading.Thread(target=ask_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    ticket = take(other, patience_s=10.0)
    assert ticket is not None
    other.give_back("h", ticket, CAME)
    stop.set()
    for thread in threads:
        thread.join(timeout=5)


def test_stopping_ends_the_waiting():
    several = turns()
    several.give_back("h", take(several), Fetched(fetch.THROTTLED, "", retry_after=0.5))
    thread, found = in_thread(lambda: take(several, patience_s=60.0))
    several.stop()
    thread.join(timeout=5)
    assert found == [STOPPED]
    with pytest.raises(NoTurn, match=STOPPED):
        take(several)
    several.close()
