"""What is asked of hosts that do HEAD, that refuse it, and that lie about it."""

import pytest
from misbehaving_server import MisbehavingServer
from small_collection import config_for

from aplantida_jax.data import reachability

RATE = 50.0


@pytest.fixture
def server():
    with MisbehavingServer() as running:
        running.images = {f"{n}.jpg": b"picture" for n in range(20)}
        yield running


@pytest.fixture
def config(tmp_path, server):
    config = config_for(tmp_path, [])
    config.download.update(
        {"private_hosts": (server.host,), "retries": 0, "requests_per_second": RATE}
    )
    return config


def ask(config, server, paths) -> dict:
    return reachability.ask(config, [server.url(path) for path in paths])


@pytest.mark.parametrize(
    ("path", "broken", "reasons"),
    [
        ("image/{}.jpg", 0, {}),
        ("status/404/{}", 20, {"http_404": 20}),
        ("status/403/{}", 20, {"http_403": 20}),
        ("nohead/{}", 0, {}),
        ("hiddenhead/{}", 0, {}),
        ("status/501/{}", 20, {"http_501": 20}),
    ],
)
def test_every_request_waits_for_its_turn(config, server, path, broken, reasons):
    """By the server's own watch: the host's pace holds for what is asked twice too."""
    told = ask(config, server, [path.format(n) for n in range(20)])
    assert told == {"asked": 20, "broken": broken, "unasked": 0, "reasons": reasons}
    times = [when for when, _ in server.requests]
    assert times[-1] - times[0] >= (len(times) - 1) / RATE - 0.02


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("status/404/{}", 1),
        ("nohead/{}", 1),
        ("hiddenhead/{}", 1),
        ("status/501/{}", 20),
    ],
)
def test_what_a_host_does_with_head_is_remembered(config, server, path, most):
    """A pace slower than the answers: the first one is known before the second."""
    config.download.concurrency = 1
    ask(config, server, [path.format(n) for n in range(20)])
    assert len(server.requests) == 20 + most


def test_a_404_of_a_host_that_does_head_is_believed(config, server):
    config.download.concurrency = 1
    told = ask(config, server, ["image/1.jpg", "image/none.jpg"])
    assert told["reasons"] == {"http_404": 1}
    assert len(server.requests) == 2


def test_what_is_asked_twice_stays_out_of_a_pause(config, server):
    """A host throttles, and then refuses the HEADs that were already under way."""
    config.download.update({"pauses_s": (0.5,), "max_retry_after_s": 0.5})
    server.delay_s, server.throttle = 0.3, 1
    told = ask(config, server, ["image/1.jpg", *(f"nohead/{n}" for n in range(7))])
    assert told["broken"] == 0
    assert max(server.gaps()) >= 0.55


def test_a_redirect_to_a_host_that_refuses_head(config, server):
    told = ask(config, server, ["redirect//nohead/a", "redirect//status/404"])
    assert told["reasons"] == {"http_404": 1}
