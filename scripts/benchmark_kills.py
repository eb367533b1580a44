"""R2, the dataset's half: kill -9 at chance moments, and what is torn or lost then.

    .venv/bin/python scripts/benchmark_kills.py [--kills=50] [--seed=0]

Download: the stage fetches small pictures from a local server and is killed, again and
again. After each kill every image that the journal calls there must be there, with the
bytes that its hash tells; in the end all are, and nothing was asked twice but what was
under way. Split: the stage makes its sets for two seeds in turn, over each other, and
is killed. After each kill every region's directory must be one of the two, whole.

Prints `name value goal` lines.
"""

import argparse
import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benchmark_server
import benchmark_split

from aplantida_jax import files, paths
from aplantida_jax.data import export_dataset
from aplantida_jax.data.cache import Cache
from aplantida_jax.manifest import MANIFEST
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]
PICTURES, CONCURRENCY, PER_SECOND = 4000, 4, 150.0
SPLIT_PHOTOS = 20_000
SEEDS = (42, 43)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as directory:
        kill_downloads(Path(directory) / "download", arguments.kills, rng)
        kill_splits(Path(directory) / "split", arguments.kills, rng)


def kill_downloads(root: Path, kills: int, rng: random.Random) -> None:
    """The download's part."""
    config = dataset.get_config()
    config.data_dir = str(root / "data")
    config.source.uri = str(root / "plants.json")
    config.dataset.min_images_per_species = 1
    with benchmark_server.running(size=(120, 160)) as server:
        urls = [f"http://{server.host}/{number}.jpg" for number in range(PICTURES)]
        benchmark_server.write_dump(root, urls)
        export_dataset.run(config, root)
        command = stage_command(
            config,
            "download",
            f"--config.download.private_hosts=('{server.host}',)",
            f"--config.download.requests_per_second={PER_SECOND}",
            f"--config.download.concurrency={CONCURRENCY}",
        )
        bad = 0
        for _ in range(kills):
            enough = server.seen()["requests"] + rng.randint(2, 40)
            child = start(command)
            while server.seen()["requests"] < enough:
                time.sleep(0.005)
            kill(child)
            bad += missing_or_torn(paths.cache_dir(config))
        subprocess.run(
            [*command, "--config.download.requests_per_second=1e6"], cwd=ROOT
        )
        bad += missing_or_torn(paths.cache_dir(config))
        asked = server.seen()["requests"]
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    bad += PICTURES - len(cache)
    cache.close()
    print(f"download_kills {kills} 50")
    print(f"download_torn_or_lost_files {bad} 0")
    print(f"download_asked_twice {asked - PICTURES} <={kills * CONCURRENCY}")


def missing_or_torn(cache_dir: Path) -> int:
    """Images that the journal calls there and that are not, or not as they were."""
    if not (cache_dir / "journal.sqlite").exists():
        return 0
    journal = sqlite3.connect(cache_dir / "journal.sqlite")
    index = sqlite3.connect(cache_dir / "index.sqlite")
    done = journal.execute("SELECT image_id FROM outcomes WHERE status = 'ok'")
    digests = dict(index.execute("SELECT image_id, sha256 FROM objects"))
    bad = 0
    for (image_id,) in done:
        path = cache_dir / "objects" / image_id[:2] / image_id[2:4] / image_id
        whole = path.exists() and (
            hashlib.sha256(path.read_bytes()).digest() == digests.get(image_id)
        )
        bad += not whole
    journal.close()
    index.close()
    return bad


def kill_splits(root: Path, kills: int, rng: random.Random) -> None:
    """The split's part."""
    config = dataset.get_config()
    config.data_dir = str(root)
    benchmark_split.write_collection(config, SPLIT_PHOTOS)
    commands = [
        stage_command(config, "split", f"--config.seed={seed}") for seed in SEEDS
    ]
    whole, seconds = [], 0.0
    for command in commands:
        begin = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True)
        seconds = time.monotonic() - begin
        whole.append(contents(root / "splits"))
    torn = 0
    for number in range(kills):
        # The second seed's sets are there: the first one's replace them, and so on.
        child = start(commands[number % 2])
        time.sleep(rng.uniform(0.3, 1.05) * seconds)
        kill(child)
        now = contents(root / "splits")
        torn += sum(
            now.get(name) not in (whole[0][name], whole[1][name]) for name in whole[0]
        )
    subprocess.run(commands[0], cwd=ROOT, check=True)
    torn += contents(root / "splits") != whole[0]
    print(f"split_kills {kills} 50")
    print(f"split_torn_or_lost_files {torn} 0")


def contents(splits: Path) -> dict[str, str]:
    """Region -> hash of what is in its directory, but for times in the manifest."""
    return {
        directory.name: "".join(
            files.sha256_file(path)
            for path in sorted(directory.iterdir())
            if path.name != MANIFEST
        )
        for directory in sorted(splits.iterdir())
        if not directory.name.startswith(".")
    }


def stage_command(config, stage: str, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *(f"--config.stage={stage}", f"--config.data_dir={config.data_dir}"),
        f"--config.source.uri={config.source.uri}",
        "--config.dataset.min_images_per_species="
        f"{config.dataset.min_images_per_species}",
        "--log_level=error",
        *more,
    ]


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


def kill(child: subprocess.Popen) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


if __name__ == "__main__":
    main()
