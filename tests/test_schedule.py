import dataclasses
import math

import pytest

from aplantida_jax.data import schedule
from aplantida_jax.data.schedule import Host, Pace

PACE = Pace(
    per_second=10.0,
    concurrency=3,
    pauses_s=(60.0, 120.0, 300.0, 600.0),
    max_retry_after_s=3600.0,
)


def start(host: Host, now: float):
    assert host.may_start(now) <= now
    return host.start(now)


def throttle(host: Host, now: float, retry_after: float | None = None) -> float:
    """One throttled request; returns how long the pause is."""
    ticket = start(host, now)
    host.throttled(ticket, now, retry_after)
    return host.paused(now)


def succeed(host: Host, now: float) -> None:
    host.succeeded(start(host, now), now)


def test_at_most_so_many_a_second():
    host = Host(PACE)
    now = 100.0
    for _ in range(30):
        now = host.may_start(now)
        host.succeeded(host.start(now), now)
    assert now == pytest.approx(102.9)


def test_at_most_so_many_at_once():
    host = Host(PACE)
    tickets = [start(host, now) for now in (0.0, 1.0, 2.0)]
    assert host.may_start(3.0) == math.inf
    host.succeeded(tickets[1], 3.0)
    assert host.may_start(3.0) == 3.0


def test_the_ladder_up_and_down():
    host = Host(PACE)
    now = 0.0
    for expected in (60.0, 120.0, 300.0, 600.0, 600.0):
        assert throttle(host, now) == expected
        assert host.may_start(now) == now + expected
        assert host.may_start(now + expected - 0.01) > now + expected - 0.01
        now += expected
    assert host.pauses == 5
    succeed(host, now)
    for _ in range(2 * schedule._CALM):
        now += 1
        succeed(host, now)
    # Two steps down: 600, 300, 120.
    assert throttle(host, now + 1) == 120.0


def test_calm_brings_back_the_shortest_pause():
    host = Host(PACE)
    throttle(host, 0.0)
    for second in range(60, 60 + 3 * schedule._CALM):
        succeed(host, second)
    assert throttle(host, 1000.0) == 60.0


def test_a_single_probe_after_a_pause():
    host = Host(PACE)
    throttle(host, 0.0)
    probe = start(host, 60.0)
    assert host.may_start(61.0) == math.inf
    host.succeeded(probe, 61.0)
    for now in (62.0, 63.0, 64.0):
        start(host, now)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [(None, 60.0), (0.0, 60.0), (30.0, 60.0), (90.0, 90.0), (1e9, 3600.0)],
)
def test_a_larger_wish_wins_up_to_a_cap(wish, expected):
    assert throttle(Host(PACE), 0.0, wish) == expected


def test_requests_that_meet_the_same_wall_make_one_pause():
    host = Host(PACE)
    tickets = [start(host, now) for now in (0.0, 1.0, 2.0)]
    host.throttled(tickets[0], 3.0, None)
    host.throttled(tickets[1], 4.0, None)
    assert (host.pauses, host.paused(4.0)) == (1, 59.0)
    host.throttled(tickets[2], 5.0, 100.0)
    assert (host.pauses, host.paused(5.0)) == (1, 100.0)


def test_an_answer_from_before_the_pause_is_no_probe():
    host = Host(PACE)
    early, late = start(host, 0.0), start(host, 1.0)
    host.throttled(late, 2.0, None)
    host.succeeded(early, 3.0)
    probe = start(host, 62.0)
    assert host.may_start(63.0) == math.inf
    host.throttled(probe, 63.0, None)
    assert host.paused(63.0) == 120.0


def test_many_failures_in_a_row_are_a_pause():
    host = Host(PACE)
    for now in range(schedule._TROUBLE):
        assert not host.is_in_trouble
        host.failed(start(host, now), now)
    assert host.is_in_trouble
    assert host.paused(now) == 60.0
    host.failed(start(host, 100.0), 100.0)
    assert host.paused(100.0) == 120.0
    succeed(host, 220.0)
    assert not host.is_in_trouble
    host.failed(start(host, 221.0), 221.0)
    assert host.paused(221.0) == 0.0


def test_a_host_that_forbids_is_given_up():
    host = Host(PACE)
    for now in range(schedule._FORBIDDEN - 1):
        host.forbade(start(host, now), now)
    succeed(host, 50.0)
    assert not host.given_up
    for now in range(100, 100 + schedule._FORBIDDEN):
        assert not host.given_up
        host.forbade(start(host, now), now)
    assert "forbade" in host.given_up
    assert host.may_start(1e9) == math.inf


def last_throttled(host: Host, pauses: int) -> float:
    """When a host was throttled last that never recovered in so many pauses."""
    now = 0.0
    for _ in range(pauses):
        if host.given_up:
            break
        last = now
        now += throttle(host, now)
    return last


@pytest.mark.parametrize(
    ("seconds", "last"),
    # Throttled at 0, 60, 180, 480, 1080, 1680, ... s.
    [(60.0, 60.0), (480.1, 1080.0), (1680.0, 1680.0), (259200.0, 259680.0)],
)
def test_a_host_that_does_not_recover_for_so_long_is_given_up(seconds, last):
    host = Host(dataclasses.replace(PACE, give_up_after_s=seconds))
    assert last_throttled(host, 1000) == last
    assert host.given_up == f"it did not recover in {last / 3600:.1f} hours of pauses"
    assert host.may_start(1e9) == math.inf


def test_a_host_may_be_asked_for_ever():
    host = Host(dataclasses.replace(PACE, give_up_after_s=0.0))
    last_throttled(host, 1000)
    assert (host.given_up, host.pauses) == ("", 1000)


def test_a_single_success_begins_the_time_anew():
    host = Host(dataclasses.replace(PACE, give_up_after_s=700.0))
    now = 0.0
    for _ in range(20):
        now += throttle(host, now)
        succeed(host, now)
        now += 1
    assert not host.given_up
    now += throttle(host, now)
    throttle(host, now)
    assert not host.given_up
    throttle(host, now + 600.0)
    assert host.given_up


def test_a_pause_is_inherited_with_its_probe_and_its_step():
    host = Host(PACE)
    host.inherit(1000.0, 50.0, 2)
    assert (host.paused(1000.0), host.step) == (50.0, 2)
    assert host.may_start(1000.0) == 1050.0
    probe = start(host, 1050.0)
    assert host.may_start(1051.0) == math.inf
    host.throttled(probe, 1051.0, None)
    assert host.paused(1051.0) == 300.0


@pytest.mark.parametrize(("step", "kept"), [(-1, 0), (3, 3), (99, 3)])
def test_what_is_inherited_is_kept_within_bounds(step, kept):
    host = Host(PACE)
    host.inherit(0.0, 1e9, step)
    assert (host.paused(0.0), host.step) == (3600.0, kept)
    free = Host(PACE)
    free.inherit(0.0, 0.0, step)
    assert free.may_start(0.0) == 0.0


def test_the_seconds_of_all_pauses_are_added_up():
    host = Host(PACE)
    tickets = [start(host, now) for now in (0.0, 1.0)]
    host.throttled(tickets[0], 2.0, None)
    assert host.paused_s == 60.0
    # The same pause, made longer: from 62 to 103 s.
    host.throttled(tickets[1], 3.0, 100.0)
    assert host.paused_s == 101.0
    throttle(host, 200.0)
    assert host.paused_s == 221.0
