"""Pairs of duplicates for people to look at: named, with addresses and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aplantida_jax import paths
from aplantida_jax.data import decode, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_figures import Pair
from aplantida_jax.data.labels import LabelMap

_SIDE = 240  # pixels of a picture's short side


class Shown(NamedTuple):
    """A pair of pictures.

    Attributes:
        left, right: JPEG bytes.
        names: the species that each is under.
        ids: the images' ids.
        bits: that their perceptual hashes differ in; None for the same bytes.
    """

    left: bytes
    right: bytes
    names: tuple[str, str]
    ids: tuple[str, str]
    bits: int | None


def listed(
    config: Any, pairs: Sequence[Pair], label_map: LabelMap, class_of: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The pairs with names and URLs, for audit.json."""
    if not pairs:
        return []
    wanted = {image_id for pair in pairs for image_id in (pair.left, pair.right)}
    rows = records.read_rows(paths.photos(config), made_by="export_dataset")
    urls = {row["image_id"]: row["url"] for row in rows if row["image_id"] in wanted}
    return [
        {
            "bits": None if pair.exact else pair.bits,
            "images": [
                {
                    "image_id": image_id,
                    "latin_name": label_map.taxa[class_of[image_id]].latin_name,
                    "url": urls[image_id],
                }
                for image_id in (pair.left, pair.right)
            ],
        }
        for pair in pairs
    ]


def shown(
    config: Any, pairs: Sequence[Pair], label_map: LabelMap, class_of: Mapping[str, int]
) -> list[Shown]:
    """Pictures of pairs: up to `audit.thumbnails` of one species, as many of two."""
    most = config.audit.thumbnails
    chosen = [pair for pair in pairs if not pair.same_class][:most]
    chosen += [pair for pair in pairs if pair.same_class][:most]
    if not chosen:
        return []
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    try:
        found = []
        for pair in chosen:
            ids = pair.left, pair.right
            left, right = (_picture(cache, image_id) for image_id in ids)
            if left and right:
                first, second = (
                    label_map.taxa[class_of[image_id]].latin_name for image_id in ids
                )
                bits = None if pair.exact else pair.bits
                found.append(Shown(left, right, (first, second), ids, bits))
        return found
    finally:
        cache.close()


def _picture(cache: Cache, image_id: str) -> bytes:
    """A small JPEG, b"" when the image is no longer in the cache."""
    data = cache.get(image_id)
    if data is None:
        return b""
    try:
        image = decode.decode(data, max_pixels=10**9, min_target_side=_SIDE)
    except decode.BrokenImage:
        return b""
    return decode.encode_jpeg(decode.shrink(image, _SIDE), 80)
