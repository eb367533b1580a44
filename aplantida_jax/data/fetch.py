"""One HTTP request, bounded in every way; it ends in a value, never in an exception.

Built on `http.client` and not on `requests`, which follows redirects to loopback, lets
204 kB of gzip become 200 MB, and is held for hours by a byte every half second. Here:

- only http and https, only to hosts and addresses that the guard lets through, and
  connected to at the very address that was checked;
- a redirect is handed back, not followed: where it leads to is a request of its own,
  which is checked alike and which whoever paces the hosts makes (`Trail`), 5 at most;
- one wall-clock deadline over all of it, resolving the name and redirects included, and
  a least rate for the answer, so that a byte now and then does not hold it;
- the answer's bytes are bounded as they come, and the body's after decompression.
"""

import dataclasses
import http.client
import socket
import ssl
import threading
import time
from urllib.parse import SplitResult, urlsplit, urlunsplit

from aplantida_jax.data.addresses import Guard, Refused
from aplantida_jax.data.http_answer import (
    BLOCKED,
    FORBIDDEN,
    MOVED,
    OK,
    PERMANENT,
    START,
    TEMPORARY,
    THROTTLED,
    UNSAFE,
    Fetched,
    Trail,
    receive,
)
from aplantida_jax.data.http_link import STALE, Allowance, Link, TooSlow, tls_context

__all__ = ["BLOCKED", "FORBIDDEN", "MOVED", "OK", "PERMANENT", "START"]
__all__ += ["TEMPORARY", "THROTTLED", "UNSAFE", "Fetched", "Fetcher", "Limits", "Trail"]

_MOST_REDIRECTS = 5
_MOST_IDLE = 64  # connections that are kept open, to all hosts
# What an answer may have beside its body: its head; and the framing of a body in
# chunks, or what compression makes longer, as a part of it.
_HEAD_BYTES = 1 << 20
_FRAMING = 1 / 8
_PORTS = {"http": 80, "https": 443}

# What ends a request without an answer -> its outcome; the first that fits counts.
_FAILURES: dict[type[Exception], tuple[str, str]] = {
    Refused: (UNSAFE, "refused_address"),
    socket.gaierror: (TEMPORARY, "name_not_resolved"),
    TooSlow: (TEMPORARY, "too_slow"),
    TimeoutError: (TEMPORARY, "timeout"),
    ssl.SSLError: (TEMPORARY, "tls"),
    # The URL cannot be sent as it is; the host never heard of it.
    http.client.InvalidURL: (UNSAFE, "refused_url"),
    ValueError: (UNSAFE, "refused_url"),
    OSError: (TEMPORARY, "connection"),
    http.client.HTTPException: (TEMPORARY, "connection"),
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of one fetch.

    Attributes:
        timeout_s: for all of it, redirects included.
        max_bytes: of the body, after decompression; all that comes may be an eighth
            and 1 MiB more.
        least_bytes_per_second: of an answer, from its request on; 0 for none.
        grace_s: before the least rate is asked for.
    """

    timeout_s: float
    max_bytes: int
    least_bytes_per_second: float = 0.0
    grace_s: float = 0.0


class Fetcher:
    """Fetches URLs from any thread; keeps connections alive, which all threads share.

    A host never has more connections than it had requests under way at once: a new one
    is only made when none is idle.
    """

    def __init__(self, guard: Guard, limits: Limits, user_agent: str):
        """Raises ValueError for a `user_agent` that no header can hold."""
        if not (user_agent.isascii() and user_agent.isprintable()):
            raise ValueError(f"no user agent: {user_agent!r}")
        self._guard = guard
        self._limits = limits
        self._headers = {
            "User-Agent": user_agent,
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
        }
        self._tls = tls_context()
        self._busy: set[Link] = set()
        self._idle: list[Link] = []  # the one that was used last is the last
        self._closed = False
        self._lock = threading.Lock()

    def fetch(
        self,
        url: str,
        *,
        trail: Trail = START,
        head: bool = False,
        first_bytes: int = 0,
    ) -> Fetched:
        """Asks for `url`, or for where `trail` leads from it.

        Args:
            url: http or https, percent-encoded.
            trail: of the MOVED answer that this goes on from.
            head: ask whether it is there, without its body.
            first_bytes: ask for the first bytes only; a host may send all the same.
        """
        start = time.monotonic()
        deadline = start + self._limits.timeout_s - trail.seconds
        headers = dict(self._headers)
        if first_bytes:
            headers["Range"] = f"bytes=0-{first_bytes - 1}"
        method = "HEAD" if head else "GET"
        try:
            found = self._ask(trail.url or url, method, headers, deadline)
        except tuple(_FAILURES) as error:
            kind = next(kind for kind in _FAILURES if isinstance(error, kind))
            return Fetched(*_FAILURES[kind])
        if found.outcome != MOVED:
            return found
        return _followed(found, trail, trail.seconds + time.monotonic() - start)

    def close(self) -> None:
        """Closes all connections; a fetch under way in another thread ends at once."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for link in self._busy:
                link.abort()
        for link in idle:
            link.close()

    def _ask(
        self, url: str, method: str, headers: dict[str, str], deadline: float
    ) -> Fetched:
        """One request; a redirect's trail only tells where it leads."""
        parts = split(url)
        if parts is None:
            return Fetched(UNSAFE, "refused_url")
        start = (parts.scheme, parts.hostname or "", port_of(parts))
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        link, response = self._send(start, method, path, headers, deadline)
        reusable = False
        try:
            found = receive(response, method, url, self._limits.max_bytes)
            # Closed by itself: read to its end.
            reusable = response.isclosed() and not response.will_close
        finally:
            response.close()
            self._put_back(link, reusable=reusable)
        return found

    def _send(
        self,
        start: tuple[str, str, int],
        method: str,
        path: str,
        headers: dict[str, str],
        deadline: float,
    ) -> tuple[Link, http.client.HTTPResponse]:
        link = self._take_idle(start)
        if link is not None:
            try:
                return link, link.send(method, path, headers, self._allow(deadline))
            except STALE:
                self._put_back(link, reusable=False)
            except BaseException:
                self._put_back(link, reusable=False)
                raise
        link = self._enter(Link(self._guard, self._tls, start))
        try:
            link.connect(deadline)
            return link, link.send(method, path, headers, self._allow(deadline))
        except BaseException:
            self._put_back(link, reusable=False)
            raise

    def _allow(self, deadline: float) -> Allowance:
        limits = self._limits
        most = _HEAD_BYTES + limits.max_bytes + int(limits.max_bytes * _FRAMING)
        rate = limits.least_bytes_per_second
        return Allowance(deadline, most, rate, limits.grace_s)

    def _take_idle(self, start: tuple[str, str, int]) -> Link | None:
        """The open connection for these URLs that was used last; None without one."""
        with self._lock:
            for link in reversed(self._idle):
                if link.start == start:
                    self._idle.remove(link)
                    self._busy.add(link)
                    return link
        return None

    def _enter(self, link: Link) -> Link:
        """Makes a link known before it waits for anything, so that `close` ends it."""
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the fetcher is closed")
            self._busy.add(link)
        return link

    def _put_back(self, link: Link, *, reusable: bool) -> None:
        """Keeps a connection open or closes it; of too many the oldest is closed."""
        unused = link
        with self._lock:
            self._busy.discard(link)
            if reusable and not self._closed:
                self._idle.append(link)
                if len(self._idle) <= _MOST_IDLE:
                    return
                unused = self._idle.pop(0)
        unused.close()


def split(url: str) -> SplitResult | None:
    """The parts of a URL that may be asked for; None for any other."""
    try:
        parts = urlsplit(url)
        port_of(parts)
    except ValueError:  # brackets that hold no address, a port that is none
        return None
    known = parts.scheme in _PORTS and parts.hostname and "@" not in parts.netloc
    return parts if known else None


def port_of(parts: SplitResult) -> int:
    """The port of an http or https URL, its scheme's where it names none."""
    return parts.port or _PORTS.get(parts.scheme, 0)


def _followed(found: Fetched, trail: Trail, seconds: float) -> Fetched:
    """A MOVED answer with all that is behind it, or why it is not followed."""
    url, redirects = found.trail.url, trail.redirects + 1
    if redirects > _MOST_REDIRECTS:
        return Fetched(UNSAFE, "redirects", status=found.status)
    if split(url) is None:
        return Fetched(UNSAFE, "refused_url", status=found.status)
    return dataclasses.replace(found, trail=Trail(url, redirects, seconds))
