"""Which process asks which host: one at a time, whatever several downloads do.

A host's pace and pauses are kept in memory by whoever asks it, so two processes that
asked the same host would be twice as fast as it allows. Each host has a file with the
kernel's lock on it, which ends with its process, however that ends. The file also
holds the host's last pause: whoever comes next, also after a kill, goes on in it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from aplantida_jax.data import cache_directory

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MOST_BYTES = 4096
_FORGOTTEN_S = 3600.0  # after the end of a pause: the ladder starts anew


@dataclasses.dataclass(frozen=True)
class Pause:
    """What is left of a host's pause.

    Attributes:
        seconds: that nothing may be asked.
        step: of the ladder of pauses, which the next one takes.
    """

    seconds: float = 0.0
    step: int = 0


class Claims:
    """This process's claims on hosts, among those who share a directory."""

    def __init__(
        self, directory: Path | None, clock: Callable[[], float] = time.monotonic
    ):
        """
        Args:
            directory: for the files; None shares with nobody, every claim succeeds.
            clock: monotonic seconds, the same in all processes since the machine's
                start, as CLOCK_MONOTONIC is.

        Raises:
            UserError: the directory cannot be made.
        """
        self._directory = directory
        self._clock = clock
        self._held: dict[str, int] = {}
        # After a restart of the machine the clock is another one.
        self._boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        if directory is not None:
            with cache_directory.usable(directory):
                directory.mkdir(parents=True, exist_ok=True)

    def claim(self, host: str) -> Pause | None:
        """Takes a host; None while another process, or other claims, have it.

        Returns:
            The pause that its last owner was in.
        """
        if self._directory is None:
            return Pause()
        handle = os.open(self._path(host), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        self._held[host] = handle
        pause = self._pause(_read(handle))
        self.note(host, pause)
        return pause

    def note(self, host: str, pause: Pause) -> None:
        """Writes a held host's pause down for whoever comes next."""
        if host not in self._held:
            return
        until = self._clock() + pause.seconds
        state = {"host": host, "process": os.getpid(), "boot": self._boot}
        state |= {"paused_until": until, "step": pause.step}
        text = json.dumps(state).encode()
        # One write, never half of it: whoever reads while it happens sees old or new.
        # A disk that is full loses the note, not the claim.
        with contextlib.suppress(OSError):
            os.pwrite(self._held[host], text.ljust(_MOST_BYTES), 0)

    def release(self, host: str) -> None:
        """Lets a host go; nothing when it is not held."""
        handle = self._held.pop(host, None)
        if handle is not None:
            os.close(handle)

    def holder(self, host: str) -> str:
        """Who has it, or had it last, for a message."""
        if self._directory is None:
            return "nobody"
        try:
            state = json.loads(self._path(host).read_bytes())
            return f"process {state['process']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def close(self) -> None:
        """Lets all hosts go."""
        for host in list(self._held):
            self.release(host)

    def _path(self, host: str) -> Path:
        assert self._directory is not None
        return self._directory / hashlib.sha256(host.encode()).hexdigest()[:16]

    def _pause(self, state: dict[str, object]) -> Pause:
        until, step = state.get("paused_until"), state.get("step")
        known = isinstance(until, int | float) and isinstance(step, int)
        if not known or state.get("boot") != self._boot:
            return Pause()
        assert isinstance(until, int | float)
        assert isinstance(step, int)
        seconds = until - self._clock()
        if seconds < -_FORGOTTEN_S:
            return Pause()
        return Pause(max(0.0, seconds), step)


def _read(handle: int) -> dict[str, object]:
    """What a host's file says; {} when that is nothing."""
    try:
        state = json.loads(os.pread(handle, _MOST_BYTES, 0))
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}
