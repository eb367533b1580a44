"""The same collection gives the same split; a larger one moves as little as it can."""

import collections
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from split_collection import prepared, read, written

from aplantida_jax import paths
from aplantida_jax.data import split
from aplantida_jax.data.records import Photo, image_id_of
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]
LARGE = 60  # photos of a class of which no rule moves anything
SIZES = [LARGE] * 40 + [1, 2, 3, 4, 5, 6] * 5


def places(config: Any) -> dict[str, str]:
    """Image id -> split."""
    found = read(config)
    return {p.image_id: name for name, photos in found.items() for p in photos}


def group_members(config: Any) -> dict[str, frozenset[str]]:
    """Image id -> ids of its group."""
    groups = collections.defaultdict(set)
    for photos in read(config).values():
        for photo in photos:
            groups[photo.group_id].add(photo.image_id)
    return {i: frozenset(members) for members in groups.values() for i in members}


def collection(sizes: list[int], part: str) -> tuple[list[Photo], list[int]]:
    """Photos with observations of up to three, and hashes; a tenth are near others."""
    rng = np.random.default_rng(len(part))
    photos, hashes = [], []
    for class_id, size in enumerate(sizes):
        for number in range(size):
            url = f"{part}/{class_id}/{number}.jpg"
            seen = "" if rng.random() < 0.5 else f"{class_id}-{rng.integers(size)}"
            photos.append(
                Photo(
                    image_id=image_id_of(url),
                    plant_id="p",
                    latin_name=f"Rosa {class_id}",
                    class_id=class_id,
                    url=url,
                    source="s",
                    licence="CC0-1.0",
                    licence_raw="cc0",
                    attribution="",
                    countries=(),
                    regions=(),
                    observation=seen,
                )
            )
            looks = int(rng.integers(0, 1 << 64, dtype=np.uint64))
            if number and rng.random() < 0.1:
                looks = hashes[-1] ^ 1 << int(rng.integers(64))
            hashes.append(looks)
    return photos, hashes


def split_of(directory: Path, photos: list[Photo], hashes: list[int]) -> Any:
    config = dataset.get_config()
    config.data_dir = str(directory)
    written(config, photos, hashes)
    split.run(config, directory)
    return config


def test_additions_move_no_old_photo_but_where_groups_or_small_classes_grow(tmp_path):
    photos, hashes = collection(SIZES, "old")
    before = split_of(tmp_path / "before", photos, hashes)
    # A tenth more of every class, some of it in old observations, and new classes.
    more = [max(1, size // 10) for size in SIZES] + [1, 2, 10]
    new_photos, new_hashes = collection(more, "newer")
    after = split_of(tmp_path / "after", photos + new_photos, hashes + new_hashes)
    old, new = places(before), places(after)
    old_groups, new_groups = group_members(before), group_members(after)
    class_of = {photo.image_id: photo.class_id for photo in photos}
    moved = {image_id for image_id in old if old[image_id] != new[image_id]}
    merged = {i for i in old if old_groups[i] != new_groups[i]}
    assert 20 < len(merged) < 0.2 * len(old)
    assert len(moved) < 0.03 * len(old)
    for image_id in moved - merged:
        assert SIZES[class_of[image_id]] < LARGE


def test_removals_move_no_other_photo(tmp_path):
    photos, hashes = collection([LARGE] * 40, "old")
    before = split_of(tmp_path / "before", photos, hashes)
    kept = [place for place in range(len(photos)) if place % 10]
    after = split_of(
        tmp_path / "after",
        [photos[place] for place in kept],
        [hashes[place] for place in kept],
    )
    old, new = places(before), places(after)
    old_groups, new_groups = group_members(before), group_members(after)
    assert len(new) == 0.9 * len(old)
    for image_id, place in new.items():
        if old_groups[image_id] == new_groups[image_id]:
            assert place == old[image_id]


def test_the_order_of_documents_and_images_does_not_matter(tmp_path):
    found = []
    for order in (None, 1, 2):
        config = prepared(tmp_path / str(order), order)
        split.run(config, tmp_path)
        found.append((places(config), group_members(config)))
    assert found[0] == found[1] == found[2]


def test_every_process_writes_the_same_bytes(tmp_path):
    """Python's hashes of strings differ from process to process."""
    config = prepared(tmp_path / "collection")
    contents = []
    for seed in ("0", "1", "2"):
        command = [
            *(sys.executable, "-m", "aplantida_jax.main"),
            *("--config=configs/dataset.py", "--config.stage=split"),
            *(f"--config.data_dir={config.data_dir}", "--log_level=error"),
        ]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        directories = paths.splits_dir(config).parent
        contents.append(
            {
                path.relative_to(directories): path.read_bytes()
                for path in directories.rglob("dataset_*")
            }
        )
        for path in directories.rglob("manifest.json"):
            path.unlink()  # so that the next one does it again
    assert len(contents[0]) == 12
    assert contents[0] == contents[1] == contents[2]
