"""P9: the real download stage against a local server; needs nothing but the project.

    .venv/bin/python scripts/benchmark_download.py [--images=3000]

Part 1: a server process hands out JPEGs of 1024 x 768 pixels from its memory; the
stage, in a fresh process, fetches, checks, hashes, shrinks (short side 512) and keeps
them, as fast as it can. img2dataset, which does as much, manages about 85 images/s per
core.

Part 2: the server answers 429 with Retry-After for a while and notes when every request
arrives: none may arrive inside the pause that it asked for.

Each line is `name value goal`. Both processes share the machine's cores.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import benchmark_server

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        unthrottled(Path(directory) / "fast", arguments.images, arguments.concurrency)
        paused(Path(directory) / "paused", arguments.concurrency)
    return 0


def unthrottled(root: Path, count: int, concurrency: int) -> None:
    """Part 1."""
    with benchmark_server.running() as server:
        export(root, [f"http://{server.host}/{n}.jpg" for n in range(count)])
        metrics = download(root, server.host, concurrency, pauses="(60.0,)")
    assert metrics["status"] == {"ok": count}, metrics
    rate = count / metrics["this_run"]["seconds"]
    print(f"download_images_per_second {rate:.0f} >=300")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    print(f"download_peak_megabytes {peak:.0f} <=1000")


def paused(root: Path, concurrency: int) -> None:
    """Part 2: a wall of 429 after 200 requests, for 3 s."""
    count = 600
    with benchmark_server.running(wall_after=200, wall_s=3) as server:
        export(root, [f"http://{server.host}/{n}.jpg" for n in range(count)])
        metrics = download(root, server.host, concurrency, pauses="(1.0, 2.0)")
        seen = server.seen()
    assert metrics["status"] == {"ok": count}, metrics
    print(f"requests_inside_a_pause {seen['inside']} 0")
    print(f"pauses_that_the_server_asked_for {seen['walls']} >=1")


def export(root: Path, urls: list[str]) -> None:
    """Leaves photos.jsonl of these URLs."""
    benchmark_server.write_dump(root, urls)
    stage(root, "export_dataset")


def download(root: Path, host: str, concurrency: int, pauses: str) -> dict[str, Any]:
    """Runs the stage; returns its manifest's metrics."""
    stage(
        root,
        "download",
        f"--config.download.private_hosts=('{host}',)",
        "--config.download.requests_per_second=1000000.0",
        f"--config.download.concurrency={concurrency}",
        f"--config.download.pauses_s={pauses}",
    )
    return json.loads((root / "data" / "download" / "manifest.json").read_text())[
        "metrics"
    ]


def stage(root: Path, name: str, *more: str) -> None:
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *(f"--config.stage={name}", f"--config.data_dir={root / 'data'}"),
        f"--config.source.uri={root / 'plants.json'}",
        *("--config.dataset.min_images_per_species=1", "--log_level=warning"),
        *more,
    ]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
