import socket
import threading
import time

import pytest

from aplantida_jax.data.addresses import Guard, Refused
from aplantida_jax.data.fetch import Fetcher, Limits
from aplantida_jax.data.resolver import _KEPT_S, Resolver


class NameServer:
    """Answers as getaddrinfo does, with one address, once it is let go."""

    def __init__(self, address: str = "93.184.215.14"):
        self.address = address
        self.asked: list[str] = []
        self.failing = False
        self.open = threading.Event()
        self.open.set()

    def __call__(self, host: str, port: int, **kwargs):
        self.asked.append(host)
        self.open.wait()
        if self.failing:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]


def test_the_systems_resolver_is_the_default():
    assert Resolver().resolve("127.0.0.1", 80, 5.0) == ["127.0.0.1"]
    with pytest.raises(OSError, match="."):
        Resolver().resolve("no-such-host.invalid", 80, 5.0)


def test_a_name_is_asked_for_once_in_some_minutes():
    server, now = NameServer(), [100.0]
    resolver = Resolver(server, clock=lambda: now[0])
    for _ in range(1000):
        assert resolver.resolve("a.example", 443, 5.0) == [server.address]
    assert server.asked == ["a.example"]
    now[0] += _KEPT_S
    server.address = "93.184.215.15"
    assert resolver.resolve("a.example", 443, 5.0) == ["93.184.215.15"]
    assert len(server.asked) == 2


def test_a_failure_is_not_remembered():
    server = NameServer()
    resolver = Resolver(server)
    server.failing = True
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            resolver.resolve("a.example", 443, 5.0)
    server.failing = False
    assert resolver.resolve("a.example", 443, 5.0)
    assert len(server.asked) == 3


def test_threads_share_a_lookup_and_none_waits_too_long():
    server = NameServer()
    server.open.clear()
    resolver = Resolver(server)
    failures = []

    def ask() -> None:
        try:
            resolver.resolve("a.example", 443, 0.2)
        except socket.gaierror as error:
            failures.append(error)

    start = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 8
    assert time.monotonic() - start < 2
    assert server.asked == ["a.example"]
    server.open.set()
    assert resolver.resolve("a.example", 443, 5.0) == [server.address]
    assert server.asked == ["a.example"]


def test_a_silent_name_server_costs_a_fetch_its_deadline_at_most():
    server = NameServer()
    server.open.clear()
    guard = Guard(resolver=Resolver(server))
    fetcher = Fetcher(guard, Limits(timeout_s=0.3, max_bytes=100), "tests")
    start = time.monotonic()
    assert fetcher.fetch("http://a.example/").reason == "name_not_resolved"
    assert time.monotonic() - start < 2
    server.open.set()
    fetcher.close()


def test_what_is_remembered_is_checked_each_time():
    resolver = Resolver(NameServer("10.0.0.7"))
    allowed = Guard(private_hosts=("a.example",), resolver=resolver)
    assert allowed.resolve("a.example", 80, 5.0) == ["10.0.0.7"]
    with pytest.raises(Refused, match="private address"):
        Guard(resolver=resolver).resolve("a.example", 80, 5.0)
