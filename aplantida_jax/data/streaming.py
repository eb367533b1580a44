"""Training from the network, through the cache: `config.input.stream`.

An image that is not in the cache is asked for when its turn comes, as politely and as
carefully as the stage download asks (its `Keeper`, its rules, journal and claims), put
into the cache and used. One that cannot be had is skipped and counted with the reason;
what the journal says is gone for good is not asked for again, by no run and no epoch.

The order of the images, and the draws of every augmentation, are those of a run without
streaming. Which images are present depends on the network: two streaming runs are the
same only once the cache is full.

A host in a pause costs its images of that moment, not threads asleep for ten minutes:
training goes on with what is in the cache and with other hosts. Yet no more images are
skipped for a pause than come (beside a few): where the cache has little the threads do
wait, rather than rush through epoch after epoch of the same few photos.
"""

import collections
import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax.data import download, fetch, origin
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.disk_room import DiskRoom
from aplantida_jax.data.examine import current
from aplantida_jax.data.fetch import START, Fetched, Trail
from aplantida_jax.data.fill import Done, Item, Keeper
from aplantida_jax.data.host_claims import Claims
from aplantida_jax.data.host_turns import PAUSED, STOPPED, NoTurn, Turns
from aplantida_jax.data.image_source import Stopped, Unavailable
from aplantida_jax.data.journal import OK, TEMPORARY, Journal
from aplantida_jax.data.photo_urls import PhotoUrls
from aplantida_jax.data.schedule import Ticket
from aplantida_jax.data.spared import Spared
from aplantida_jax.errors import UserError

_CREDIT = 64  # images that may be skipped for a pause before any came
_PATIENCE_S = 60.0  # that a thread waits for a host when more were skipped than came
_SAY_S = 60.0


class Stream:
    """An `ImageSource`: the cache of a split, and behind it the photos' hosts."""

    remedy = "see above what their hosts answer, or fill the cache with 'download'"

    def __init__(
        self, config: Any, split_path: Path, cache: Cache, spare: Sequence[str] = ()
    ):
        """
        Args:
            config: `download`, `dataset` and `source` are read.
            split_path: names the photos' URLs.
            cache: stays open after `close`.
            spare: ids of images that none that comes may displace from the cache.

        Raises:
            UserError: the split or the cache is damaged, or the cache was filled with
                other settings.
        """
        self._cache = cache
        self._accept = download.rules(config)
        self._retries = config.download.retries
        self._disk = DiskRoom(
            str(cache.directory),
            retry_s=config.download.disk_retry_s,
            patience_s=config.download.disk_patience_s,
        )
        with contextlib.ExitStack() as stack:
            source = self._open(config, split_path, stack)
            self._resources = stack.pop_all()
        self._fetcher = source.fetcher
        put = Spared(cache, spare).put
        self._keeper = Keeper(source, put, self._accept, self._disk)
        self._lock = threading.Condition()
        self._asking: set[str] = set()
        self._failures: collections.Counter[str] = collections.Counter()
        self._counts: collections.Counter[str] = collections.Counter()
        self._credit = _CREDIT  # each image that comes adds one, up to that
        self._say_at = 0.0
        self._stopped = self._closed = False

    def _open(
        self, config: Any, split_path: Path, stack: contextlib.ExitStack
    ) -> origin.Origin:
        """Opens what `close` lets go of, in turn."""
        self._urls = PhotoUrls(split_path)
        stack.callback(self._urls.close)
        self._journal = Journal(self._cache.directory)
        stack.callback(self._journal.close)
        self._journal.settle(download.kept_as(config))
        claims = Claims(self._cache.directory / "hosts")
        self._turns = Turns(origin.pace(config), claims)
        stack.callback(self._turns.close)
        return stack.enter_context(origin.opened(config, self._urls.example.values()))

    def get(self, image_id: str) -> bytes | None:
        """The file's bytes, verified; None for one that the split does not name.

        Raises:
            Unavailable: it is not in the cache, and cannot be had now.
            Stopped: it is not in the cache, and would have to be asked for.
        """
        data = self._cache.get(image_id)
        if data is None:
            with self._alone(image_id):
                try:
                    url = self._urls.url(image_id)
                except KeyError:
                    return None
                # Another thread may just have got it.
                data = self._cache.get(image_id) or self._fetched(image_id, url)
        with self._lock:
            self._credit = min(_CREDIT, self._credit + 1)
        return data

    def counts(self) -> dict[str, int]:
        """How many images came ("ok"), and how many did not for which reason."""
        with self._lock:
            return dict(self._counts)

    def stop(self) -> None:
        """Asks for nothing more, also if a thread waits for its turn just now.

        What is in the cache is still read; for what is not, `get` raises `Stopped`.
        May be called by a signal's handler.
        """
        self._stopped = True
        self._turns.stop()
        self._disk.close()

    def close(self) -> None:
        """Ends the requests under way and lets go of hosts and files."""
        self.stop()
        self._fetcher.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # Threads inside `get` leave first: they need the journal.
            self._lock.wait_for(lambda: not self._asking)
        self._resources.close()
        if self._counts:
            logging.info("streamed: %s", self._summary())

    def _fetched(self, image_id: str, url: str) -> bytes:
        """Asks for an image that is not in the cache."""
        try:
            reason = self._ask(image_id, url)
        except NoTurn as error:
            if error.reason == STOPPED:
                raise Stopped from None
            reason = error.reason
            self._pay()
        except UserError:
            # To stop also ends the waiting for a full disk, as an error of the disk's.
            if self._stopped:
                raise Stopped from None
            raise
        # A cache that is too small has it no more: it goes to somebody else's.
        data = None if reason else self._cache.get(image_id)
        self._count(OK if data is not None else reason or "cache_size")
        if data is None:
            raise Unavailable(reason or "cache_size")
        return data

    @contextlib.contextmanager
    def _alone(self, image_id: str) -> Iterator[None]:
        """Of several threads that want an image one asks."""
        with self._lock:
            self._lock.wait_for(lambda: self._closed or image_id not in self._asking)
            if self._closed:
                raise Stopped
            self._asking.add(image_id)
        try:
            yield
        finally:
            with self._lock:
                self._asking.discard(image_id)
                self._lock.notify_all()

    def _ask(self, image_id: str, url: str) -> str:
        """Asks for an image; "" once it is in the cache, else why it is not."""
        reason = self._settled(image_id)
        if reason:
            return reason
        trail = START
        while True:
            name = origin.host_of(trail.url or url)
            ticket = self._turns.take(
                name,
                wanted=lambda: not (image_id in self._cache or self._settled(image_id)),
                patience_s=0.0 if self._credit > 0 else _PATIENCE_S,
            )
            if ticket is None:
                return self._settled(image_id)
            done = self._perform((image_id, url), trail, name, ticket)
            if done.fetched.outcome != fetch.MOVED:
                return self._note(image_id, done)
            trail = done.fetched.trail

    def _settled(self, image_id: str) -> str:
        """Why an image is not asked for, as far as is known; "" when it may be."""
        with self._lock:
            known = self._journal.outcomes_of([image_id]).get(image_id)
            failures = self._failures[image_id]
        settled = current(known, self._accept, cached=False)
        if settled is None and known is not None and failures > self._retries:
            settled = known
        return settled.reason if settled is not None else ""

    def _perform(self, item: Item, trail: Trail, name: str, ticket: Ticket) -> Done:
        fetched = Fetched(fetch.TEMPORARY, STOPPED)
        try:
            done = self._keeper.perform(item, trail)
            fetched = done.fetched
            return done
        finally:
            self._turns.give_back(name, ticket, fetched)

    def _note(self, image_id: str, done: Done) -> str:
        """Writes an outcome down; why there is no image, "" when there is."""
        outcome = done.outcome
        if done.fetched.outcome == fetch.THROTTLED:
            raise NoTurn(PAUSED)  # says nothing of the image
        if outcome.status != OK and self._stopped:
            raise NoTurn(STOPPED)  # nor does a request that was cut off
        with self._lock:
            self._disk.write(functools.partial(self._journal.record, [outcome]))
            if outcome.status == TEMPORARY:
                self._failures[image_id] += 1
        return "" if outcome.status == OK else outcome.reason

    def _pay(self) -> None:
        """An image is held up by its host."""
        with self._lock:
            spent = self._credit == 1
            self._credit = max(0, self._credit - 1)
        if spent:
            logging.warning(
                "more images are held up by their hosts than come from the cache: "
                "training waits for the hosts"
            )

    def _count(self, what: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._counts[what] += 1
            if now < self._say_at:
                return
            self._say_at = now + _SAY_S
            summary = self._summary()
        logging.info("streaming: %s", summary)

    def _summary(self) -> str:
        counts = dict(self._counts)
        came = counts.pop(OK, 0)
        skipped = ", ".join(f"{count} {why}" for why, count in sorted(counts.items()))
        return f"{came} images came" + (f"; skipped: {skipped}" if skipped else "")
