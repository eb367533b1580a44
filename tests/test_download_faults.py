"""Downloads that are killed, and disks that are full."""

import subprocess
import sys
import time
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

from aplantida_jax import paths
from aplantida_jax.data import download, export_dataset
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def server():
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(directory)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_is_one_clear_error(tmp_path, server, small_disk):
    config = served_collection(tmp_path, server, 150)
    config.download.cache_dir = str(small_disk / "cache")
    with pytest.raises(UserError, match="the disk of .* is full"):
        download.run(config, tmp_path)
    assert not paths.download_index(config).exists()
    # Once there is room it goes on; no URL was taken for dead.
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    kept = len(cached(config))
    server.requests.clear()
    download.run(config, tmp_path)
    assert kept > 10
    assert len(cached(config)) == 150
    assert by_reason(config) == {}


def command(config) -> list[str]:
    download_fields = (*("requests_per_second", "cache_size_gb"), "shrink_short_side")
    return [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        "--config.stage=download",
        f"--config.data_dir={config.data_dir}",
        f"--config.source.uri={config.source.uri}",
        "--config.dataset.min_images_per_species=1",
        *(f"--config.download.{f}={config.download[f]}" for f in download_fields),
    ]


def test_killed_and_run_again_it_ends_as_if_undisturbed(tmp_path):
    (tmp_path / "images").mkdir()
    urls = [f"images/{number}.jpg" for number in range(300)]
    for number, url in enumerate(urls):
        (tmp_path / url).write_bytes(jpeg(number))
    config = config_for(tmp_path, [document("Rosa canina", [*urls, "images/no.jpg"])])
    export_dataset.run(config, tmp_path)
    config.download.requests_per_second = 400.0
    for _ in range(2):
        child = subprocess.Popen(command(config), cwd=ROOT, stderr=subprocess.DEVNULL)
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
    done = subprocess.run(command(config), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    undisturbed = config.copy_and_resolve_references()
    undisturbed.download.cache_dir = str(tmp_path / "other_cache")
    index_bytes = paths.download_index(config).read_bytes()
    contents = cached(config)
    assert len(contents) == 300
    download.run(undisturbed, tmp_path)
    assert paths.download_index(undisturbed).read_bytes() == index_bytes
    assert cached(undisturbed) == contents
