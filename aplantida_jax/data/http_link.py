"""A connection to one host, at an address that the guard has checked, on a clock.

`http.client` speaks HTTP; the socket below is ours: every receive gets what is left of
the answer's allowance, so that a byte now and then does not keep it alive.
"""

import contextlib
import http.client
import math
import socket
import ssl
import time
from typing import Any

from aplantida_jax.data.addresses import Guard

# What a connection that the host has closed meanwhile raises when it is used again.
STALE = (ConnectionError, http.client.BadStatusLine, ssl.SSLError)


class TooSlow(TimeoutError):
    """The answer comes at less than the least rate."""


class Allowance:
    """How long one answer may take: until a deadline, and at no less than a rate.

    The rate is that of all bytes since the request was sent, its head included, and is
    asked for once `grace_s` has passed.
    """

    def __init__(self, deadline: float, bytes_per_second: float, grace_s: float):
        """`deadline` is of time.monotonic; 0 bytes per second ask for no rate."""
        self.deadline = deadline
        self._rate = bytes_per_second
        self._bytes = 0
        self._grace_ends = time.monotonic() + grace_s

    def add(self, count: int) -> None:
        """Notes that `count` bytes came."""
        self._bytes += count

    def left(self) -> float:
        """Seconds that the next bytes may take.

        Raises:
            TimeoutError: the deadline has passed.
            TooSlow: fewer bytes came than the rate asks for.
        """
        now = time.monotonic()
        if now >= self.deadline:
            raise TimeoutError("deadline")
        due = self._due()
        if now >= due:
            raise TooSlow(f"{self._bytes} bytes")
        return min(due, self.deadline) - now

    def expired(self) -> TimeoutError:
        """The error for a receive that was given all of `left`."""
        return TooSlow() if self._due() < self.deadline else TimeoutError("deadline")

    def _due(self) -> float:
        if not self._rate:
            return math.inf
        return self._grace_ends + self._bytes / self._rate


class _Timed(socket.socket):
    """A socket whose every receive ends with `allowance`."""

    allowance: Allowance

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.allowance.left())
        try:
            count = super().recv_into(*args, **kwargs)
        except TimeoutError:
            raise self.allowance.expired() from None
        self.allowance.add(count)
        return count


class _TimedTLS(_Timed, ssl.SSLSocket):
    """The same over TLS."""


def left(deadline: float) -> float:
    """Seconds until `deadline`; raises TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("deadline")
    return seconds


def tls_context() -> ssl.SSLContext:
    """Verifies certificates; its sockets keep their allowance."""
    context = ssl.create_default_context()
    context.sslsocket_class = _TimedTLS
    return context


class Link:
    """A connection, to be used by one thread at a time."""

    def __init__(
        self, guard: Guard, tls: ssl.SSLContext, url_start: tuple[str, str, int]
    ):
        """Connects nothing yet; `url_start` is (scheme, host, port)."""
        self._guard = guard
        self._tls = tls
        self._start = url_start
        scheme, host, port = url_start
        # The class only decides whether "Host:" needs the port.
        secure = scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._http = kind(host, port)
        # Otherwise http.client would reconnect by itself, past the guard.
        self._http.auto_open = 0
        self._socket: Any = None

    def connect(self, deadline: float) -> None:
        """Connects to the first of the checked addresses that answers.

        Raises:
            addresses.Refused, OSError.
        """
        scheme, host, port = self._start
        error: OSError = socket.gaierror(f"{host} has no address")
        for address in self._guard.resolve(host, port, left(deadline)):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            made: Any = _Timed(family, socket.SOCK_STREAM)
            try:
                made.settimeout(left(deadline))
                made.connect((address, port))
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if scheme == "https":
                    made = self._tls.wrap_socket(made, server_hostname=host)
            except OSError as failed:
                made.close()
                error = failed
                continue
            self._socket = self._http.sock = made
            return
        raise error

    def send(
        self, method: str, path: str, headers: dict[str, str], allowance: Allowance
    ) -> http.client.HTTPResponse:
        """Sends a request and reads the answer's head; its body is still to be read."""
        self._socket.allowance = allowance
        self._socket.settimeout(allowance.left())
        self._http.request(method, path, headers=headers)
        return self._http.getresponse()

    def abort(self) -> None:
        """Ends what another thread is waiting for."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._http.close()
        if self._socket is not None:
            self._socket.close()
