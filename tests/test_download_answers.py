"""What real hosts do, through the stage: what is recorded, and what a rerun asks."""

import socket
from urllib.parse import quote

import pytest
from misbehaving_server import MisbehavingServer
from small_collection import by_reason, cached, jpeg, served_collection

from aplantida_jax import files, paths
from aplantida_jax.data import crawl, download

LADDER_S, LONGEST_S = 0.01, 0.06
AGAIN, NEVER = True, False


@pytest.fixture
def server():
    with MisbehavingServer() as running:
        running.images["half.jpg"] = jpeg(50)[:-300]
        running.images["page.jpg"] = b"<!DOCTYPE html><html>sorry</html>"
        running.images["text.jpg"] = b"no such picture"
        running.images["big"] = bytes(2_000_000)
        yield running


def collection(tmp_path, server, path: str):
    """One URL, asked for once."""
    good = dict(server.images)
    config = served_collection(tmp_path, server, 0, [path])
    server.images = good
    config.download.update(
        {
            "retries": 0,
            "max_bytes": 1_000_000,
            "pauses_s": (LADDER_S,),
            "max_retry_after_s": LONGEST_S,
            "timeout_s": 1.0,
            "slow_grace_s": 0.2,
        }
    )
    return config


def only_outcome(config) -> tuple[str, str]:
    (row,) = files.read_jsonl(paths.download_index(config), made_by="download")
    return row["status"], row["reason"]


@pytest.mark.parametrize(
    ("path", "status", "reason", "rerun"),
    [
        ("status/404", "permanent", "http_404", NEVER),
        ("status/410", "permanent", "http_410", NEVER),
        ("status/403", "temporary", "http_403", AGAIN),
        ("status/401", "temporary", "http_401", AGAIN),
        ("status/500", "temporary", "http_500", AGAIN),
        ("status/418", "temporary", "http_418", AGAIN),
        ("reset/", "temporary", "connection", AGAIN),
        ("nonsense/", "temporary", "connection", AGAIN),
        ("drip/head", "temporary", "too_slow", AGAIN),
        ("drip/body", "temporary", "too_slow", AGAIN),
        ("cut/", "temporary", "cut_off", AGAIN),
        ("endless/half.jpg", "temporary", "truncated", AGAIN),
        ("chunked/cut", "temporary", "connection", AGAIN),
        ("image/half.jpg", "rejected", "truncated", NEVER),
        ("image/page.jpg", "temporary", "html", AGAIN),
        ("image/text.jpg", "rejected", "unsupported", NEVER),
        ("bytes/0", "rejected", "empty", NEVER),
        ("bytes/2000000", "rejected", "too_large", NEVER),
        ("endless/big", "rejected", "too_large", NEVER),
        ("gzip/20000000", "rejected", "too_large", NEVER),
        ("gzipcut/5000", "temporary", "cut_off", AGAIN),
        ("redirect/file:///etc/passwd", "temporary", "refused_url", AGAIN),
        ("redirect/http://me:pw@example.org/", "temporary", "refused_url", AGAIN),
        ("loop/", "temporary", "redirects", AGAIN),
    ],
)
def test_an_answer_is_recorded_and_asked_again_or_never(
    tmp_path, server, path, status, reason, rerun
):
    config = collection(tmp_path, server, path)
    download.run(config, tmp_path)
    assert only_outcome(config) == (status, reason)
    assert cached(config) == {}
    first = len(server.requests)
    assert first == (6 if path == "loop/" else 1)
    download.run(config, tmp_path)
    assert len(server.requests) == (2 * first if rerun else first)


def test_a_silent_host_ends_with_the_deadline(tmp_path, server):
    config = collection(tmp_path, server, "drip/body")
    config.download.least_bytes_per_second = 0.0
    download.run(config, tmp_path)
    assert only_outcome(config) == ("temporary", "timeout")


def test_a_wrong_content_type_does_not_matter(tmp_path, server):
    """The server calls every image text/html."""
    server.images["good.jpg"] = jpeg(1)
    config = collection(tmp_path, server, "image/good.jpg")
    download.run(config, tmp_path)
    assert only_outcome(config) == ("ok", "")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [
        ("", LADDER_S),
        ("soon", LADDER_S),
        ("-5", LADDER_S),
        ("Fri, 31 Dec 1999 23:59:59 GMT", LADDER_S),
        ("7", LONGEST_S),
        ("Fri, 31 Dec 2199 23:59:59 GMT", LONGEST_S),
        ("9" * 30, LONGEST_S),
    ],
)
def test_throttling_pauses_as_long_as_asked(
    tmp_path, server, status, retry_after, pause_s
):
    """The wishes are far above the cap, so that it is the cap that is seen."""
    config = collection(tmp_path, server, f"status/{status}/{quote(retry_after)}")
    download.run(config, tmp_path)
    assert only_outcome(config) == ("temporary", f"http_{status}")
    assert len(server.requests) == crawl._MOST_THROTTLED + 1
    assert min(server.gaps()) >= pause_s
    download.run(config, tmp_path)
    assert len(server.requests) == 2 * (crawl._MOST_THROTTLED + 1)
    # Not even the first request of the second run comes inside the pause.
    assert min(server.gaps()) >= pause_s


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "0.0.0.0", "2130706433", "0x7f000001"),
        *("0177.0.0.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    ],
)
def test_no_redirect_reaches_a_host_of_the_users_own(tmp_path, server, host):
    with MisbehavingServer() as canary:
        canary.images["a.jpg"] = jpeg(1)
        target = f"http://{host}:{canary.server_port}/image/a.jpg"
        config = collection(tmp_path, server, f"redirect/{target}")
        download.run(config, tmp_path)
        assert only_outcome(config) == ("temporary", "refused_address")
        assert len(server.requests) == 1
        assert canary.requests == []


def test_the_canary_would_sing(tmp_path, server):
    """The same redirect does arrive where it is allowed."""
    with MisbehavingServer() as canary:
        canary.images["a.jpg"] = jpeg(1)
        config = collection(tmp_path, server, f"redirect/{canary.url('image/a.jpg')}")
        config.download.private_hosts = (server.host, canary.host)
        download.run(config, tmp_path)
        assert only_outcome(config) == ("ok", "")
        assert len(canary.requests) == 1


def test_a_host_that_is_not_there(tmp_path, server):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        host = f"127.0.0.1:{gone.getsockname()[1]}"
    config = collection(tmp_path, server, f"redirect/http://{host}/a.jpg")
    config.download.private_hosts = (server.host, host)
    download.run(config, tmp_path)
    assert by_reason(config) == {"temporary: connection": 1}
