"""A small dataset that is ready to train on, for benchmarks.

What the stages before `train` would leave: a label map, drawn photos of a few of its
classes in a real cache, and the splits.
"""

from typing import Any

import cv2
import numpy as np

from aplantida_jax import files, paths
from aplantida_jax.data import labels, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.demo.draw import draw
from aplantida_jax.demo.full_size import latin_name
from aplantida_jax.demo.species import SPECIES

_PHOTOGRAPHED = 12  # classes that have photos
_COUNTRIES, _REGIONS = ("ES",), ("EU_SW",)


def write(
    config: Any, *, classes: int, photos: dict[str, int], size: tuple[int, int]
) -> None:
    """Writes label map, cache, splits and their statistics under `config.data_dir`.

    Args:
        config: of any stage; only its paths are read.
        classes: length of the label map; the first few have photos.
        photos: how many of each split.
        size: (height, width) of a photo in pixels.
    """
    map_of_all = label_map(classes)
    labels.write(paths.classes(config), map_of_all)
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    for split, count in photos.items():
        rng = np.random.default_rng(list(split.encode()))
        rows = []
        for number in range(count):
            taxon = map_of_all.taxa[number % min(_PHOTOGRAPHED, classes)]
            row = _photo(taxon, f"https://photos.example.org/{split}/{number}", size)
            cache.put(row.image_id, _jpeg(taxon.class_id, size, rng))
            rows.append(row)
        rows.sort(key=lambda row: row.image_id)
        records.write_photos(paths.split_file(config, split), rows)
    cache.close()
    licences = {split: {"licences": {"CC0-1.0": n}} for split, n in photos.items()}
    stats = {"label_map": map_of_all.fingerprint, "splits": licences}
    files.write_json(paths.split_stats(config), stats)


def label_map(classes: int) -> labels.LabelMap:
    """Of so many classes."""
    return labels.LabelMap(tuple(_taxon(number) for number in range(classes)))


def plant(number: int) -> np.ndarray:
    """A drawn plant, of the demo's species in turn, uint8 RGB [512, 512, 3]."""
    species = number % len(SPECIES)
    return draw(
        SPECIES[species].traits,
        seed=0,
        species=species,
        observation=number,
        photo=1,
        image_size=512,
    )


def _taxon(class_id: int) -> labels.Taxon:
    name = latin_name(class_id)
    genus = name.partition(" ")[0]
    return labels.Taxon(
        class_id, name, name, name, genus, "", countries=_COUNTRIES, regions=_REGIONS
    )


def _photo(taxon: labels.Taxon, url: str, size: tuple[int, int]) -> records.Photo:
    image_id = records.image_id_of(url)
    return records.Photo(
        image_id=image_id,
        plant_id=f"{taxon.class_id:024x}",
        latin_name=taxon.latin_name,
        class_id=taxon.class_id,
        url=url,
        source="drawn",
        licence="CC0-1.0",
        licence_raw="cc0",
        attribution="",
        countries=taxon.countries,
        regions=taxon.regions,
        height=size[0],
        width=size[1],
        group_id=image_id,
    )


def _jpeg(class_id: int, size: tuple[int, int], rng: np.random.Generator) -> bytes:
    """A disc of the class's colour somewhere on soft noise."""
    height, width = size
    ground = rng.integers(60, 120, (height // 8, width // 8, 3)).astype(np.uint8)
    image = cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC)
    hue = np.uint8([[[180 * class_id // _PHOTOGRAPHED, 200, 220]]])
    colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    centre = [int(rng.integers(side // 3, 2 * side // 3)) for side in (width, height)]
    cv2.circle(image, centre, min(size) // 5, colour, thickness=-1)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
