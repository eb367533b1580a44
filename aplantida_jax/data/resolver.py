"""Host names -> addresses, within a time limit, remembered for some minutes.

The system's resolver has no time limit of its own and may be held for half a minute by
a silent name server: it is asked in a thread that nobody waits for longer than allowed.
"""

import concurrent.futures
import dataclasses
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

_LOOK_S = 0.2  # between two looks at whether whoever waits still wants the answer
_KEPT_S = 300.0  # a week's download follows a host that moves, without asking each time

Future = concurrent.futures.Future[list[str]]


@dataclasses.dataclass
class _Lookup:
    """Of one name; `until` is when its answer has to be asked for anew."""

    answer: Future
    until: float = math.inf


class Resolver:
    """Resolves names for any number of threads; one lookup of a name at a time."""

    def __init__(
        self,
        look_up: Callable[..., Any] = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
            look_up: answers as `socket.getaddrinfo` does.
            clock: monotonic seconds.
        """
        self._look_up = look_up
        self._clock = clock
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        self._preferred: dict[tuple[str, int], str] = {}
        self._lock = threading.Lock()

    def resolve(
        self,
        host: str,
        port: int,
        timeout_s: float,
        stopped: Callable[[], bool] = lambda: False,
    ) -> list[str]:
        """The addresses: the preferred one, then in the system's order of preference.

        Raises:
            OSError: the name cannot be resolved, or not within `timeout_s`, or not
                before `stopped` said so.
            UnicodeError: it is no host name.
        """
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is None or lookup.until <= self._clock():
                lookup = self._lookups[host, port] = _Lookup(Future())
                # A daemon: a resolver that hangs must not keep the program from ending.
                threading.Thread(
                    target=self._answer, args=(host, port, lookup), daemon=True
                ).start()
        ends = time.monotonic() + timeout_s
        while not lookup.answer.done():
            wait = ends - time.monotonic()
            if wait <= 0 or stopped():
                raise socket.gaierror(
                    socket.EAI_AGAIN, f"{host} was not resolved in {timeout_s:.1f} s"
                )
            concurrent.futures.wait([lookup.answer], min(wait, _LOOK_S))
        preferred = self._preferred.get((host, port))
        # Sorting is stable: the others stay as they are.
        return sorted(lookup.answer.result(), key=lambda found: found != preferred)

    def prefer(self, host: str, port: int, address: str) -> None:
        """Puts an address that answered first from now on, where it is one of many."""
        self._preferred[host, port] = address

    def _answer(self, host: str, port: int, lookup: _Lookup) -> None:
        try:
            found = self._look_up(host, port, type=socket.SOCK_STREAM)
        except Exception as error:
            # Failures are not remembered: the name may be there a moment later.
            lookup.until = -math.inf
            lookup.answer.set_exception(error)
            return
        lookup.until = self._clock() + _KEPT_S
        addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
        lookup.answer.set_result(list(addresses))
