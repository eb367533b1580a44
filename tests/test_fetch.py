import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from misbehaving_server import MisbehavingServer

from aplantida_jax.data import fetch
from aplantida_jax.data.addresses import Guard
from aplantida_jax.data.fetch import Fetcher, Limits


@pytest.fixture(scope="module")
def server():
    with MisbehavingServer() as running:
        running.images["a"] = b"picture"
        yield running


def fetcher_for(server, timeout_s=5.0, max_bytes=100_000, **rate) -> Fetcher:
    guard = Guard(private_hosts=(server.host,))
    return Fetcher(guard, Limits(timeout_s, max_bytes, **rate), "tests")


@pytest.fixture
def fetcher(server):
    made = fetcher_for(server)
    yield made
    made.close()


def follow(fetcher: Fetcher, url: str) -> fetch.Fetched:
    """Fetches, and goes on where redirects lead to."""
    found = fetcher.fetch(url)
    while found.outcome == fetch.MOVED:
        found = fetcher.fetch(url, trail=found.trail)
    return found


def test_a_picture(server, fetcher):
    found = fetcher.fetch(server.url("image/a"))
    assert (found.outcome, found.body, found.status) == (fetch.OK, b"picture", 200)
    assert found.ends_known
    assert "tests" in server.agents


@pytest.mark.parametrize(
    ("path", "outcome", "reason"),
    [
        ("status/404", fetch.PERMANENT, "http_404"),
        ("status/410", fetch.PERMANENT, "http_410"),
        ("status/429", fetch.THROTTLED, "http_429"),
        ("status/503", fetch.THROTTLED, "http_503"),
        ("status/401", fetch.FORBIDDEN, "http_401"),
        ("status/403", fetch.FORBIDDEN, "http_403"),
        ("status/500", fetch.TEMPORARY, "http_500"),
        ("status/502", fetch.TEMPORARY, "http_502"),
        ("status/400", fetch.TEMPORARY, "http_400"),
        ("status/204", fetch.TEMPORARY, "http_204"),
        ("status/304", fetch.TEMPORARY, "http_304"),
        ("cut/", fetch.TEMPORARY, "cut_off"),
        ("chunked/cut", fetch.TEMPORARY, "connection"),
        ("gzipcut/5000", fetch.TEMPORARY, "cut_off"),
        ("brotli/", fetch.TEMPORARY, "encoding"),
        ("reset/", fetch.TEMPORARY, "connection"),
        ("nonsense/", fetch.TEMPORARY, "connection"),
        ("bytes/100001", fetch.PERMANENT, "too_large"),
        ("gzip/50000000", fetch.PERMANENT, "too_large"),
        ("loop/", fetch.UNSAFE, "redirects"),
        ("redirect/file:///etc/passwd", fetch.UNSAFE, "refused_url"),
        ("redirect/http://localhost:9/", fetch.UNSAFE, "refused_address"),
        ("redirect/http://127.0.0.1:9/", fetch.UNSAFE, "refused_address"),
        ("redirect/http://2130706433/", fetch.UNSAFE, "refused_address"),
        ("redirect/http://0x7f.1/", fetch.UNSAFE, "refused_address"),
        ("redirect/http://[::ffff:7f00:1]/", fetch.UNSAFE, "refused_address"),
        ("redirect/http://169.254.169.254/", fetch.UNSAFE, "refused_address"),
        ("redirect/http://me:pw@127.0.0.1/", fetch.UNSAFE, "refused_url"),
        ("redirect/http://127.0.0.1:999999/", fetch.UNSAFE, "refused_url"),
        ("redirect/http://[::1/", fetch.UNSAFE, "refused_url"),
    ],
)
def test_trouble_has_a_name(server, fetcher, path, outcome, reason):
    found = follow(fetcher, server.url(path))
    assert (found.outcome, found.reason) == (outcome, reason)
    assert found.body == b""


def test_bodies_of_several_kinds(server, fetcher):
    assert fetcher.fetch(server.url("chunked/")).body == b"one two"
    assert fetcher.fetch(server.url("gzip/90000")).body == bytes(90_000)
    assert fetcher.fetch(server.url("bytes/100000")).body == bytes(100_000)
    assert fetcher.fetch(server.url("bytes/0")).outcome == fetch.OK
    found = fetcher.fetch(server.url("endless/"))
    assert (found.body, found.ends_known) == (b"all of it", False)


def test_redirects_are_followed(server, fetcher):
    url = server.url("redirect//redirect//image/a")
    assert follow(fetcher, url).body == b"picture"
    assert follow(fetcher, server.url("redirect/../image/a")).body == b"picture"


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_drip_does_not_hold_it(server, part):
    fetcher = fetcher_for(server, timeout_s=0.5)
    start = time.monotonic()
    found = fetcher.fetch(server.url(f"drip/{part}"))
    assert time.monotonic() - start < 1.0
    assert (found.outcome, found.reason) == (fetch.TEMPORARY, "timeout")
    fetcher.close()


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_least_rate_is_asked_for_after_a_grace(server, part):
    """The server sends 20 bytes a second."""
    fetcher = fetcher_for(server, least_bytes_per_second=1000.0, grace_s=0.3)
    start = time.monotonic()
    found = fetcher.fetch(server.url(f"drip/{part}"))
    assert 0.3 <= time.monotonic() - start < 1.5
    assert (found.outcome, found.reason) == (fetch.TEMPORARY, "too_slow")
    # Those that are fast enough, on the same thread, are not hindered.
    assert fetcher.fetch(server.url("bytes/100000")).outcome == fetch.OK
    fetcher.close()


def test_a_rate_above_the_least_goes_on(server):
    fetcher = fetcher_for(server, 1.0, least_bytes_per_second=10.0, grace_s=0.1)
    assert fetcher.fetch(server.url("drip/body")).reason == "timeout"
    fetcher.close()


def test_redirects_are_handed_back_with_what_is_behind_them(server, fetcher):
    found = fetcher.fetch(server.url("redirect//image/a"))
    assert (found.outcome, found.status) == (fetch.MOVED, 302)
    assert (found.trail.url, found.trail.redirects) == (server.url("image/a"), 1)
    spent = fetch.Trail(server.url("image/a"), 1, seconds=5.0)
    assert fetcher.fetch("http://x/", trail=spent).reason == "timeout"


def test_few_connections_are_kept_open():
    names = [f"127.0.0.{number}" for number in range(2, 80)]
    with MisbehavingServer("0.0.0.0") as server:
        server.images["a"] = b"picture"
        hosts = tuple(f"{name}:{server.server_port}" for name in names)
        fetcher = Fetcher(Guard(private_hosts=hosts), Limits(5.0, 100), "tests")
        for host in hosts:
            assert fetcher.fetch(f"http://{host}/image/a").body == b"picture"
        assert len(fetcher._idle) == fetch._MOST_IDLE
        fetcher.close()


def test_a_host_that_never_answers(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        fetcher = Fetcher(Guard(private_hosts=(host,)), Limits(0.3, 100), "tests")
        assert fetcher.fetch(f"http://{host}/").reason == "timeout"
        fetcher.close()
    assert fetcher.fetch(f"http://{host}/").reason == "connection"


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a", "http:///a", "//x/a", "nonsense"]
)
def test_other_urls_are_refused(fetcher, url):
    assert fetcher.fetch(url).outcome == fetch.UNSAFE


def test_an_unknown_name(fetcher):
    found = fetcher.fetch("http://no-such-host.invalid/")
    assert (found.outcome, found.reason) == (fetch.TEMPORARY, "name_not_resolved")


def test_tls_is_verified(server):
    fetcher = fetcher_for(server)
    found = fetcher.fetch(server.url("image/a").replace("http:", "https:"))
    assert (found.outcome, found.reason) == (fetch.TEMPORARY, "tls")
    fetcher.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_over_tls(tmp_path):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = MisbehavingServer()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with server:
        server.images["a"] = b"picture"
        hosts = [f"{name}:{server.server_port}" for name in ("localhost", "127.0.0.1")]
        limits = Limits(timeout_s=1.0, max_bytes=1000)
        fetcher = Fetcher(Guard(private_hosts=tuple(hosts)), limits, "tests")
        fetcher._tls.load_verify_locations(tmp_path / "cert.pem")
        for _ in range(2):
            found = fetcher.fetch(f"https://{hosts[0]}/image/a")
            assert found.body == b"picture"
        assert fetcher.fetch(f"https://{hosts[0]}/drip/body").reason == "timeout"
        # The certificate is of another name.
        assert fetcher.fetch(f"https://{hosts[1]}/image/a").reason == "tls"
        fetcher.close()


def test_connections_are_used_again(server, fetcher, monkeypatch):
    connects = []
    original = Guard.resolve

    def resolve(self, host, port, timeout_s, stopped):
        connects.append(host)
        return original(self, host, port, timeout_s, stopped)

    monkeypatch.setattr(Guard, "resolve", resolve)
    for _ in range(3):
        assert fetcher.fetch(server.url("image/a")).body == b"picture"
        assert fetcher.fetch(server.url("status/404")).status == 404
        assert fetcher.fetch(server.url("image/a"), head=True).outcome == fetch.OK
    assert len(connects) == 1
    # One that the host has closed meanwhile is replaced without a word.
    assert fetcher.fetch(server.url("once/")).body == b"once"
    time.sleep(0.1)
    assert fetcher.fetch(server.url("image/a")).body == b"picture"
    assert len(connects) == 2


def test_head_and_first_bytes(server, fetcher):
    assert fetcher.fetch(server.url("nohead/"), head=True).status == 405
    assert fetcher.fetch(server.url("nohead/"), first_bytes=10).status == 206


def test_closing_ends_what_is_under_way(server):
    fetcher = fetcher_for(server, timeout_s=30)
    found = []
    thread = threading.Thread(
        target=lambda: found.append(fetcher.fetch(server.url("drip/body")))
    )
    thread.start()
    time.sleep(0.2)
    fetcher.close()
    thread.join(timeout=2)
    assert not thread.is_alive()
    assert found[0].outcome == fetch.TEMPORARY


def test_retry_after_of_an_answer(server, fetcher):
    assert fetcher.fetch(server.url("status/429/17")).retry_after == 17.0
    assert fetcher.fetch(server.url("status/503/bad")).retry_after is None
    assert fetcher.fetch(server.url("status/500/17")).retry_after is None
