"""A cache in which some images stay, however many others go through it."""

import threading
from collections.abc import Sequence

from aplantida_jax.data.cache import Cache, CacheFull


class Spared:
    """Puts images into a cache at the cost of any others than the spared ones.

    They are counted as used, and nothing used since is evicted. Once that is all there
    is they are counted as used again, which sets free what came in between.
    """

    def __init__(self, cache: Cache, image_ids: Sequence[str]):
        self._cache = cache
        self._image_ids = image_ids
        self._since = cache.use_now(image_ids)
        self._lock = threading.Lock()

    def put(self, image_id: str, data: bytes) -> bool:
        """As `Cache.put`; raises CacheFull when there is no room beside the spared."""
        while True:
            since = self._since
            try:
                return self._cache.put(image_id, data, spare_since=since)
            except CacheFull:
                if self._room_after(since) < len(data):
                    raise

    def _room_after(self, since: int) -> int:
        """Bytes that can be had; of several threads with one tick one renews it."""
        with self._lock:
            if self._since == since:
                self._since = self._cache.use_now(self._image_ids)
            return self._cache.room(self._since)
