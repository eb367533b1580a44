"""Opening a cache: by many at once, after a kill, where it cannot be; closing it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aplantida_jax.data import cache_directory
from aplantida_jax.data.cache import Cache
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def name_of(number: int) -> str:
    return f"{number:016x}"


def content_of(number: int) -> bytes:
    return b"leaf %d" % number


def test_opening_alone_sweeps_leftovers(tmp_path):
    cache = Cache(tmp_path, 1.0)
    cache.put(name_of(1), b"leaf")
    cache.put(name_of(2), b"root")
    (tmp_path / "aside" / "half").write_bytes(b"le")
    orphan = tmp_path / "objects" / "00" / "00" / ("0" * 16)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"unknown")
    cache._path(name_of(2)).unlink()

    # Somebody else at work: nothing is swept from under them.
    Cache(tmp_path, 1.0).close()
    assert orphan.exists()
    cache.close()

    cache = Cache(tmp_path, 1.0)
    assert not orphan.exists()
    assert os.listdir(tmp_path / "aside") == []
    assert (cache.ids(), cache.size) == ([name_of(1)], 4)
    cache.close()


def test_a_lost_or_broken_index_never_costs_the_images(tmp_path):
    cache = Cache(tmp_path, 1.0)
    cache.put(name_of(1), b"leaf")
    path = cache._path(name_of(1))
    cache.close()
    (tmp_path / "index.sqlite").write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(UserError, match="damaged"):
        Cache(tmp_path, 1.0)
    for file in tmp_path.glob("index.sqlite*"):
        file.unlink()
    with pytest.raises(UserError, match="is missing although"):
        Cache(tmp_path, 1.0)
    assert path.exists()


# Opens the cache that each line names, with others who do so at the same moment.
_OPENER = """
import sys
from aplantida_jax.data.cache import Cache

number = int(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    cache = Cache(line.strip(), 1.0)
    assert cache.put(f"{number:016x}", b"leaf %d" % number)
    cache.close()
    print("done", flush=True)
"""


def test_eight_processes_open_the_same_new_cache_thirty_times(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    openers = [
        subprocess.Popen([sys.executable, "-c", _OPENER, str(n)], cwd=ROOT, **pipes)
        for n in range(8)
    ]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    for attempt in range(30):
        for opener in openers:
            opener.stdin.write(f"{tmp_path / str(attempt)}\n")
            opener.stdin.flush()
        assert [opener.stdout.readline() for opener in openers] == ["done\n"] * 8
    for opener in openers:
        opener.communicate()
        assert opener.returncode == 0
    for attempt in range(30):
        cache = Cache(tmp_path / str(attempt), 1.0)
        assert cache.ids() == sorted(name_of(number) for number in range(8))
        assert all(cache.get(name_of(n)) == content_of(n) for n in range(8))
        cache.close()


def test_who_comes_while_somebody_is_alone_waits_and_touches_nothing(tmp_path):
    users = cache_directory.open_lock(tmp_path)
    assert cache_directory.join(users, tmp_path)
    opened = []
    thread = threading.Thread(target=lambda: opened.append(Cache(tmp_path, 1.0)))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert os.listdir(tmp_path) == ["users.lock"]
    cache_directory.share(users)
    thread.join()
    os.close(users)
    assert opened[0].put(name_of(1), b"leaf")
    opened[0].close()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere", "/dev/null"])
def test_a_directory_that_cannot_be_made_names_the_option(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"set --config\.download\.cache_dir to"):
        Cache(tmp_path / place, 1.0)


@pytest.mark.parametrize("name", ["objects", "aside", "index.sqlite"])
def test_a_directory_with_something_else_in_it_names_the_option(tmp_path, name):
    if name == "index.sqlite":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"--config\.download\.cache_dir"):
        Cache(tmp_path, 1.0)


# No file may grow any more; with `used` there are uses that close wants to write.
_FULL_DISK = """
import resource
import sys
from aplantida_jax.data.cache import Cache

cache = Cache(sys.argv[1], 1.0)
cache.put("0" * 15 + "1", b"leaf")
if sys.argv[2] == "used":
    cache.get("0" * 15 + "1")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    cache.use_now(["0" * 15 + "1"])
except OSError:
    try:
        raise KeyboardInterrupt
    finally:
        cache.close()
"""


@pytest.mark.parametrize("uses", ["used", "unused"])
def test_closing_on_a_full_disk_hides_nothing(tmp_path, uses):
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path), uses],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last == "KeyboardInterrupt", done.stderr
    cache = Cache(tmp_path, 1.0)
    assert cache.get(name_of(1)) == b"leaf"
    cache.close()
