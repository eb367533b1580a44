"""Twenty kills of two downloads on one cache: nothing lost, nothing asked twice."""

import hashlib
import random
import shutil
import signal
import sqlite3
import subprocess
import time
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
)

from aplantida_jax import paths
from aplantida_jax.data import download, export_dataset
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.records import image_id_of

ROOT = Path(__file__).resolve().parents[1]
IMAGES, ROUNDS, WRITERS, CONCURRENCY = 400, 10, 2, 4


@pytest.fixture
def hosts():
    with MisbehavingServer() as one, MisbehavingServer() as two:
        for server in (one, two):
            server.images = {
                f"{n}.jpg": jpeg(n, (120, 160)) for n in range(IMAGES // 2)
            }
        yield one, two


def configurations(root: Path, hosts) -> list:
    """Two data directories, one collection on both hosts, one cache."""
    urls = [host.url(f"image/{name}") for host in hosts for name in host.images]
    config = config_for(root, [document("Rosa canina", urls)])
    config.download.update(
        {
            "cache_dir": str(root / "cache"),
            "private_hosts": tuple(host.host for host in hosts),
            "requests_per_second": 150.0,
            "concurrency": CONCURRENCY,
            "parallel_hosts": 1,  # so that the two writers share out the hosts
            "shrink_short_side": 0,
        }
    )
    export_dataset.run(config, root)
    second = config.copy_and_resolve_references()
    second.data_dir = str(root / "data2")
    shutil.copytree(config.data_dir, second.data_dir)
    return [config, second]


def asked(hosts) -> dict[str, int]:
    """Image id -> requests."""
    return {
        image_id_of(host.url(path[1:])): count
        for host in hosts
        for path, count in host.asked().items()
    }


def journaled(cache_dir: Path) -> set[str]:
    path = cache_dir / "journal.sqlite"
    if not path.exists():
        return set()
    journal = sqlite3.connect(path)
    tables = journal.execute("SELECT name FROM sqlite_master").fetchall()
    found = ("outcomes",) in tables and journal.execute(
        "SELECT image_id FROM outcomes WHERE status = 'ok'"
    )
    done = {image_id for (image_id,) in found or ()}
    journal.close()
    return done


def bytes_on_disk(cache_dir: Path) -> int:
    return sum(p.stat().st_size for p in cache_dir.glob("objects/*/*/*"))


def run_and_kill(configs, hosts, rng: random.Random, log: Path) -> None:
    """Starts both, kills them at chance moments while they download."""
    enough = sum(asked(hosts).values())
    with log.open("wb") as stderr:
        children = [
            subprocess.Popen(download_command(c), cwd=ROOT, stderr=stderr)
            for c in configs
        ]
    deadline = time.monotonic() + 20
    for child in children:
        enough += rng.randint(8, 16)
        while sum(asked(hosts).values()) < enough and time.monotonic() < deadline:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        # Neither had ended by itself.
        assert child.wait() == -signal.SIGKILL, log.read_text()


def test_twenty_kills_with_two_writers(tmp_path, hosts):
    configs = configurations(tmp_path, hosts)
    cache_dir = paths.cache_dir(configs[0])
    contents = {
        image_id_of(host.url(f"image/{name}")): data
        for host in hosts
        for name, data in host.images.items()
    }
    # Just enough for all: an object counted twice, or an orphan, would show.
    limit = sum(map(len, contents.values()))
    largest = max(map(len, contents.values()))
    for config in configs:
        config.download.cache_size_gb = limit / 1e9
    rng = random.Random(0)
    settled: dict[str, int] = {}  # journaled before some kill -> requests until then
    for _ in range(ROUNDS):
        run_and_kill(configs, hosts, rng, tmp_path / "log")
        requests = asked(hosts)
        for image_id in journaled(cache_dir):
            settled.setdefault(image_id, requests[image_id])
        assert bytes_on_disk(cache_dir) <= limit + WRITERS * largest
    assert 50 < len(settled) < IMAGES
    # Both were at work, each on a host of its own.
    assert all(len(host.requests) > ROUNDS for host in hosts)

    subprocess.run(download_command(configs[0]), cwd=ROOT, check=True)
    requests = asked(hosts)
    assert all(requests[image_id] == count for image_id, count in settled.items())
    assert sum(requests.values()) <= IMAGES + ROUNDS * WRITERS * CONCURRENCY
    assert by_reason(configs[0]) == {}
    assert cached(configs[0]) == contents
    whole(cache_dir, contents)

    for host in hosts:
        host.requests.clear()
    for config in configs:
        download.run(config, tmp_path)
        assert by_reason(config) == {}
    assert asked(hosts) == {}


def whole(cache_dir: Path, contents: dict[str, bytes]) -> None:
    """Index and directory agree, byte by byte."""
    cache = Cache(cache_dir, 1.0)
    assert (len(cache), cache.size) == (IMAGES, bytes_on_disk(cache_dir))
    cache.close()
    index = sqlite3.connect(cache_dir / "index.sqlite")
    rows = index.execute("SELECT image_id, size, sha256 FROM objects").fetchall()
    total = index.execute("SELECT value FROM totals WHERE name = 'bytes'").fetchone()
    index.close()
    assert {name: (size, digest) for name, size, digest in rows} == {
        name: (len(data), hashlib.sha256(data).digest())
        for name, data in contents.items()
    }
    assert total == (sum(map(len, contents.values())),)
    assert {p.name for p in cache_dir.glob("objects/*/*/*")} == set(contents)
    assert list((cache_dir / "aside").iterdir()) == []
