"""What a download would cost: images, GB, hours, and whether the cache can hold it."""

import dataclasses
from typing import Any

from absl import logging

from aplantida_jax.data.cache import Cache
from aplantida_jax.data.journal import Journal

# Where nothing is known yet: the mean original of the plan's collection, and a JPEG of
# quality 90 as bytes per pixel of its square.
_MEAN_BYTES = 1.46e6
_JPEG_BYTES_PER_PIXEL = 0.4
_SHOWN_HOSTS = 5


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        todo: host -> (image id, URL) of what is to be asked of it.
        cached: ids of the dataset's images that are in the cache.
    """

    todo: dict[str, list[tuple[str, str]]]
    cached: list[str]

    @property
    def count(self) -> int:
        """Images to be asked for."""
        return sum(map(len, self.todo.values()))


class Estimate:
    """Of a plan, by what earlier runs have seen."""

    def __init__(
        self,
        config: Any,
        plan: Plan,
        cache: Cache | None = None,
        journal: Journal | None = None,
    ):
        self._config = config
        self._plan = plan
        side = config.download.shrink_short_side
        seen = journal.mean_bytes() if journal else 0.0
        self.is_measured = bool(seen)
        self.mean_bytes = seen or _MEAN_BYTES
        shrunk = side * side * _JPEG_BYTES_PER_PIXEL if side else self.mean_bytes
        # What an image is likely to take in the cache.
        self.mean_kept = min(self.mean_bytes, shrunk)
        if cache is not None and len(cache):
            self.mean_kept = cache.size / len(cache)

    @property
    def kept_bytes(self) -> float:
        """Of the dataset's images in the cache, when all are there."""
        return (self._plan.count + len(self._plan.cached)) * self.mean_kept

    def hours(self) -> float:
        """At the configured rate: the slowest host, or all by turns."""
        download = self._config.download
        longest = max(map(len, self._plan.todo.values()), default=0)
        by_turns = self._plan.count / download.parallel_hosts
        return max(longest, by_turns) / download.requests_per_second / 3600

    def log(self) -> None:
        """Says it, for --dry_run."""
        download, plan = self._config.download, self._plan
        logging.info(
            "dry run: %d images to ask of %d hosts, %d are there: %.1f GB to transfer "
            "(%s %.2f MB an image), %.1f GB in the cache then (limit %.1f GB), at "
            "least %.1f hours at %.1f requests/s per host, more where hosts pause us",
            plan.count,
            len(plan.todo),
            len(plan.cached),
            plan.count * self.mean_bytes / 1e9,
            "as measured," if self.is_measured else "not measured yet, taken to be",
            self.mean_bytes / 1e6,
            self.kept_bytes / 1e9,
            download.cache_size_gb,
            self.hours(),
            download.requests_per_second,
        )
        longest = sorted(plan.todo.items(), key=lambda entry: -len(entry[1]))
        for host, items in longest[:_SHOWN_HOSTS]:
            hours = len(items) / download.requests_per_second / 3600
            name = host or "beside the dump"
            logging.info("dry run: %s: %d images, %.1f hours", name, len(items), hours)
        self.warn_if_too_large()

    def warn_if_too_large(self) -> None:
        """Says so when the cache cannot hold the dataset."""
        limit = self._config.download.cache_size_gb
        if self.kept_bytes > limit * 1e9:
            logging.warning(
                "the images are likely to take %.1f GB, the cache may hold %.1f GB: "
                "about %d of them will not be asked for; raise "
                "--config.download.cache_size_gb",
                self.kept_bytes / 1e9,
                limit,
                (self.kept_bytes - limit * 1e9) / self.mean_kept,
            )
