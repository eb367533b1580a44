"""Hosts that block without saying so, and hosts that never come back."""

import pytest
from small_collection import by_reason, cached, served_collection

from aplantida_jax import paths
from aplantida_jax.data import download, records


def test_a_block_that_nobody_announced_loses_no_photo(tmp_path, server):
    """Every photo is a page, 200 OK, for a whole run; the next run gets them all."""
    config = served_collection(tmp_path, server, 4)
    config.download.update({"concurrency": 1, "pauses_s": (0.01,)})
    server.block = 10**9
    download.run(config, tmp_path)
    assert by_reason(config) == {"temporary: html": 4}
    server.block = 0
    download.run(config, tmp_path)
    assert by_reason(config) == {}
    assert len(cached(config)) == 4


@pytest.mark.parametrize("others", [0, 5])
def test_a_page_is_believed_when_the_host_gave_photos_meanwhile(
    tmp_path, server, others
):
    config = served_collection(tmp_path, server, 1 + others)
    config.download.concurrency = 1
    # The order of a download is that of the photos: all others come between the tries.
    first = next(records.read_photos(paths.photos(config), made_by="export_dataset"))
    server.images[first.url.rpartition("/")[2]] = b"<html>removed</html>"
    download.run(config, tmp_path)
    status = "rejected" if others else "temporary"
    assert by_reason(config) == {f"{status}: html": 1}
    assert len(server.requests) == others + 2
    # What is believed is not asked again.
    download.run(config, tmp_path)
    assert len(server.requests) == others + 2 + (0 if others else 2)


def test_a_host_that_never_recovers_is_named_at_the_end(tmp_path, server, caplog):
    config = served_collection(tmp_path, server, 20)
    config.download.update(
        {"concurrency": 1, "pauses_s": (0.05,), "give_up_after_hours": 0.2 / 3600}
    )
    server.throttle = 10**9
    download.run(config, tmp_path)
    # Throttled at 0, 0.05, 0.10, 0.15 and 0.20 s, or a little later.
    assert 3 <= len(server.requests) <= 5
    reasons = by_reason(config)
    assert reasons == {"temporary: host_given_up": 20}
    (line,) = [line for line in caplog.messages if "were not asked" in line]
    assert line == (
        f"20 images of {server.host} were not asked: run stage 'download' again"
    )
    server.throttle = 0
    caplog.clear()
    download.run(config, tmp_path)
    assert len(cached(config)) == 20
    assert "were not asked" not in caplog.text


def test_a_host_may_be_asked_for_ever(tmp_path, server):
    config = served_collection(tmp_path, server, 5)
    config.download.update(
        {"concurrency": 1, "pauses_s": (0.01,), "give_up_after_hours": 0.0}
    )
    server.throttle = 30
    download.run(config, tmp_path)
    assert len(cached(config)) + by_reason(config).get("temporary: http_429", 0) == 5
    assert "temporary: host_given_up" not in by_reason(config)
