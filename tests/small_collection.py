"""A small collection of real JPEGs, on disk beside its dump or on a server."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from misbehaving_server import MisbehavingServer

from aplantida_jax import paths
from aplantida_jax.data import export_dataset
from aplantida_jax.data.cache import Cache
from configs import dataset
from configs.common import base


def jpeg(seed: int, size: tuple[int, int] = (240, 320), quality: int = 92) -> bytes:
    """A picture like no other seed's."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def document(name: str, urls: Sequence[str], **fields: Any) -> dict[str, Any]:
    """A plant with these images, all of one free licence."""
    images = [{"url": url, "license": "cc-by", "source": "s"} for url in urls]
    return {"_id": name, "latinName": name, "images": images, **fields}


def config_for(root: Path, documents: Sequence[dict[str, Any]]) -> Any:
    """A configuration whose dump, `root/plants.jsonl`, holds `documents`."""
    root.mkdir(parents=True, exist_ok=True)
    dump = root / "plants.jsonl"
    dump.write_text("".join(json.dumps(d) + "\n" for d in documents))
    config = dataset.get_config()
    config.data_dir = str(root / "data")
    config.source.uri = str(dump)
    config.dataset.min_images_per_species = 1
    config.download.update(
        {
            "cache_size_gb": 0.1,
            "requests_per_second": 2000.0,
            "pauses_s": (0.1, 0.2),
            "timeout_s": 5.0,
            "shrink_short_side": 128,
        }
    )
    return config


def served_collection(
    root: Path, server: MisbehavingServer, count: int, more: Sequence[str] = ()
) -> Any:
    """A configuration with `count` images on the server, and further URLs."""
    server.images = {f"{n}.jpg": jpeg(n) for n in range(count)}
    urls = [server.url(f"image/{name}") for name in server.images]
    urls += [server.url(path) for path in more]
    config = config_for(root, [document("Rosa canina", urls)])
    config.download.private_hosts = (server.host,)
    export_dataset.run(config, root)
    return config


def download_command(config: Any) -> list[str]:
    """What runs stage download with this configuration in a process of its own."""
    plain = base("dataset", "download").download
    changed = [name for name in plain if config.download[name] != plain[name]]
    return [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *("--config.stage=download", f"--config.data_dir={config.data_dir}"),
        f"--config.source.uri={config.source.uri}",
        "--config.dataset.min_images_per_species=1",
        *(f"--config.download.{name}={config.download[name]}" for name in changed),
    ]


def by_reason(config: Any) -> dict[str, int]:
    """Photos that are not in the cache, by why, as the last download counted."""
    path = paths.download_dir(config) / "manifest.json"
    return json.loads(path.read_text())["metrics"]["reasons"]


def cached(config: Any) -> dict[str, bytes]:
    """Image id -> bytes, of the whole cache."""
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    contents = {image_id: cache.get(image_id) for image_id in cache.ids()}
    cache.close()
    return contents
