"""Smart-crop boxes, computed once per image and kept beside the dataset.

`<data_dir>/smart_crop/boxes.npz` holds image_id uint64 [n], sorted, and box float32
[n, 3] (x, y, side as in `smart_crop.Box`). Images that join later are added.
"""

import concurrent.futures
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files
from aplantida_jax.data import decode, smart_crop
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.progress import track

# Saliency looks at 64 x 64; a decode at a quarter or an eighth of a photo is plenty.
_DECODE_SIDE = 96
# Images between two saves: what a kill costs.
_CHUNK = 20_000


def kept(config: Any, image_ids: np.ndarray, images: ImageSource) -> np.ndarray:
    """The boxes of `image_ids` uint64 [n], as float32 [n, 3]; computes what is missing.

    An image that is not there or does not decode gets the centre box and is not
    kept, so that it is looked at again once it is there.
    """
    path = Path(config.data_dir) / "smart_crop" / "boxes.npz"
    known_ids, known = _load(path)
    missing = np.setdiff1d(image_ids, known_ids)
    for start in range(0, len(missing), _CHUNK):
        logging.info("smart crop: %d images to look at", len(missing) - start)
        found_ids, found = _compute(config, missing[start : start + _CHUNK], images)
        known_ids = np.concatenate([known_ids, found_ids])
        known = np.concatenate([known, found])
        order = np.argsort(known_ids)
        known_ids, known = known_ids[order], known[order]
        _save(path, known_ids, known)
    return _look_up(image_ids, known_ids, known)


def _look_up(ids: np.ndarray, known_ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    centre = np.array(_row(smart_crop.CENTRE), np.float32)
    boxes = np.tile(centre, (len(ids), 1))
    if len(known_ids):
        at = np.minimum(np.searchsorted(known_ids, ids), len(known_ids) - 1)
        there = known_ids[at] == ids
        boxes[there] = known[at[there]]
    return boxes


def _compute(
    config: Any, ids: np.ndarray, images: ImageSource
) -> tuple[np.ndarray, np.ndarray]:
    def look(image_id: np.uint64) -> tuple[float, float, float] | None:
        data = images.get(f"{int(image_id):016x}")
        if data is None:
            return None
        try:
            image = decode.decode(
                data,
                max_pixels=config.download.max_pixels,
                min_target_side=_DECODE_SIDE,
            )
        except decode.BrokenImage:
            return None
        return _row(smart_crop.saliency_box(image))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(track(pool.map(look, ids), total=len(ids), what="smart crop boxes"))
    there = [i for i, row in enumerate(rows) if row is not None]
    boxes = np.array([rows[i] for i in there], np.float32).reshape(-1, 3)
    return ids[there], boxes


def _row(box: smart_crop.Box) -> tuple[float, float, float]:
    return box.x, box.y, box.side


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        # From memory: of a damaged file numpy would leave the handle open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return stored["image_id"], stored["box"]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logging.warning("%s is damaged (%s): computing the boxes anew", path, error)
    return np.zeros(0, np.uint64), np.zeros((0, 3), np.float32)


def _save(path: Path, ids: np.ndarray, boxes: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, image_id=ids, box=boxes)
    files.write_bytes(path, buffer.getvalue())
