"""What the browser is compared with: photos as files, their pixels, and two models."""

import collections
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aplantida_jax import paths
from aplantida_jax.data import decode, records, transforms
from aplantida_jax.data.cache import Cache
from aplantida_jax.errors import UserError
from aplantida_jax.export import graph

SPLITS = ("test", "val")  # in this order, until there are enough photos
_BATCH = 25  # images at a time through the flax model


def read_photos(config: Any, wanted: int) -> tuple[dict[str, bytes], dict[str, int]]:
    """The first `wanted` photos of the test split, then val, that are in the cache.

    Returns:
        ({image id: bytes of the file}, {split: photos taken from it}).

    Raises:
        UserError: there are fewer.
    """
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    found: dict[str, bytes] = {}
    taken: collections.Counter[str] = collections.Counter()
    for split in SPLITS:
        path = paths.split_file(config, split)
        for photo in records.read_photos(path, made_by="split"):
            # Read to the end in any case: only there is the file known to be whole.
            if len(found) < wanted and (data := cache.get(photo.image_id)):
                found[photo.image_id] = data
                taken[split] += 1
    cache.close()
    if len(found) < wanted:
        raise UserError(
            f"only {len(found)} photos of {' and '.join(SPLITS)} are in the cache, but "
            f"config.export.validation_images={wanted}: run stage 'download', or ask "
            "for fewer"
        )
    return found, dict(taken)


def pixels_of(
    photos: Iterable[bytes], *, shape: Mapping[str, int], max_pixels: int
) -> np.ndarray:
    """Image files -> uint8 [n, size, size, 3], as evaluation prepares them.

    `shape` is {"size", "resize"}; `max_pixels` is `config.download.max_pixels`.
    """
    return np.stack(
        [
            transforms.evaluation_view(
                decode.decode(data, max_pixels=max_pixels),
                image_size=shape["size"],
                resize=shape["resize"],
            )
            for data in photos
        ]
    )


def flax_logits(
    module: Any, variables: Any, info: Mapping[str, Any], pixels: np.ndarray
) -> np.ndarray:
    """Logits [n, classes] of a trained module, in float32, on uint8 `pixels`.

    `info` is its best.json.
    """
    mean = jnp.asarray(info["input"]["mean"], jnp.float32)
    std = jnp.asarray(info["input"]["std"], jnp.float32)
    exact = module.clone(dtype="float32")

    @jax.jit
    def apply(batch: jax.Array) -> jax.Array:
        return exact.apply(variables, (batch / 255.0 - mean) / std, train=False)

    chunks = []
    for start in range(0, len(pixels), _BATCH):
        chunk = pixels[start : start + _BATCH]
        # One shape, one compilation: the last chunk is filled up with its own images.
        full = np.resize(chunk, (_BATCH, *chunk.shape[1:])).astype(np.float32)
        chunks.append(np.asarray(apply(full))[: len(chunk)])
    return np.concatenate(chunks)


def saved_model_logits(directory: Path, pixels: np.ndarray) -> np.ndarray:
    """Logits [n, classes] of a SavedModel, one image at a time as it wants them."""
    tf = graph.import_tensorflow()
    answer = tf.saved_model.load(str(directory)).signatures["serving_default"]
    images = (tf.constant(image[None], tf.float32) for image in pixels)
    return np.concatenate(
        [answer(**{graph.INPUT: image})[graph.OUTPUT].numpy() for image in images]
    )
