"""Connections: how many there are, which address they go to, and how they end."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from crawl_work import Done, crawl_with
from misbehaving_server import MisbehavingServer

from aplantida_jax.data import fetch, http_link
from aplantida_jax.data.addresses import Guard
from aplantida_jax.data.fetch import Fetched, Fetcher, Limits
from aplantida_jax.data.resolver import Resolver
from aplantida_jax.data.schedule import Pace

CONCURRENCY = 3


@contextlib.contextmanager
def black_hole(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port where a connection is never made: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect((address, port))
        yield port


def ends_when_closed(fetcher: Fetcher, url: str) -> Fetched:
    """What a fetch that waits for a minute comes to, when the fetcher is closed."""
    found: list[Fetched] = []
    thread = threading.Thread(target=lambda: found.append(fetcher.fetch(url)))
    thread.start()
    thread.join(timeout=0.5)
    assert thread.is_alive()
    fetcher.close()
    thread.join(timeout=10)
    assert not thread.is_alive()
    return found[0]


def test_closing_ends_a_connection_in_the_making():
    with black_hole() as port:
        host = f"127.0.0.1:{port}"
        fetcher = Fetcher(Guard(private_hosts=(host,)), Limits(60.0, 100), "tests")
        found = ends_when_closed(fetcher, f"http://{host}/")
    assert (found.outcome, found.reason) == (fetch.TEMPORARY, "connection")


def test_closing_ends_a_handshake():
    """The port takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        fetcher = Fetcher(Guard(private_hosts=(host,)), Limits(60.0, 100), "tests")
        found = ends_when_closed(fetcher, f"https://{host}/")
    assert found.outcome == fetch.TEMPORARY


def test_closing_ends_the_wait_for_a_name():
    released = threading.Event()
    resolver = Resolver(lambda *name, **options: released.wait() and [])
    fetcher = Fetcher(Guard(resolver=resolver), Limits(60.0, 100), "tests")
    found = ends_when_closed(fetcher, "http://a.example/")
    released.set()
    assert (found.outcome, found.reason) == (fetch.TEMPORARY, "name_not_resolved")


def test_a_closed_fetcher_asks_nothing():
    with MisbehavingServer() as server:
        host = server.host
        fetcher = Fetcher(Guard(private_hosts=(host,)), Limits(5.0, 100), "tests")
        fetcher.close()
        assert fetcher.fetch(server.url("image/a")).reason == "connection"
        assert server.requests == []


def test_an_address_that_leads_nowhere_leaves_time_for_the_next(monkeypatch):
    monkeypatch.setattr(http_link, "_LEAST_SHARE_S", 0.1)
    with MisbehavingServer() as server:
        server.images["a"] = b"picture"
        port = server.server_port
        with black_hole("127.0.0.2", port):
            addresses = ["127.0.0.2", "127.0.0.1"]
            resolver = Resolver(
                lambda host, port, type: [
                    (0, type, 0, "", (a, port)) for a in addresses
                ]
            )
            guard = Guard(private_hosts=("a.example",), resolver=resolver)
            fetcher = Fetcher(guard, Limits(2.0, 100), "tests")
            url = f"http://a.example:{port}/image/a"
            assert fetcher.fetch(url).body == b"picture"
            fetcher.close()
            # The next connection goes where the first one got through.
            assert resolver.resolve("a.example", port, 1.0) == addresses[::-1]
            # Which leaves no time for another address first.
            fetcher = Fetcher(guard, Limits(0.5, 100), "tests")
            assert fetcher.fetch(url).body == b"picture"
            fetcher.close()


def test_threads_share_the_connections_of_a_host():
    """Two hosts, asked by one pool of threads: none sees more than its share."""
    with MisbehavingServer() as one, MisbehavingServer() as other:
        servers = (one, other)
        for server in servers:
            server.images["a"], server.delay_s = b"picture", 0.01
        hosts = tuple(server.host for server in servers)
        fetcher = Fetcher(Guard(private_hosts=hosts), Limits(5.0, 100), "tests")
        crawl = crawl_with(
            lambda url, trail: Done(fetcher.fetch(url, trail=trail)),
            Pace(1000.0, CONCURRENCY, (1.0,), 1.0),
            abort=fetcher.close,
        )
        items = {server.host: [server.url("image/a")] * 100 for server in servers}
        done = [done.fetched.body for _, done in crawl.run(items)]
        assert done == [b"picture"] * 200
        assert all(2 <= server.most_open <= CONCURRENCY for server in servers)


def test_the_connection_that_was_used_last_is_used_next():
    """So that those which a calmer pace no longer needs end in peace."""
    with MisbehavingServer() as server:
        server.images["a"], server.delay_s = b"picture", 0.2
        fetcher = Fetcher(Guard(private_hosts=(server.host,)), Limits(5.0, 100), "t")
        threads = [
            threading.Thread(target=fetcher.fetch, args=(server.url("image/a"),))
            for _ in range(CONCURRENCY)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        idle = list(fetcher._idle)
        assert len(idle) == CONCURRENCY
        server.delay_s = 0.0
        fetcher.fetch(server.url("image/a"))
        assert fetcher._idle == idle
        fetcher.close()
        assert fetcher._idle == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_address_is_tried(count):
    """The last of them is the one that answers; the others refuse."""
    with MisbehavingServer() as server:
        server.images["a"] = b"picture"
        addresses = [f"127.0.0.{9 - n}" for n in range(1, count)] + ["127.0.0.1"]
        resolver = Resolver(
            lambda host, port, type: [(0, type, 0, "", (a, port)) for a in addresses]
        )
        guard = Guard(private_hosts=("a.example",), resolver=resolver)
        fetcher = Fetcher(guard, Limits(5.0, 100), "tests")
        url = f"http://a.example:{server.server_port}/image/a"
        assert fetcher.fetch(url).body == b"picture"
        fetcher.close()
