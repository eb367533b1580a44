"""Several hosts, several processes: each host keeps its pace and its pauses."""

import shutil
import subprocess
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer
from small_collection import (
    by_reason,
    cached,
    config_for,
    document,
    download_command,
    jpeg,
    served_collection,
)

from aplantida_jax import files, paths
from aplantida_jax.data import download, export_dataset

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def other():
    with MisbehavingServer() as running:
        yield running


def metrics(config) -> dict:
    path = paths.download_dir(config) / "manifest.json"
    return files.read_json(path, made_by="download")["metrics"]


def test_a_redirect_waits_for_the_pause_of_where_it_leads(tmp_path, server, other):
    other.images = {f"{n}.jpg": jpeg(n) for n in range(20)}
    other.throttle, other.retry_after = 2, "1"
    urls = [server.url(f"redirect/{other.url(f'image/{n}.jpg')}") for n in range(20)]
    config = config_for(tmp_path, [document("Rosa canina", urls)])
    config.download.update(
        {"private_hosts": (server.host, other.host), "concurrency": 1}
    )
    export_dataset.run(config, tmp_path)
    download.run(config, tmp_path)
    assert len(cached(config)) == 20
    # Two pauses of a second, by the other server's own watch.
    assert sum(gap >= 1.0 for gap in other.gaps()) == 2
    assert len(other.requests) == 22
    assert set(server.asked().values()) == {1}
    hosts = metrics(config)["this_run"]["hosts"]
    assert hosts[other.host]["pauses"] == 2
    assert 2.0 <= hosts[other.host]["paused_s"] < 2.5
    assert hosts[server.host] == {
        "requests": 20,
        "pauses": 0,
        "paused_s": 0.0,
        "given_up": "",
        "results": {"ok": 20},
    }


def test_two_downloads_of_one_host_are_as_fast_as_one(tmp_path, server):
    """The second waits, then finds that everything is there."""
    config = served_collection(tmp_path, server, 60)
    config.download.requests_per_second = 40.0
    config.download.cache_dir = str(tmp_path / "cache")
    second = config.copy_and_resolve_references()
    second.data_dir = str(tmp_path / "data2")
    shutil.copytree(config.data_dir, second.data_dir)
    children = [
        subprocess.Popen(download_command(c), cwd=ROOT, stderr=subprocess.PIPE)
        for c in (config, second)
    ]
    logs = [child.communicate()[1].decode() for child in children]
    assert [child.returncode for child in children] == [0, 0], logs
    assert sorted(server.asked().values()) == [1] * 60
    times = [when for when, _ in server.requests]
    assert times[-1] - times[0] >= 59 / 40 - 0.05
    assert sum("waiting for 127.0.0.1" in log for log in logs) == 1
    for each in (config, second):
        assert by_reason(each) == {}
    assert metrics(config)["status"] == metrics(second)["status"] == {"ok": 60}


def test_two_downloads_of_one_data_directory(tmp_path, server):
    """Both write the same index; neither sweeps the other's unfinished one away."""
    config = served_collection(tmp_path, server, 30)
    config.download.requests_per_second = 40.0
    children = [
        subprocess.Popen(download_command(config), cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    logs = [child.communicate()[1].decode() for child in children]
    assert [child.returncode for child in children] == [0, 0], logs
    assert sorted(server.asked().values()) == [1] * 30
    assert metrics(config)["status"] == {"ok": 30}


def test_the_last_lines_say_what_each_host_did(tmp_path, server, caplog):
    config = served_collection(tmp_path, server, 5, ["status/404", "status/500"])
    config.download.retries = 0
    server.throttle = 1
    with caplog.at_level("INFO", logger="absl"):
        download.run(config, tmp_path)
    (line,) = [r for r in caplog.messages if r.startswith(server.host + ": 8 req")]
    assert all(part in line for part in ("5 ok", "1 http_404", "1 http_500"))
    assert "1 pauses of 0 s" in line


def test_a_dry_run_tells_of_every_host(tmp_path, caplog):
    """The slowest host decides how long it takes, not all of them together."""
    urls = [f"https://a.example/{n}" for n in range(7200)]
    urls += [f"https://b.example/{n}" for n in range(3600)]
    config = config_for(tmp_path, [document("Rosa canina", urls)])
    config.download.requests_per_second = 1.0
    config.download.cache_size_gb = 0.1
    export_dataset.run(config, tmp_path)
    config.dry_run = True
    with caplog.at_level("INFO", logger="absl"):
        download.run(config, tmp_path)
    text = "\n".join(caplog.messages)
    assert "10800 images to ask of 2 hosts" in text
    # 10,800 x 1.46 MB; 128 x 128 x 0.4 bytes each in the cache.
    assert "15.8 GB to transfer (not measured yet, taken to be 1.46 MB" in text
    assert "0.1 GB in the cache then (limit 0.1 GB), at least 2.0 hours" in text
    assert "dry run: a.example: 7200 images, 2.0 hours" in text
    assert "do not fit" not in text
    config.download.parallel_hosts = 1
    with caplog.at_level("INFO", logger="absl"):
        download.run(config, tmp_path)
    assert "at least 3.0 hours" in caplog.text
    config.download.cache_size_gb = 0.05
    with caplog.at_level("INFO", logger="absl"):
        download.run(config, tmp_path)
    assert "about 3170 of them will not be asked for" in caplog.text
