"""Small squares of photos from the cache, as data URIs for the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import paths
from aplantida_jax.data import decode
from aplantida_jax.data.cache import Cache
from aplantida_jax.reporting import markup

_SIDE = 168  # pixels: twice what the page shows
_QUALITY = 78


class Thumbnails:
    """Makes thumbnails by image id; what is no longer in the cache is None."""

    def __init__(self, config: Any):
        """Opens the cache when there is one; never makes one."""
        directory = paths.cache_dir(config)
        self._max_pixels = config.download.max_pixels
        self._cache = None
        if directory.is_dir():
            self._cache = Cache(directory, config.download.cache_size_gb)

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()

    def uri(self, image_id: str) -> str | None:
        """A JPEG of the photo's central square, or None."""
        data = self._cache.get(image_id) if self._cache is not None else None
        return None if data is None else self._square(data)

    def uri_of(self, path: Path) -> str | None:
        """The same of a picture that is no photo of the cache."""
        return self._square(path.read_bytes()) if path.is_file() else None

    def _square(self, data: bytes) -> str | None:
        try:
            image = decode.decode(
                data, max_pixels=self._max_pixels, min_target_side=_SIDE
            )
        except decode.BrokenImage:
            return None
        square = decode.shrink(_central_square(image), _SIDE)
        return markup.data_uri(decode.encode_jpeg(square, _QUALITY), "jpeg")


def typical(
    evaluation: Path, class_id: int, *, limit: int, beside: Sequence[str] = ()
) -> list[str]:
    """Ids of the photos of a class that were recognised with the most confidence.

    One of a group: the others are the same observation, or nearly the same picture.

    Args:
        evaluation: directory of an evaluation, with predictions.npz.
        class_id: the class.
        limit: ids at most.
        beside: ids of photos that are shown with them; nothing of their groups.
    """
    path = evaluation / "predictions.npz"
    if not path.exists():
        return []
    with np.load(path, allow_pickle=False) as stored:
        right = (stored["label"] == class_id) & (stored["top_class"][:, 0] == class_id)
        confidence = stored["top_probability"][right, 0]
        ids, group = stored["image_id"][right], stored["group"][right]
        shown = [int(image_id, 16) for image_id in beside]
        seen = set(stored["group"][np.isin(stored["image_id"], shown)].tolist())
    found: list[str] = []
    for place in np.argsort(-confidence, kind="stable"):
        if len(found) < limit and int(group[place]) not in seen:
            seen.add(int(group[place]))
            found.append(f"{int(ids[place]):016x}")
    return found


def _central_square(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(image[top : top + side, left : left + side])
