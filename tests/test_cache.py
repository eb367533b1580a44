import hashlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aplantida_jax.data.cache import Cache

KB = 1e-6  # GB


def name_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


def content_of(number: int, size: int = 1000) -> bytes:
    return np.random.default_rng(number).bytes(size)


def bytes_on_disk(directory: Path) -> int:
    return sum(p.stat().st_size for p in directory.glob("objects/*/*/*"))


@pytest.fixture
def cache(tmp_path):
    made = Cache(tmp_path / "cache", 10 * KB)
    yield made
    made.close()


def test_gives_back_what_was_put(cache):
    assert cache.get(name_of(1)) is None
    assert cache.put(name_of(1), b"leaf")
    assert cache.get(name_of(1)) == b"leaf"
    assert cache.put(name_of(1), b"flower")
    assert cache.get(name_of(1)) == b"flower"
    assert name_of(1) in cache
    assert name_of(2) not in cache
    assert None not in cache
    assert (cache.ids(), len(cache), cache.size) == ([name_of(1)], 1, 6)


def test_the_least_recently_used_goes_first(cache):
    for number in range(10):
        cache.put(name_of(number), content_of(number))
    assert len(cache) == 10
    assert cache.get(name_of(0)) == content_of(0)
    cache._index.flush_uses()
    cache.put(name_of(10), content_of(10))
    assert name_of(0) in cache
    assert name_of(1) not in cache
    assert cache.size == bytes_on_disk(cache.directory) == 10_000
    cache.put(name_of(11), content_of(11, 9_500))
    assert cache.ids() == [name_of(11)]


def test_what_is_larger_than_the_limit_is_not_stored(cache):
    cache.put(name_of(1), b"leaf")
    assert not cache.put(name_of(2), bytes(10_001))
    assert cache.ids() == [name_of(1)]


@pytest.mark.parametrize(
    "image_id", ["../../etc/passwd", "", "A" * 16, "0" * 15, "x/y"]
)
def test_only_ids_become_file_names(cache, image_id):
    assert cache.get(image_id) is None
    with pytest.raises(ValueError, match="not an image id"):
        cache.put(image_id, b"")


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_object_is_absent(cache, damage):
    cache.put(name_of(1), content_of(1))
    (path,) = cache.directory.glob("objects/*/*/*")
    if damage == "delete":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content_of(1)[:-1])
    else:
        path.write_bytes(b"\0" + content_of(1)[1:])
    assert cache.get(name_of(1)) is None
    assert name_of(1) not in cache
    assert cache.size == bytes_on_disk(cache.directory) == 0


def test_a_smaller_limit_evicts_when_something_is_put_not_when_it_is_opened(tmp_path):
    cache = Cache(tmp_path, 10 * KB)
    for number in range(10):
        cache.put(name_of(number), content_of(number))
    cache.close()
    cache = Cache(tmp_path, 3 * KB)
    assert len(cache) == 10
    cache.put(name_of(10), content_of(10))
    assert cache.ids() == sorted(name_of(n) for n in (8, 9, 10))
    cache.close()


def test_threads(cache):
    errors = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(150):
            number = int(rng.integers(0, 20))
            if rng.random() < 0.5:
                cache.put(name_of(number), content_of(number))
            elif cache.get(name_of(number)) not in (None, content_of(number)):
                errors.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert cache.size == bytes_on_disk(cache.directory) <= cache.limit


# JAX, when another test has started it here, warns at every fork; the child uses none.
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function _at_fork:"
    "pytest.PytestUnraisableExceptionWarning"
)
def test_pickle_and_fork(cache):
    cache.put(name_of(1), b"leaf")
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.get(name_of(1)) == b"leaf"
    copy.close()
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map(cache.get, [name_of(1)] * 4) == [b"leaf"] * 4
    assert cache.put(name_of(2), b"root")
    assert cache.get(name_of(1)) == b"leaf"


# Two sizes per id, so that a torn or mixed read would show.
_WORKER = """
import sys
import numpy as np
from tests.test_cache import Cache, content_of, name_of

cache = Cache(sys.argv[1], 50e-6)
rng = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    number = int(rng.integers(0, 100))
    size = int(rng.choice([900, 1100]))
    cache.put(name_of(number), content_of(number, size))
    number = int(rng.integers(0, 100))
    found = cache.get(name_of(number))
    assert found in (None, content_of(number, 900), content_of(number, 1100)), number
cache.close()
"""


def start_worker(directory: Path, seed: int, rounds: int) -> subprocess.Popen:
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", _WORKER, str(directory), str(seed), str(rounds)]
    worker = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.readline()
    return worker


def test_two_processes_never_read_torn_nor_exceed_the_limit(tmp_path):
    workers = [start_worker(tmp_path, seed, 600) for seed in (1, 2)]
    highest = 0
    watcher = Cache(tmp_path, 50 * KB)
    while any(worker.poll() is None for worker in workers):
        # Files change inside transactions: within ours the listing is a snapshot.
        with watcher._index.transaction():
            highest = max(highest, bytes_on_disk(tmp_path))
        time.sleep(0.01)
    watcher.close()
    assert [worker.wait() for worker in workers] == [0, 0]
    for worker in workers:
        worker.stdout.close()
    assert 0 < highest <= 50_000
    cache = Cache(tmp_path, 50 * KB)
    assert cache.size == bytes_on_disk(tmp_path) <= 50_000
    cache.close()


def test_kill_nine_leaves_objects_whole_or_absent(tmp_path):
    for seed in range(6):
        worker = start_worker(tmp_path, seed, 100_000)
        time.sleep(0.05 + 0.03 * seed)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        cache = Cache(tmp_path, 50 * KB)
        assert cache.size == bytes_on_disk(tmp_path) <= 50_000
        numbers = {name_of(number): number for number in range(100)}
        for image_id in cache.ids():
            possible = [content_of(numbers[image_id], size) for size in (900, 1100)]
            assert cache.get(image_id) in possible
        cache.close()
    assert os.listdir(tmp_path / "aside") == []
