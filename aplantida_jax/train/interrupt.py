"""SIGTERM and Ctrl-C while training: finish the step, save, leave. Twice is safe."""

import os
import signal
import types
from collections.abc import Callable

from aplantida_jax.errors import UserError


class Interrupt:
    """Inside the block, the two signals set `requested` and end what may take long."""

    def __init__(self, end_waiting: Callable[[], None] = lambda: None) -> None:
        """`end_waiting` is called by the handler: it takes no lock, and may come twice.

        It ends what would keep the step from being finished, e.g. a host's pause.
        """
        self.requested = 0  # the signal's number; 0 is none
        self._end_waiting = end_waiting

    def __enter__(self) -> "Interrupt":
        self._before = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        self.requested = number
        # Not the logger: the signal may have come while it holds its lock.
        os.write(2, f"{signal.Signals(number).name}: saving, then leaving\n".encode())
        self._end_waiting()

    def error(self, saved: str) -> UserError:
        """What to raise once everything is saved; the shell's exit code for signals."""
        name = signal.Signals(self.requested).name
        return UserError(
            f"stopped by {name}: {saved}; run the same command again to go on",
            exit_code=128 + self.requested,
        )
