"""Answers made to fill the memory of whoever reads them, over a real socket."""

import pytest
from misbehaving_server import MisbehavingServer

from aplantida_jax.data import fetch
from aplantida_jax.data.addresses import Guard
from aplantida_jax.data.fetch import Fetcher, Limits

# What the kernel's buffers may take on top of what was read, of 100 MB.
TAKEN = 30_000_000


@pytest.fixture
def server():
    with MisbehavingServer() as running:
        running.images["a"] = b"picture"
        yield running


def fetcher_for(server, max_bytes: int = 100_000) -> Fetcher:
    return Fetcher(
        Guard(private_hosts=(server.host,)), Limits(30.0, max_bytes), "tests"
    )


@pytest.mark.parametrize(
    ("kind", "outcome", "reason", "body"),
    [
        ("chunk", fetch.PERMANENT, "too_large", b""),
        ("page", fetch.PERMANENT, "http_404", b""),
        ("redirect", fetch.MOVED, "http_302", b""),
        ("gzip", fetch.OK, "", b"picture"),
        ("gzip_head", fetch.PERMANENT, "too_large", b""),
        ("continue", fetch.TEMPORARY, "connection", b""),
    ],
)
def test_no_more_is_read_than_allowed(server, kind, outcome, reason, body):
    fetcher = fetcher_for(server)
    found = fetcher.fetch(server.url(f"flood/{kind}"))
    assert (found.outcome, found.reason, found.body) == (outcome, reason, body)
    # The connection is not used again: what is left of the flood would be on it.
    assert fetcher.fetch(server.url("image/a")).body == b"picture"
    fetcher.close()
    assert server.sent < TAKEN


def test_a_body_of_all_the_bytes_it_may_have_is_read(server):
    """In one piece, and compressed so badly that it is longer than its content."""
    fetcher = fetcher_for(server, 5_000_000)
    assert len(fetcher.fetch(server.url("bytes/5000000")).body) == 5_000_000
    assert len(fetcher.fetch(server.url("gzip/5000000")).body) == 5_000_000
    assert fetcher.fetch(server.url("bytes/5000001")).reason == "too_large"
    fetcher.close()


@pytest.mark.parametrize("path", ["\u00e9.jpg", "a b.jpg", "a\x7f.jpg"])
def test_a_url_that_cannot_be_sent_is_refused(server, path):
    """It is not the connection's fault: the host must not be paused for it."""
    fetcher = fetcher_for(server)
    found = fetcher.fetch(server.url(f"image/{path}"))
    assert (found.outcome, found.reason) == (fetch.UNSAFE, "refused_url")
    assert server.requests == []
    fetcher.close()


@pytest.mark.parametrize("agent", ["two\nlines", "\u00e9", "\x00"])
def test_a_user_agent_that_cannot_be_sent_is_no_failure_of_the_host(server, agent):
    with pytest.raises(ValueError, match="no user agent"):
        Fetcher(Guard(), Limits(1.0, 100), agent)
