import pytest
from small_collection import config_for

from aplantida_jax.data import fetch, origin
from aplantida_jax.errors import UserError


def test_the_dumps_directory_is_served_while_needed(tmp_path):
    config = config_for(tmp_path, [])
    (tmp_path / "a b.jpg").write_bytes(b"picture")
    urls = ["https://example.org/a", "a%20b.jpg"]
    with origin.opened(config, urls) as source:
        url = source.url("a%20b.jpg")
        assert source.fetcher.fetch(url).body == b"picture"
        assert source.url(urls[0]) == urls[0]
        # Of the loopback interface, nothing but that server.
        assert source.fetcher.fetch("http://127.0.0.1:1/").outcome == fetch.UNSAFE
    assert source.fetcher.fetch(url).outcome == fetch.TEMPORARY


@pytest.mark.parametrize(
    "uri", ["mongodb://ana:secret@db.example/?a=b", "no/dump.json"]
)
def test_without_a_dump_relative_urls_are_refused(tmp_path, uri):
    config = config_for(tmp_path, [])
    config.source.uri = uri
    with origin.opened(config, ["https://example.org/a"]):
        pass
    with (
        pytest.raises(UserError, match="relative to a dump") as raised,
        origin.opened(config, ["https://example.org/a", "a.jpg"]),
    ):
        pass
    assert "secret" not in str(raised.value)


def test_what_is_paced_together():
    assert origin.host_of("https://a.example:8080/x") == "a.example:8080"
    assert origin.host_of("images/a.jpg") == ""
    for same in (
        "http://Example.org/a",
        "https://example.org:443",
        "http://example.org:80",
    ):
        assert origin.host_of(same) == "example.org"
    assert origin.host_of("http://[2606:4700::1111]:8080/") == "[2606:4700::1111]:8080"
    assert origin.host_of("http://[broken/") == "(no host)"
    # The pair is Wikipedia's, in "Internationalized domain name".
    for same in (
        "https://bücher.example/a",
        "https://BÜCHER.example/b",
        "https://xn--bcher-kva.example/c",
        "https://bücher.example./d",
    ):
        assert origin.host_of(same) == "xn--bcher-kva.example"
    no_name = "é" * 70 + ".example"  # longer than a label may be
    assert origin.host_of(f"https://{no_name}/") == no_name


def test_the_pace_is_the_configurations(tmp_path):
    config = config_for(tmp_path, [])
    pace = origin.pace(config)
    assert (pace.per_second, pace.concurrency) == (2000.0, 8)
    assert (pace.pauses_s, pace.max_retry_after_s) == ((0.1, 0.2), 3600.0)
