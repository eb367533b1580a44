"""SIGTERM and Ctrl-C while training: finish the step, save, leave. Twice is safe."""

import contextlib
import os
import signal
import types
from collections.abc import Callable, Iterator

from aplantida_jax.errors import UserError


class Interrupt:
    """Inside the block, the two signals end it at once, or while `deferred` in order.

    At once means with the `error` below, wherever the code is: for what writes its
    files whole, and has nothing to save.
    """

    def __init__(self) -> None:
        self.requested = 0  # the signal's number; 0 is none
        self._is_deferred = False
        self._end_waiting: Callable[[], None] | None = None

    def __enter__(self) -> "Interrupt":
        self._before = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt and self.requested:
            raise self.error("no step was under way") from None

    @contextlib.contextmanager
    def deferred(self, end_waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """In the block the signals only set `requested`, which it looks at.

        Args:
            end_waiting: ends what would keep a step from being finished, e.g. a host's
                pause. The handler calls it: it takes no lock, and may come twice.
        """
        self._end_waiting = end_waiting
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _request(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        self.requested = number
        what = "saving, then leaving" if self._is_deferred else "leaving"
        # Not the logger: the signal may have come while it holds its lock.
        os.write(2, f"{signal.Signals(number).name}: {what}\n".encode())
        if not self._is_deferred:
            # Not the error itself: libraries catch every Exception.
            raise KeyboardInterrupt
        if self._end_waiting is not None:
            self._end_waiting()

    def error(self, saved: str) -> UserError:
        """What to raise once everything is saved; the shell's exit code for signals."""
        name = signal.Signals(self.requested).name
        return UserError(
            f"stopped by {name}: {saved}; run the same command again to go on",
            exit_code=128 + self.requested,
        )
