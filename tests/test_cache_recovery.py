import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer
from small_collection import by_reason, cached, served_collection

from aplantida_jax import paths
from aplantida_jax.data import download
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.cache_recovery import recover
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LEAF, ROOT_ID = "1" * 16, "2" * 16


@pytest.fixture
def directory(tmp_path):
    cache = Cache(tmp_path / "cache", 1.0)
    cache.put(LEAF, b"leaf")
    cache.put(ROOT_ID, b"root")
    cache.close()
    return cache.directory


def lose_index(directory: Path) -> None:
    for path in directory.glob("index.sqlite*"):
        path.unlink()


def test_what_is_whole_is_entered_again_and_the_rest_removed(directory):
    lose_index(directory)
    # A log of the lost index, and an attempt that was killed.
    (directory / "index.sqlite-wal").write_bytes(b"frames of another index")
    (directory / "index.sqlite.new").write_bytes(b"half")
    with pytest.raises(UserError, match="run stage 'download', it enters them"):
        Cache(directory, 1.0)
    recover(directory, lambda data: data == b"leaf")
    cache = Cache(directory, 1.0)
    assert (cache.ids(), cache.size, cache.get(LEAF)) == ([LEAF], 4, b"leaf")
    cache.close()
    assert len(list(directory.glob("objects/*/*/*"))) == 1


def test_with_an_index_nothing_is_done(directory):
    recover(directory, lambda data: False)
    recover(directory / "nowhere", lambda data: False)
    cache = Cache(directory, 1.0)
    assert len(cache) == 2
    cache.close()


def test_not_while_somebody_has_the_cache_open(directory):
    program = (
        "import sys; from aplantida_jax.data.cache import Cache\n"
        "cache = Cache(sys.argv[1], 1.0); print('open', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    lose_index(directory)
    with pytest.raises(UserError, match="has the cache open"):
        recover(directory, lambda data: True)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    recover(directory, lambda data: True)
    assert os.path.exists(directory / "index.sqlite")


def test_who_waits_for_another_recovery_finds_it_done(directory):
    lose_index(directory)
    asked = []

    def judge(data: bytes) -> bool:
        # The first to come is at work in here; the second meanwhile waits.
        if not asked:
            asked.append(data)
            second.start()
            second.join(0.3)
            assert second.is_alive()
        return True

    def never(data: bytes) -> bool:
        raise AssertionError("recovered twice")

    failures = []

    def come_second() -> None:
        try:
            recover(directory, never)
            opened = Cache(directory, 1.0)
            assert len(opened) == 2
            opened.close()
        except BaseException as error:
            failures.append(error)

    second = threading.Thread(target=come_second)
    recover(directory, judge)
    second.join()
    assert failures == []


def test_the_stage_recovers_a_lost_index_without_asking_again(tmp_path):
    with MisbehavingServer() as server:
        config = served_collection(tmp_path, server, 8)
        download.run(config, tmp_path)
        before = cached(config)
        index = paths.download_index(config).read_bytes()
        lose_index(paths.cache_dir(config))
        torn = sorted(paths.cache_dir(config).glob("objects/*/*/*"))[0]
        torn.write_bytes(torn.read_bytes()[:200])
        server.requests.clear()
        download.run(config, tmp_path)
        # Only what was damaged meanwhile is asked for.
        assert len(server.requests) == 1
        assert by_reason(config) == {}
        assert cached(config) == before
        assert paths.download_index(config).read_bytes() == index
