"""A split that is evaluated is needed whole: what the cache lacks of it is fetched."""

import collections
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax.data import download, origin
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.examine import current
from aplantida_jax.data.fill import Filling, Item
from aplantida_jax.data.journal import Journal
from aplantida_jax.data.photo_urls import PhotoUrls
from aplantida_jax.errors import UserError

_NO_ROOM = ("cache_full", "cache_size")  # why an image was not kept


class Whole:
    """An `ImageSource`: the cache, in which all of a split is, and is to stay."""

    remedy = (
        "run the same command again, which fetches it first; when another run takes "
        "it from the cache each time, raise --config.download.cache_size_gb for both"
    )

    def __init__(self, cache: Cache, image_ids: Sequence[str]):
        """`image_ids` is the split's."""
        self.image_ids = image_ids
        self._cache = cache

    def get(self, image_id: str) -> bytes | None:
        """The file's bytes, verified, or None when it was lost meanwhile."""
        return self._cache.get(image_id)


def complete(config: Any, split_path: Path, cache: Cache) -> Whole:
    """Fetches what the cache lacks of a split, as the stage download does.

    Raises:
        UserError: an image cannot be had: a metric over the others would not be the
            split's; the cache has no room for two training batches beside the split;
            the split or the cache is damaged; the disk stayed full.
    """
    with (
        contextlib.closing(PhotoUrls(split_path)) as urls,
        contextlib.closing(Journal(cache.directory)) as journal,
    ):
        filling = Filling(config, download.rules(config), cache, journal)
        journal.settle(download.kept_as(config))
        wanted = [f"{number:016x}" for number in urls.image_id.tolist()]
        todo = _to_fetch(config, wanted, urls, cache, journal)
        if todo:
            count = sum(map(len, todo.values()))
            logging.info("%s: %d images to fetch first", split_path.name, count)
            spare_since = cache.use_now([name for name in wanted if name in cache])
            filling.run(todo, spare_since, 0.0).summarise()
        there = [name for name in wanted if name in cache]
        known = journal.outcomes_of(set(wanted).difference(there))
    reasons = collections.Counter(outcome.reason for outcome in known.values())
    _require_room(config, split_path, cache, there, len(wanted), reasons)
    if len(there) < len(wanted):
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise UserError(
            f"{len(wanted) - len(there)} images of {split_path} cannot be had ({why}): "
            "try again later; or, for those that are gone, run stage 'download' with "
            "--config.download.limit=0, which asks for nothing, and then 'split'"
        )
    return Whole(cache, wanted)


def _require_room(
    config: Any,
    split_path: Path,
    cache: Cache,
    there: list[str],
    count: int,
    reasons: collections.Counter[str],
) -> None:
    """Refuses a cache without room for the split's `count` images and some others.

    These are two training batches, taken to be as large as the split's images are.
    """
    used = cache.limit - cache.room(cache.use_now(there))
    needed = used / max(1, len(there)) * (count + 2 * config.train.batch_size)
    if needed > cache.limit or not reasons.keys().isdisjoint(_NO_ROOM):
        raise UserError(
            f"{cache.directory} has no room for the images of {split_path}, which stay "
            "there, and two training batches: set --config.download.cache_size_gb "
            f"above {max(needed, cache.limit) / 1e9:.3g}"
        )


def _to_fetch(
    config: Any, wanted: list[str], urls: PhotoUrls, cache: Cache, journal: Journal
) -> dict[str, list[Item]]:
    """Host -> what to ask of it."""
    accept = download.rules(config)
    missing = [image_id for image_id in wanted if image_id not in cache]
    known = journal.outcomes_of(missing)
    todo: dict[str, list[Item]] = collections.defaultdict(list)
    for image_id in missing:
        if current(known.get(image_id), accept, cached=False) is None:
            url = urls.url(image_id)
            todo[origin.host_of(url)].append((image_id, url))
    return todo
