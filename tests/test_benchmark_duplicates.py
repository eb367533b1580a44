"""The benchmark of the perceptual hash tells what it could not read."""

import subprocess
import sys
from pathlib import Path

from odd_images import encoded, picture

ROOT = Path(__file__).resolve().parents[1]


def benchmark(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts/benchmark_duplicates.py", directory],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_a_directory_without_jpegs_is_an_error(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        done = benchmark(directory)
        assert done.returncode == 2
        assert f"no *.jpg in {directory}" in done.stderr


def test_broken_jpegs_are_skipped_and_counted(tmp_path):
    good = encoded(picture(480, 360), "JPEG")
    (tmp_path / "broken.jpg").write_bytes(good[:-100])
    assert benchmark(tmp_path).returncode == 2
    (tmp_path / "good.jpg").write_bytes(good)
    done = benchmark(tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "broken 1 -" in lines
    assert "jpeg_q60_ours_percent 100.0 >=99" in lines
    assert "broken.jpg: truncated, skipped" in done.stderr
