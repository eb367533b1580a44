"""One large file over HTTP: resumed, bounded, and what hosts say of its hash."""

import hashlib

import pytest
from file_server import FileServer

from aplantida_jax.errors import UserError
from aplantida_jax.models import large_file
from aplantida_jax.models.large_file import Limits

BODY = bytes(range(256)) * 12_000  # 3 MB, so that pieces and halves differ
QUICK = Limits(wait_s=0.01, read_s=2.0, tries=3)


@pytest.fixture
def host():
    with FileServer(BODY) as server:
        yield server


@pytest.fixture
def part(tmp_path):
    return tmp_path / "model.npz.part"


def test_a_file_comes_whole(host, part):
    assert large_file.download(host.url, part, QUICK) == {}
    assert part.read_bytes() == BODY


def test_a_cut_off_download_goes_on_where_it_stopped(host, part):
    host.faults = ["cut"]
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY
    (_, first, _), (_, second, condition) = host.asked
    assert (first, second) == (None, f"bytes={len(BODY) // 2}-")
    assert condition.startswith('"')


def test_another_process_goes_on_too(host, part):
    host.faults = ["cut", 404]
    with pytest.raises(UserError, match="HTTP 404"):
        large_file.download(host.url, part, QUICK)
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY
    assert host.asked[-1][1] == f"bytes={len(BODY) // 2}-"


def test_a_file_that_changed_meanwhile_is_begun_anew(host, part):
    host.faults = ["cut", 404]
    with pytest.raises(UserError, match="HTTP 404"):
        large_file.download(host.url, part, QUICK)
    host.body = BODY[::-1]
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY[::-1]


def test_a_part_of_another_address_is_not_gone_on_with(host, part):
    host.faults = ["cut", 404]
    with pytest.raises(UserError, match="HTTP 404"):
        large_file.download(host.url, part, QUICK)
    large_file.download(f"{host.url}?other", part, QUICK)
    assert host.asked[-1][1] is None
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("lacking", ["ranges", "etag"])
def test_a_host_that_cannot_resume_is_asked_for_all(host, part, lacking):
    setattr(host, lacking, False)
    host.faults = ["cut"]
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY


def test_the_wrong_range_is_not_appended(host, part):
    host.faults = ["cut", "elsewhere"]
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY


def test_a_complete_part_is_not_fetched_again(host, part):
    large_file.download(host.url, part, QUICK)
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY
    assert host.asked[-1][1] == f"bytes={len(BODY)}-"
    assert len(host.asked) == 2


def test_a_part_longer_than_the_file_is_begun_anew(host, part):
    large_file.download(host.url, part, QUICK)
    with open(part, "ab") as out:
        out.write(b"more")
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY


def test_hosts_out_of_breath_are_given_time(host, part):
    host.faults = [429, 503]
    large_file.download(host.url, part, QUICK)
    assert part.read_bytes() == BODY


def test_patience_ends_and_says_how_to_go_on(host, part):
    host.faults = ["cut", 500, 500, 500]
    with pytest.raises(UserError, match="it goes on after 1,536,000 bytes") as caught:
        large_file.download(host.url, part, QUICK)
    assert "HTTP 500" in str(caught.value)
    assert str(part.with_suffix("")) in str(caught.value)
    assert part.stat().st_size == len(BODY) // 2


def test_a_host_that_is_not_there_is_one_line(part):
    with FileServer(BODY) as server:
        url = server.url
    with pytest.raises(UserError, match="could not be fetched .*refused") as caught:
        large_file.download(url, part, QUICK)
    assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (404, "HTTP 404"),
        (403, "HTTP 403"),
        ("page", "a web page"),
        ("gzip", "compress"),
    ],
)
def test_what_no_retry_mends_is_said_at_once(host, part, fault, message):
    host.faults = [fault]
    with pytest.raises(UserError, match=message):
        large_file.download(host.url, part, QUICK)
    assert len(host.asked) == 1
    assert not part.exists()


def test_a_file_above_the_bound_is_refused_before_its_body(host, part):
    with pytest.raises(UserError, match="3,072,000 bytes; at most 1,000,000"):
        large_file.download(host.url, part, Limits(most_bytes=1_000_000))
    assert not part.exists()


def test_a_drip_is_not_waited_for(host, part):
    host.faults = ["slow"] * 3
    limits = Limits(wait_s=0.01, tries=1, grace_s=0.1, least_bytes_per_second=1e6)
    with pytest.raises(UserError, match="only .* bytes in"):
        large_file.download(host.url, part, limits)
    assert part.stat().st_size > 0


def test_redirects_are_followed_and_their_hashes_kept(host, part):
    sha256 = hashlib.sha256(BODY).hexdigest()
    host.faults = ["redirect"]
    host.headers = {"X-Linked-ETag": f'"{sha256}"', "X-Goog-Hash": host.google_hash()}
    claims = large_file.download(host.url, part, QUICK)
    assert claims == {"sha256": sha256, "md5": hashlib.md5(BODY).hexdigest()}
    assert [path for path, _, _ in host.asked] == [
        "/weights/model.npz",
        "/elsewhere/weights/model.npz",
    ]


def test_redirects_end(host, part):
    host.faults = ["loop"]
    with pytest.raises(UserError, match="redirects more than 5 times"):
        large_file.download(host.url, part, QUICK)
    assert len(host.asked) == 6


def test_https_leads_to_https_only():
    start = "https://host.example/a"
    assert large_file.next_url(start, "/b") == "https://host.example/b"
    assert large_file.next_url(start, "https://cdn.example/b").endswith("cdn.example/b")
    for wrong in ("http://host.example/a?token=x", "file:///etc/passwd", "ftp://h/a"):
        with pytest.raises(UserError, match="away from https") as caught:
            large_file.next_url(start, wrong)
        assert "token" not in str(caught.value)


def test_hashes_that_are_none_are_no_claim(host, part):
    host.headers = {"X-Linked-ETag": '"abc"', "X-Goog-Hash": "crc32c=AAAA,md5=%%"}
    assert large_file.download(host.url, part, QUICK) == {}
