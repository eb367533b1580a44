"""SIGTERM and Ctrl-C while training: finish the step, save, leave. Twice is safe."""

import os
import signal
import types

from aplantida_jax.errors import UserError


class Interrupt:
    """Inside the block, the two signals set `requested` and do nothing else."""

    def __init__(self) -> None:
        self.requested = 0  # the signal's number; 0 is none

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

    def error(self, saved: str) -> UserError:
        """What to raise once everything is saved; the shell's exit code for signals."""
        name = signal.Signals(self.requested).name
        return UserError(
            f"stopped by {name}: {saved}; run the same command again to go on",
            exit_code=128 + self.requested,
        )
