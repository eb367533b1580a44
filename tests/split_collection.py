"""A collection that is ready to be split, and what a split of it holds."""

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from small_collection import config_for, document, jpeg

from aplantida_jax import files, paths
from aplantida_jax.data import decode, download, export_dataset, labels, records
from aplantida_jax.data.assignment import SPLITS
from aplantida_jax.data.journal import OK, Outcome
from aplantida_jax.data.labels import Taxon
from aplantida_jax.data.records import Photo

SPAIN, GERMANY = {"countries": ["ES"]}, {"countries": ["DE"]}


def near_copy(data: bytes, quality: int) -> bytes:
    image = decode.decode(data, max_pixels=10**7)
    smaller = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    return decode.encode_jpeg(smaller, quality)


def prepared(root: Path, order: int | None = None) -> Any:
    """Exported and downloaded: classes of 1, 2, 3 and more groups, with duplicates.

    `order` seeds another order of the documents and of their images.
    """
    (root / "images").mkdir(parents=True)
    documents = _documents(root)
    if order is not None:
        shuffle = random.Random(order).shuffle
        shuffle(documents)
        for plant in documents:
            shuffle(plant["images"])
    config = config_for(root, documents)
    export_dataset.run(config, root)
    download.run(config, root)
    return config


def _documents(root: Path) -> list[dict[str, Any]]:
    """Writes the images beside the dump-to-be."""
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
    _add_shared(root, documents[3]["images"], documents[4]["images"])
    return documents


def _add_shared(root: Path, multa: list[Any], nusquam: list[Any]) -> None:
    """One photo under two names, and three photos of one observation."""
    for own, name in ((multa, "shared.jpg"), (nusquam, "shared2.jpg")):
        (root / "images" / name).write_bytes(jpeg(7777))
        own.append({"url": f"images/{name}", "license": "cc0"})
    for number in range(3):
        file = f"images/seen{number}.jpg"
        (root / file).write_bytes(jpeg(8000 + number))
        multa.append({"url": file, "license": "cc0", "observationId": 99})


def written(config: Any, photos: Sequence[Photo], phash: Sequence[int]) -> None:
    """Writes photos, their label map and their index; each photo is of other bytes.

    For what depends on keys alone, where pictures would be a matter of minutes.
    """
    ordered = sorted(zip(photos, phash, strict=True), key=lambda pair: pair[0].image_id)
    records.write_photos(paths.photos(config), (photo for photo, _ in ordered))
    names = {photo.class_id: photo.latin_name for photo in photos}
    taxa = [
        Taxon(number, names[number], "", "", "", "", (), ())
        for number in range(len(names))
    ]
    labels.write(paths.classes(config), labels.LabelMap(tuple(taxa)))
    outcomes = (
        Outcome(photo.image_id, OK, sha256=photo.image_id, phash=f"{bits:016x}")
        for photo, bits in ordered
    )
    rows = map(dataclasses.asdict, outcomes)
    files.write_jsonl(paths.download_index(config), rows)


def read(config: Any, region: str = "") -> dict[str, list[Photo]]:
    return {
        name: list(
            records.read_photos(paths.split_file(config, name, region), made_by="split")
        )
        for name in SPLITS
    }


def stats(config: Any, region: str = "") -> dict[str, Any]:
    return json.loads(paths.split_stats(config, region).read_text())
