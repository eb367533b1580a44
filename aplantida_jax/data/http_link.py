"""A connection to one host, at an address that the guard has checked, on a clock.

`http.client` speaks HTTP; the socket below is ours: every receive gets what is left of
the answer's allowance, in seconds and in bytes. So a byte now and then does not keep it
alive, and nothing that `http.client` makes of an answer (it believes in a chunk of -1
bytes, and reads on and on) can be more than was allowed.
"""

import contextlib
import http.client
import math
import socket
import ssl
import time
from typing import Any

from aplantida_jax.data.addresses import Guard

_LEAST_SHARE_S = 3.0  # of the time left, for each of several addresses
# What a connection that the host has closed meanwhile raises when it is used again.
STALE = (ConnectionError, http.client.BadStatusLine, ssl.SSLError)


class TooSlow(TimeoutError):
    """The answer comes at less than the least rate."""


class TooMuch(OSError):
    """The answer has more bytes than it may have."""


class Allowance:
    """What one answer may take: time, at no less than a rate, and bytes.

    The rate is that of all bytes since the request was sent, its head included, and is
    asked for once `grace_s` has passed.
    """

    def __init__(
        self,
        deadline: float,
        most_bytes: int,
        bytes_per_second: float,
        grace_s: float,
    ):
        """
        Args:
            deadline: of time.monotonic.
            most_bytes: as they come: head, framing and what is still compressed.
            bytes_per_second: at least; 0 asks for no rate.
            grace_s: before the rate is asked for.
        """
        self.deadline = deadline
        self._most_bytes = most_bytes
        self._rate = bytes_per_second
        self._bytes = 0
        self._grace_ends = time.monotonic() + grace_s

    def add(self, count: int) -> None:
        """Notes that `count` bytes came; raises TooMuch when they are too many."""
        self._bytes += count
        if self._bytes > self._most_bytes:
            raise TooMuch(f"{self._bytes} bytes")

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
    """A socket whose every receive is taken from `allowance`."""

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
    """A connection, to be used by one thread at a time; any may abort it.

    Attributes:
        start: (scheme, host, port) of the URLs that it serves.
    """

    def __init__(self, guard: Guard, tls: ssl.SSLContext, start: tuple[str, str, int]):
        """Connects nothing yet."""
        self.start = start
        self._guard = guard
        self._tls = tls
        scheme, host, port = start
        # The class only decides whether "Host:" needs the port.
        secure = scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._http = kind(host, port)
        # Otherwise http.client would reconnect by itself, past the guard.
        self._http.auto_open = 0
        self._socket: Any = None
        self._aborted = False

    def connect(self, deadline: float) -> None:
        """Connects to the first of the checked addresses that answers.

        None of them takes the time of those behind it: a name may have an IPv6 address
        that leads nowhere from here. The one that answered is tried first next time.

        Raises:
            addresses.Refused, OSError.
        """
        _, host, port = self.start
        error: OSError = socket.gaierror(f"{host} has no address")
        addresses = self._guard.resolve(
            host, port, left(deadline), stopped=lambda: self._aborted
        )
        for tried, address in enumerate(addresses):
            share = max(_LEAST_SHARE_S, left(deadline) / (len(addresses) - tried))
            try:
                made = self._reach(address, min(deadline, time.monotonic() + share))
            except OSError as failed:
                self._check()
                error = failed
                continue
            self._http.sock = made
            if tried:
                self._guard.resolver.prefer(host, port, address)
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
        """Ends what another thread is waiting for here; that thread closes the link."""
        self._aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own, which would pull its state from under it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._http.close()
        if self._socket is not None:
            self._socket.close()

    def _reach(self, address: str, deadline: float) -> Any:
        """A socket connected to one address, over TLS where the URL asks for that."""
        scheme, host, port = self.start
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made: Any = self._abortable(_Timed(family, socket.SOCK_STREAM))
        try:
            made.settimeout(left(deadline))
            made.connect((address, port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == "https":
                made = self._tls.wrap_socket(
                    made, server_hostname=host, do_handshake_on_connect=False
                )
                self._abortable(made).settimeout(left(deadline))
                made.do_handshake()
            self._check()
        except BaseException:
            made.close()
            raise
        return made

    def _abortable(self, made: socket.socket) -> socket.socket:
        """Lets `abort` reach a socket, before anything is waited for on it."""
        self._socket = made
        self._check()
        return made

    def _check(self) -> None:
        if self._aborted:
            raise ConnectionAbortedError("the link was aborted")
