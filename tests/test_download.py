import json
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer
from small_collection import (
    by_reason,
    cached,
    config_for,
    document,
    jpeg,
    served_collection,
)

from aplantida_jax import files, paths
from aplantida_jax.data import decode, download, export_dataset
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.journal import Journal, Outcome
from aplantida_jax.data.records import image_id_of
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def index(config) -> dict[str, Outcome]:
    rows = files.read_jsonl(paths.download_index(config), made_by="download")
    return {row["image_id"]: Outcome(**row) for row in rows}


def asked(server: MisbehavingServer) -> list[str]:
    return [path for _, path in server.requests]


def test_images_beside_a_dump(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number} ñ.jpg").write_bytes(jpeg(number))
    urls = [f"images/{number} ñ.jpg" for number in range(3)]
    config = config_for(tmp_path, [document("Rosa canina", [*urls, "images/no.jpg"])])
    export_dataset.run(config, tmp_path)
    download.run(config, tmp_path)
    assert by_reason(config) == {"permanent: http_404": 1}
    for outcome in index(config).values():
        if outcome.status == "ok":
            assert (outcome.width, outcome.height) == (320, 240)
            data = cached(config)[outcome.image_id]
            assert decode.header(data).height == 128


def test_every_outcome(tmp_path, server):
    config = served_collection(
        tmp_path,
        server,
        5,
        [
            *("status/404", "status/410", "cut/", "bytes/0", "bytes/5000000"),
            *("image/half.jpg", "image/page.jpg", "image/tiny.jpg", "endless/half.jpg"),
            *("redirect/http://localhost:9/", "redirect//image/0.jpg", "loop/"),
        ],
    )
    server.images["half.jpg"] = jpeg(50)[:-300]
    server.images["page.jpg"] = b"<html>sorry</html>"
    server.images["tiny.jpg"] = jpeg(51, (99, 200))
    config.download.max_bytes = 1_000_000
    config.download.retries = 0
    download.run(config, tmp_path)
    assert by_reason(config) == {
        "permanent: http_404": 1,
        "permanent: http_410": 1,
        "temporary: cut_off": 1,
        "rejected: empty": 1,
        "rejected: too_large": 1,
        "rejected: truncated": 1,
        "temporary: html": 1,
        "rejected: small": 1,
        "temporary: truncated": 1,
        "temporary: refused_address": 1,
        "temporary: redirects": 1,
    }
    assert len(cached(config)) == 6
    ids = list(index(config))
    assert ids == sorted(ids)
    assert len(ids) == 17


def test_a_rerun_asks_only_for_what_is_missing(tmp_path, server):
    config = served_collection(tmp_path, server, 6, ["status/404", "status/500"])
    config.download.retries = 0
    download.run(config, tmp_path)
    before = paths.download_index(config).read_bytes()
    server.requests.clear()
    download.run(config, tmp_path)
    assert asked(server) == ["/status/500"]
    assert paths.download_index(config).read_bytes() == before

    # One is damaged, one is lost: both are fetched again.
    victims = sorted(paths.cache_dir(config).glob("objects/*/*/*"))[:2]
    victims[0].unlink()
    victims[1].write_bytes(b"flipped")
    cache = Cache(paths.cache_dir(config), 0.1)
    assert cache.get(victims[1].name) is None
    cache.close()
    server.requests.clear()
    download.run(config, tmp_path)
    assert len(asked(server)) == 3
    assert len(cached(config)) == 6
    assert paths.download_index(config).read_bytes() == before


def test_with_nothing_missing_there_is_nothing_to_do(tmp_path, server):
    config = served_collection(tmp_path, server, 3, ["status/404"])
    download.run(config, tmp_path)
    manifest = paths.download_dir(config) / "manifest.json"
    before = manifest.stat().st_mtime_ns
    server.requests.clear()
    download.run(config, tmp_path)
    assert manifest.stat().st_mtime_ns == before
    assert asked(server) == []


def test_throttling_pauses_the_host_and_ends_well(tmp_path, server):
    config = served_collection(tmp_path, server, 12)
    server.throttle, server.retry_after = 3, "1"
    config.download.concurrency = 1
    download.run(config, tmp_path)
    assert len(cached(config)) == 12
    times = [when for when, _ in server.requests]
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    # The wish of 1 s is larger than the pauses of the ladder.
    assert sum(gap >= 1.0 for gap in gaps) == 3
    assert len(times) == 15


def test_a_page_instead_of_images_is_a_block_that_passes(tmp_path, server):
    config = served_collection(tmp_path, server, 30)
    server.block = 14
    download.run(config, tmp_path)
    assert len(cached(config)) == 30
    assert by_reason(config) == {}


def test_failures_that_pass_are_retried(tmp_path, server):
    config = served_collection(tmp_path, server, 4)
    server.fail = 2
    download.run(config, tmp_path)
    assert len(cached(config)) == 4


def test_a_host_that_forbids_is_left_alone(tmp_path, server):
    config = served_collection(
        tmp_path, server, 0, [f"status/403/{n}" for n in range(60)]
    )
    download.run(config, tmp_path)
    assert len(server.requests) < 40
    reasons = by_reason(config)
    assert reasons["temporary: http_403"] == len(server.requests)
    assert reasons["temporary: host_given_up"] == 60 - len(server.requests)


def test_only_allowed_hosts_are_asked(tmp_path, server):
    config = served_collection(tmp_path, server, 3)
    config.download.private_hosts = ()
    download.run(config, tmp_path)
    assert by_reason(config) == {"temporary: refused_address": 3}
    assert server.requests == []


def test_who_asks_is_said(tmp_path, server):
    config = served_collection(tmp_path, server, 1)
    config.download.contact = "ana@example.org"
    download.run(config, tmp_path)
    (agent,) = server.agents
    assert agent.startswith("aplantida_jax/")
    assert "ana@example.org" in agent


def test_a_limit(tmp_path, server):
    config = served_collection(tmp_path, server, 10)
    config.download.limit = 4
    download.run(config, tmp_path)
    assert len(cached(config)) == 4
    assert by_reason(config) == {"temporary: not_asked": 6}
    config.download.limit = -1
    download.run(config, tmp_path)
    assert len(server.requests) == 10


def test_a_dry_run_writes_nothing(tmp_path, server, caplog):
    config = served_collection(tmp_path, server, 10)
    config.dry_run = True
    before = sorted(tmp_path.rglob("*"))
    download.run(config, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert server.requests == []
    config.dry_run = False
    config.download.limit = 4
    download.run(config, tmp_path)
    config.dry_run = True
    config.download.limit = -1
    download.run(config, tmp_path)
    assert len(server.requests) == 4


def test_another_size_needs_another_cache(tmp_path, server):
    config = served_collection(tmp_path, server, 2)
    download.run(config, tmp_path)
    config.download.shrink_short_side = 64
    with pytest.raises(UserError, match="kept with shrink_short_side=128, not 64"):
        download.run(config, tmp_path)
    config.download.cache_dir = str(tmp_path / "other")
    download.run(config, tmp_path)
    assert len(cached(config)) == 2


def test_a_cache_that_is_too_small_is_filled_not_churned(tmp_path, server, caplog):
    config = served_collection(tmp_path, server, 40)
    config.download.cache_size_gb = 20e-6
    config.download.concurrency = 2
    download.run(config, tmp_path)
    assert "may hold 0.0 GB: about" in caplog.text
    assert "images do not fit" in caplog.text
    contents = cached(config)
    assert 0 < sum(map(len, contents.values())) <= 20_000
    assert by_reason(config) == {"temporary: cache_full": 40 - len(contents)}
    found = {i for i, outcome in index(config).items() if outcome.status == "ok"}
    assert found == set(contents)
    # What came first stayed; the rest was not asked for, but for what was under way.
    at_most = 2 * config.download.concurrency
    assert len(server.requests) <= len(contents) + at_most

    # While it is full, a further run asks for next to nothing.
    server.requests.clear()
    download.run(config, tmp_path)
    assert len(server.requests) <= at_most
    assert set(cached(config)) >= set(contents)
    config.download.cache_size_gb = 0.1
    download.run(config, tmp_path)
    assert len(cached(config)) == 40


def test_what_the_dataset_no_longer_names_makes_room(tmp_path, server):
    config = served_collection(tmp_path, server, 6)
    download.run(config, tmp_path)
    size = sum(map(len, cached(config).values()))
    server.images = {f"new{n}.jpg": jpeg(100 + n) for n in range(4)}
    urls = [server.url(f"image/{name}") for name in server.images]
    Path(config.source.uri).write_text(json.dumps(document("Rosa alba", urls)))
    export_dataset.run(config, tmp_path)
    config.download.cache_size_gb = size / 1e9
    download.run(config, tmp_path)
    assert by_reason(config) == {}
    assert {image_id_of(url) for url in urls} <= set(cached(config))


def test_relative_urls_need_their_dump(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    config = config_for(tmp_path, [document("Rosa canina", ["a.jpg"])])
    export_dataset.run(config, tmp_path)
    config.source.uri = "mongodb://ana:secret@db.example/"
    with pytest.raises(UserError, match="relative to a dump") as raised:
        download.run(config, tmp_path)
    assert "secret" not in str(raised.value)


def test_the_journal_survives_a_new_export(tmp_path, server):
    """Images known to the journal are not asked again for another class or filter."""
    config = served_collection(tmp_path, server, 5)
    download.run(config, tmp_path)
    dump = Path(config.source.uri)
    names = sorted(server.images)
    dump.write_text(
        json.dumps(document("Rosa alba", [server.url(f"image/{n}") for n in names[:3]]))
    )
    export_dataset.run(config, tmp_path)
    server.requests.clear()
    download.run(config, tmp_path)
    assert server.requests == []
    kept = {image_id_of(server.url(f"image/{name}")) for name in names[:3]}
    assert set(index(config)) == kept
    journal = Journal(paths.cache_dir(config))
    assert len(list(journal.outcomes())) == 5
    journal.close()
