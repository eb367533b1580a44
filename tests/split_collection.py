"""A collection that is ready to be split, and what a split of it holds."""

import json
from pathlib import Path
from typing import Any

import cv2
from small_collection import config_for, document, jpeg

from aplantida_jax import paths
from aplantida_jax.data import decode, download, export_dataset, records
from aplantida_jax.data.assignment import SPLITS
from aplantida_jax.data.records import Photo

SPAIN, GERMANY = {"countries": ["ES"]}, {"countries": ["DE"]}


def near_copy(data: bytes, quality: int) -> bytes:
    image = decode.decode(data, max_pixels=10**7)
    smaller = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    return decode.encode_jpeg(smaller, quality)


def prepared(root: Path) -> Any:
    """Exported and downloaded: classes of 1, 2, 3 and more groups, with duplicates."""
    (root / "images").mkdir(parents=True)
    seeds = iter(range(10_000))
    documents = []
    for name, count, grows in (
        ("Rosa una", 1, SPAIN),
        ("Rosa dua", 2, SPAIN),
        ("Rosa tria", 3, GERMANY),
        ("Rosa multa", 40, {"countries": ["ES", "DE"]}),
        ("Rosa nusquam", 12, {"countries": ["BR"]}),
    ):
        urls = []
        for _ in range(count):
            seed = next(seeds)
            copies = {f"{seed}.jpg": jpeg(seed)}
            if seed % 3 == 0:
                copies[f"{seed}_same.jpg"] = jpeg(seed)
            if seed % 4 == 0:
                copies[f"{seed}_near.jpg"] = near_copy(jpeg(seed), 60)
            for file, data in copies.items():
                (root / "images" / file).write_bytes(data)
                urls.append(f"images/{file}")
        documents.append(document(name, urls, distribution=grows))
    # One photo under two names, and three photos of one observation.
    documents[3]["images"].append({"url": "images/shared.jpg", "license": "cc0"})
    documents[4]["images"].append({"url": "images/shared2.jpg", "license": "cc0"})
    for name in ("shared.jpg", "shared2.jpg"):
        (root / "images" / name).write_bytes(jpeg(7777))
    for number in range(3):
        (root / "images" / f"seen{number}.jpg").write_bytes(jpeg(8000 + number))
        documents[3]["images"].append(
            {
                "url": f"images/seen{number}.jpg",
                "license": "cc0",
                "observationId": 99,
            }
        )
    config = config_for(root, documents)
    export_dataset.run(config, root)
    download.run(config, root)
    return config


def read(config: Any, region: str = "") -> dict[str, list[Photo]]:
    return {
        name: list(
            records.read_photos(paths.split_file(config, name, region), made_by="split")
        )
        for name in SPLITS
    }


def stats(config: Any, region: str = "") -> dict[str, Any]:
    return json.loads(paths.split_stats(config, region).read_text())
