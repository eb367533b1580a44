"""The input pipeline beside torch's DataLoader with albumentations: images a second.

    python scripts/benchmark_input.py [--peer-python=PEER/bin/python] [--images=320]
        [--rounds=5] [--photos=DIR]

Measures what the training loop gets: batches of `pipeline.make_train` at 384 pixels,
with the cache's read and hash check in it. In one run, in turns, from files of 500
pixels, from originals of 2048, and from what the stage download keeps of those (short
side 512); the peer (see `peer_loader.py`) reads the same files, with 0 and with 2
workers, of which the better counts. Medians over the rounds.

Colour, erasing and normalisation are left to the device here, while the peer's rates
include its own: `..._ratio` compares what each asks of the CPU beside a GPU. Where the
device is this CPU, `..._ratio_with_device_work` compares all of the work instead, as if
ours did its device's part after each image.

The pictures are drawn plants with a sensor's noise, or the JPEGs of --photos, at both
sizes. Without --peer-python there are no ratios. Prints lines `name value goal`.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import benchmark_dataset
import cv2
import jax
import numpy as np

from aplantida_jax.data import decode, pipeline, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.smart_crop import CENTRE
from aplantida_jax.train import device_augment
from configs import teacher_global

SIZES = {"500px": (375, 500), "2048px": (1536, 2048)}
STORE = "store512"  # made of the originals of 2048 pixels
GOALS = {"500px": 3, "2048px": 2, STORE: 8}
BATCH = 32
WORKERS = (0, 2)  # of the peer
# Rows of the split that is read, the files over and over: as many as the real one has.
# Grain takes longer to shuffle a short one: 0.06 ms an image for 320, 0.002 for these.
ROWS = 741_533


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=Path)
    options = parser.parse_args()
    print(f"load_average {os.getloadavg()[0]:.1f} <0.5")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write(root, options.images, options.photos)
        ours = {name: loader(root / name) for name in GOALS}
        peer = Peer(options.peer_python, root) if options.peer_python else None
        rounds = [one_round(ours, peer) for _ in range(options.rounds)]
    report(rounds, device_cost())
    if peer is None:
        print("peer missing: give --peer-python, see scripts/peer_loader.py")


def write(root: Path, count: int, photos: Path | None) -> None:
    """Folders of JPEGs: one for each of SIZES, and STORE."""
    for name in GOALS:
        (root / name).mkdir()
    found = sorted(photos.iterdir()) if photos else []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda number: write_one(root, number, found), range(count)))


def write_one(root: Path, number: int, photos: list[Path]) -> None:
    rng = np.random.default_rng(number)
    if photos:
        picture = cv2.imread(str(photos[number % len(photos)]))[..., ::-1]
    else:
        picture = benchmark_dataset.plant(number)
    for name, (height, width) in SIZES.items():
        image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        # As many bytes as photos of that size have, about 0.35 a pixel.
        grain = rng.integers(-12, 13, (height // 2, width // 2, 1), np.int16)
        noise = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.clip(image + noise[..., None], 0, 255).astype(np.uint8)
        data = decode.encode_jpeg(image, 90)
        (root / name / f"{number}.jpg").write_bytes(data)
    small = decode.encode_jpeg(decode.shrink(image, 512), 90)
    (root / STORE / f"{number}.jpg").write_bytes(small)


def loader(folder: Path) -> Callable[[], float]:
    """Measures our pipeline over the folder's files, which it puts into a cache."""
    config = teacher_global.get_config()
    config.train.batch_size = BATCH
    config.input.threads = os.cpu_count() or 1
    cache = Cache(folder.parent / f"cache_{folder.name}", 10.0)
    files = sorted(folder.iterdir())
    ids = [records.image_id_of(path.name) for path in files]
    for path, image_id in zip(files, ids, strict=True):
        cache.put(image_id, path.read_bytes())
    size = sum(path.stat().st_size for path in files) / len(files)
    print(f"{folder.name}_kilobytes_an_image {size / 1000:.0f}")
    examples = pipeline.Examples(
        np.resize(np.array([int(name, 16) for name in ids], np.uint64), ROWS),
        np.zeros(ROWS, np.int32),
        np.tile(np.array([[CENTRE.x, CENTRE.y, CENTRE.side]], np.float32), (ROWS, 1)),
    )

    def measure() -> float:
        made = pipeline.make_train(
            config, examples, cache, seed=1, skipped=pipeline.Skipped()
        )
        iterator = iter(made)
        next(iterator)
        start = time.perf_counter()
        for _ in range(len(ids) // BATCH):
            next(iterator)
        return len(ids) // BATCH * BATCH / (time.perf_counter() - start)

    return measure


class Peer:
    """`peer_loader.py` in its own Python; idle between measurements."""

    def __init__(self, python: str, root: Path):
        self._root = root
        self._errors = root / "peer_errors.txt"
        with self._errors.open("w") as errors:
            try:
                self._process = subprocess.Popen(
                    [python, str(Path(__file__).with_name("peer_loader.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            except OSError as error:
                sys.exit(f"the peer does not start: --peer-python={python}: {error}")

    def measure(self, name: str, workers: int) -> float:
        """Images a second over the folder `name`."""
        config = teacher_global.get_config()
        folder = self._root / name
        count = len(list(folder.iterdir()))
        values = (folder, workers, config.model.image_size, config.input.resize, count)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\t".join(map(str, values)) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._died()
        answer = self._process.stdout.readline()
        return json.loads(answer)["images_per_s"] if answer else self._died()

    def _died(self) -> NoReturn:
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        code = self._process.wait()
        lines = self._errors.read_text().split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no message")
        sys.exit(f"the peer ended with code {code}: {last}; see scripts/peer_loader.py")


def one_round(
    ours: dict[str, Callable[[], float]], peer: Peer | None
) -> dict[str, float]:
    """Everything once, ours and the peer's in turns."""
    rates = {}
    for name, measure in ours.items():
        rates[f"ours_{name}"] = measure()
        for workers in WORKERS if peer and name in SIZES else ():
            rates[f"peer_{name}_{workers}_workers"] = peer.measure(name, workers)
    return rates


def report(rounds: list[dict[str, float]], device_ms: float) -> None:
    """Rates and ratios; `device_ms` is what the device's part takes an image."""
    median = {
        name: statistics.median(one[name] for one in rounds) for name in rounds[0]
    }
    for name, rate in median.items():
        print(f"{name}_images_per_s {rate:.0f}")
    for name, goal in GOALS.items():
        of = "2048px" if name == STORE else name
        peers = [rate for key, rate in median.items() if key.startswith(f"peer_{of}_")]
        if not peers:
            continue
        ours = median[f"ours_{name}"]
        print(f"{name}_ratio {ours / max(peers):.2f} >={goal}")
        if jax.devices()[0].platform == "cpu":
            whole = 1 / (1 / ours + device_ms / 1000)
            print(f"{name}_ratio_with_device_work {whole / max(peers):.2f} -")
    platform = jax.devices()[0].platform
    print(f"device_augmentation_ms_an_image_on_{platform} {device_ms:.2f} -")


def device_cost() -> float:
    """Milliseconds an image of what the device does, on this machine's first device."""
    config = teacher_global.get_config()
    side = config.model.image_size
    batch = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)

    @jax.jit
    def on_device(key: jax.Array, images: jax.Array) -> jax.Array:
        unit = device_augment.to_unit(images)
        coloured = device_augment.augment(key, unit, augment=config.augment)
        return device_augment.normalise(
            coloured, mean=config.input.mean, std=config.input.std
        )

    times: list[float] = []
    for seed in range(6):
        start = time.perf_counter()
        on_device(jax.random.key(seed), batch).block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / BATCH * 1000


if __name__ == "__main__":
    main()
