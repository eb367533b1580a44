"""A connection to one host, at an address that the guard has checked, on a clock.

`http.client` speaks HTTP; the socket below is ours: every receive gets what is left of
the request's deadline, so that a byte now and then does not keep it alive.
"""

import contextlib
import http.client
import socket
import ssl
import time
from typing import Any

from aplantida_jax.data.addresses import Guard

# What a connection that the host has closed meanwhile raises when it is used again.
STALE = (ConnectionError, http.client.BadStatusLine, ssl.SSLError)


class _Timed(socket.socket):
    """A socket whose every receive ends at `deadline` (time.monotonic)."""

    deadline = 0.0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(left(self.deadline))
        return super().recv_into(*args, **kwargs)


class _TimedTLS(ssl.SSLSocket):
    """The same over TLS."""

    deadline = 0.0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(left(self.deadline))
        return super().recv_into(*args, **kwargs)


def left(deadline: float) -> float:
    """Seconds until `deadline`; raises TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("deadline")
    return seconds


def tls_context() -> ssl.SSLContext:
    """Verifies certificates; its sockets keep deadlines."""
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
        for address in self._guard.resolve(host, port):
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
        self, method: str, path: str, headers: dict[str, str], deadline: float
    ) -> http.client.HTTPResponse:
        """Sends a request and reads the answer's head; its body is still to be read."""
        self._socket.deadline = deadline
        self._socket.settimeout(left(deadline))
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
