"""A split that is evaluated is needed whole: what the cache lacks of it is fetched."""

import collections
import contextlib
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


def complete(config: Any, split_path: Path, cache: Cache) -> None:
    """Fetches what the cache lacks of a split, as the stage download does.

    Raises:
        UserError: an image cannot be had: a metric over the others would not be the
            split's; the split or the cache is damaged; the disk stayed full.
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
        missing = [name for name in wanted if name not in cache]
        known = journal.outcomes_of(missing)
    if missing:
        reasons = collections.Counter(outcome.reason for outcome in known.values())
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise UserError(
            f"{len(missing)} images of {split_path} cannot be had ({why}): try again "
            "later; or, for those that are gone, run stage 'download' with "
            "--config.download.limit=0, which asks for nothing, and then 'split'"
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
