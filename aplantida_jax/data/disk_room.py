"""Writing to a disk that may be full: wait and try again, rather than fail.

A full disk says nothing of the images, so nothing may be recorded of them: whoever
wants to write waits here, with what it has in hand, until somebody has made room.
"""

import errno
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from absl import logging

from aplantida_jax.errors import UserError

# No space, no quota, and a file larger than the process, or file system, may have.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_T = TypeVar("_T")


class DiskRoom:
    """Shared by all threads that write to one disk."""

    def __init__(
        self,
        where: str,
        *,
        retry_s: float,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ):
        """
        Args:
            where: the disk, for messages.
            retry_s: between two tries.
            patience_s: after which a disk that stays full ends the run.
            clock: monotonic seconds.
            wait: for an event that ends the waiting, so many seconds at most.
        """
        self._where = where
        self._retry_s = retry_s
        self._patience_s = patience_s
        self._clock = clock
        self._wait = wait
        self._full_since: float | None = None
        self._given_up = threading.Event()
        self._lock = threading.Lock()

    def write(self, attempt: Callable[[], _T]) -> _T:
        """What `attempt` returns, once it does not meet a full disk.

        Raises:
            UserError: the disk stayed full; or `close` ended the waiting.
            OSError: anything else that `attempt` raises.
        """
        while True:
            try:
                result = attempt()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._note_full()
            else:
                self._note_room()
                return result
            self._wait(self._given_up, self._retry_s)
            if self._given_up.is_set():
                raise self._error()

    def close(self) -> None:
        """Ends the waiting of all threads."""
        self._given_up.set()

    def _note_full(self) -> None:
        with self._lock:
            now = self._clock()
            if self._full_since is None:
                self._full_since = now
                logging.warning(
                    "the disk of %s is full: pausing, make room and it goes on by "
                    "itself (it tries again every %.0f s, for %.1f hours)",
                    self._where,
                    self._retry_s,
                    self._patience_s / 3600,
                )
            if now - self._full_since >= self._patience_s:
                self.close()
                raise self._error()

    def _note_room(self) -> None:
        # Unlocked: nearly always there is nothing to note.
        if self._full_since is None:
            return
        with self._lock:
            if self._full_since is not None:
                logging.info("the disk of %s has room again", self._where)
                self._full_since = None

    def _error(self) -> UserError:
        return UserError(
            f"the disk of {self._where} is full: make room and run stage 'download' "
            "again, it goes on where it stopped"
        )
