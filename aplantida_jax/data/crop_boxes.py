"""Smart-crop boxes, computed once per image and kept beside the dataset.

`<data_dir>/smart_crop/boxes.bin` is, without gaps and little-endian:

    sha256     32 bytes        of all that follows
    version    uint64          of how boxes are computed, `_VERSION`
    image_id   uint64 [n]      sorted
    box        float32 [n, 3]  x, y, side as in `smart_crop.Box`

Images that join later are added. A file that is damaged, or of another version, is
computed anew.
"""

import concurrent.futures
import hashlib
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files
from aplantida_jax.data import decode, smart_crop
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.progress import track

# To be raised whenever an image gets another box than before: with `smart_crop`'s
# method, the scale that it looks at, or what the decoder makes of a file.
_VERSION = 1
# Saliency looks at 64 x 64; a decode at a quarter or an eighth of a photo is plenty.
_DECODE_SIDE = 96
# Images between two saves: what a kill costs.
_CHUNK = 20_000
# Images that a thread looks at in a row: what is under way when training is stopped.
_BLOCK = 64
_DIGEST, _HEAD, _ROW = 32, 40, 20  # bytes: the hash, with the version, and of an image


def path_of(config: Any) -> Path:
    """The file of the kept boxes."""
    return Path(config.data_dir) / "smart_crop" / "boxes.bin"


def kept(config: Any, image_ids: np.ndarray, images: ImageSource) -> np.ndarray:
    """The boxes of `image_ids` uint64 [n], as float32 [n, 3]; computes what is missing.

    The row of an image that is not there, or does not decode, is NaN, and not kept:
    its box is computed by whoever has the image, with `of_image`.
    """
    path = path_of(config)
    known_ids, known = _load(path)
    missing = np.setdiff1d(image_ids, known_ids)
    for start in range(0, len(missing), _CHUNK):
        logging.info("smart crop: %d images to look at", len(missing) - start)
        found_ids, found = _compute(config, missing[start : start + _CHUNK], images)
        if not len(found_ids):
            continue
        known_ids = np.concatenate([known_ids, found_ids])
        known = np.concatenate([known, found])
        order = np.argsort(known_ids)
        known_ids, known = known_ids[order], known[order]
        _save(path, known_ids, known)
    return _look_up(image_ids, known_ids, known)


def of_image(data: bytes, *, max_pixels: int) -> np.ndarray:
    """The box of an image, float32 [3]: a function of its bytes alone.

    Args:
        data: the file's bytes.
        max_pixels: as for `decode.decode`.

    Raises:
        BrokenImage: it does not decode.
    """
    image = decode.decode(data, max_pixels=max_pixels, min_target_side=_DECODE_SIDE)
    box = smart_crop.saliency_box(image)
    return np.array([box.x, box.y, box.side], np.float32)


def _look_up(ids: np.ndarray, known_ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    boxes = np.full((len(ids), 3), np.nan, np.float32)
    if len(known_ids):
        at = np.minimum(np.searchsorted(known_ids, ids), len(known_ids) - 1)
        there = known_ids[at] == ids
        boxes[there] = known[at[there]]
    return boxes


def _compute(
    config: Any, ids: np.ndarray, images: ImageSource
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of those that can be read: uint64 [m] and float32 [m, 3]."""

    def look(image_id: np.uint64) -> np.ndarray | None:
        data = images.get(f"{int(image_id):016x}")
        try:
            most = config.download.max_pixels
            return None if data is None else of_image(data, max_pixels=most)
        except decode.BrokenImage:
            return None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            blocks = [ids[i : i + _BLOCK] for i in range(0, len(ids), _BLOCK)]
            looked = pool.map(lambda block: [look(one) for one in block], blocks)
            every = itertools.chain.from_iterable(looked)
            boxes = list(track(every, total=len(ids), what="smart crop boxes"))
        except BaseException:
            # Who is stopped leaves after the images under way, not after all of them.
            pool.shutdown(cancel_futures=True)
            raise
    there = [i for i, box in enumerate(boxes) if box is not None]
    return ids[there], np.array([boxes[i] for i in there], np.float32).reshape(-1, 3)


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What is kept: uint64 [n], sorted, and float32 [n, 3]."""
    data = path.read_bytes() if path.exists() else b""
    version = int.from_bytes(data[_DIGEST:_HEAD], "little")
    if data and hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        logging.warning("%s is damaged: computing the boxes anew", path)
    elif data and version != _VERSION:
        logging.info("%s is of version %d: computing the boxes anew", path, version)
    elif data:
        count = (len(data) - _HEAD) // _ROW
        ids = np.frombuffer(data, "<u8", count, _HEAD)
        boxes = np.frombuffer(data, "<f4", 3 * count, _HEAD + 8 * count)
        return ids, boxes.reshape(-1, 3)
    return np.zeros(0, np.uint64), np.zeros((0, 3), np.float32)


def _save(path: Path, ids: np.ndarray, boxes: np.ndarray) -> None:
    content = b"".join(
        [
            _VERSION.to_bytes(_HEAD - _DIGEST, "little"),
            ids.astype("<u8").tobytes(),
            boxes.astype("<f4").tobytes(),
        ]
    )
    files.write_bytes(path, hashlib.sha256(content).digest() + content)
