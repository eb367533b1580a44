"""Downloads that are killed, and disks that are full."""

import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_collection import (
    by_reason,
    cached,
    config_for,
    document,
    download_command,
    jpeg,
    served_collection,
)

from aplantida_jax import paths
from aplantida_jax.data import download, export_dataset

ROOT = Path(__file__).resolve().parents[1]


def may_mount() -> bool:
    found = shutil.which("unshare")
    return bool(found) and not subprocess.run([found, "-m", "true"]).returncode


class LimitedFiles:
    """No file of the child's may be larger than 100 kB: EFBIG."""

    def __init__(self, root: Path):
        self.directory = root

    def command(self, config) -> list[str]:
        script = 'ulimit -S -f 200; exec "$@"'  # blocks of 512 bytes
        return ["sh", "-c", script, "sh", *download_command(config)]

    def make_room(self, *children: subprocess.Popen) -> None:
        endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        for child in children:
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, endless)

    def close(self) -> None:
        pass


class SmallDisk:
    """A file system of 600 kB: ENOSPC."""

    def __init__(self, root: Path):
        self.directory = root / "disk"
        self.directory.mkdir()
        options = ["-t", "tmpfs", "-o", "size=600k", "none"]
        subprocess.run(["mount", *options, str(self.directory)], check=True)

    def command(self, config) -> list[str]:
        return download_command(config)

    def make_room(self, *children: subprocess.Popen) -> None:
        larger = ["mount", "-o", "remount,size=20m", str(self.directory)]
        subprocess.run(larger, check=True)

    def close(self) -> None:
        subprocess.run(["umount", str(self.directory)], check=True)


# The one needs the right to mount, the other nothing: nothing is skipped anywhere.
@pytest.fixture(params=[LimitedFiles, SmallDisk] if may_mount() else [LimitedFiles])
def disk(tmp_path, request):
    made = request.param(tmp_path)
    yield made
    made.close()


def large_images(tmp_path, server, disk):
    """Twelve images of more than 100 kB each."""
    config = served_collection(tmp_path, server, 12)
    rng = np.random.default_rng(0)
    for name in server.images:
        noise = rng.integers(0, 256, (300, 300, 3)).astype(np.uint8)
        server.images[name] = cv2.imencode(".jpg", noise)[1].tobytes()
        assert len(server.images[name]) > 102_400
    config.download.update(
        {
            "cache_dir": str(disk.directory / "cache"),
            "shrink_short_side": 0,
            "disk_retry_s": 0.1,
            "disk_patience_s": 60.0,
        }
    )
    return config


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_is_waited_for(tmp_path, server, disk):
    config = large_images(tmp_path, server, disk)
    child = start(disk.command(config))
    assert any("is full: pausing" in line for line in child.stderr)
    time.sleep(0.5)
    assert child.poll() is None
    # Whoever has an image in hand holds it, so nothing more is asked.
    asked = len(server.requests)
    time.sleep(0.5)
    assert len(server.requests) == asked
    disk.make_room(child)
    log = child.stderr.read()
    child.stderr.close()
    assert child.wait() == 0, log
    assert "has room again" in log
    assert set(server.asked().values()) == {1}
    assert by_reason(config) == {}
    assert sorted(cached(config).values()) == sorted(server.images.values())


def test_a_disk_that_stays_full_is_one_clear_error(tmp_path, server, disk):
    config = large_images(tmp_path, server, disk)
    config.download.disk_patience_s = 0.5
    child = start(disk.command(config))
    _, log = child.communicate()
    assert child.returncode == 1
    assert "Traceback" not in log
    (error,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert "is full: make room and run stage 'download' again" in error
    assert not paths.download_index(config).exists()
    # Once there is room it goes on; no URL was taken for dead.
    kept = len(cached(config))
    server.requests.clear()
    disk.make_room()
    subprocess.run(download_command(config), cwd=ROOT, check=True)
    assert len(server.requests) == 12 - kept
    assert sorted(cached(config).values()) == sorted(server.images.values())


def test_interrupted_while_the_disk_is_full_it_says_so(tmp_path, server, disk):
    config = large_images(tmp_path, server, disk)
    config.download.disk_retry_s = 60.0
    child = start(disk.command(config))
    assert any("is full: pausing" in line for line in child.stderr)
    child.send_signal(signal.SIGINT)
    log = child.stderr.read()
    child.stderr.close()
    assert child.wait() == 130, log
    assert log.splitlines()[-1].startswith("interrupted; run the same command again")


def test_killed_and_run_again_it_ends_as_if_undisturbed(tmp_path):
    (tmp_path / "images").mkdir()
    urls = [f"images/{number}.jpg" for number in range(300)]
    for number, url in enumerate(urls):
        (tmp_path / url).write_bytes(jpeg(number))
    config = config_for(tmp_path, [document("Rosa canina", [*urls, "images/no.jpg"])])
    export_dataset.run(config, tmp_path)
    config.download.requests_per_second = 400.0
    for _ in range(2):
        child = subprocess.Popen(
            download_command(config), cwd=ROOT, stderr=subprocess.DEVNULL
        )
        before = len(list(paths.cache_dir(config).glob("objects/*/*/*")))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            now = len(list(paths.cache_dir(config).glob("objects/*/*/*")))
            if now > before + 60:
                break
            time.sleep(0.02)
        child.kill()
        child.wait()
        assert not paths.download_index(config).exists()
    done = subprocess.run(
        download_command(config), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

    undisturbed = config.copy_and_resolve_references()
    undisturbed.download.cache_dir = str(tmp_path / "other_cache")
    index_bytes = paths.download_index(config).read_bytes()
    contents = cached(config)
    assert len(contents) == 300
    download.run(undisturbed, tmp_path)
    assert paths.download_index(undisturbed).read_bytes() == index_bytes
    assert cached(undisturbed) == contents
