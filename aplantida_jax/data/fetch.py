"""One HTTP request, bounded in every way; it ends in a value, never in an exception.

Built on `http.client` and not on `requests`, which follows redirects to loopback, lets
204 kB of gzip become 200 MB, and is held for hours by a byte every half second. Here:

- only http and https, only to hosts and addresses that the guard lets through, and
  connected to at the very address that was checked;
- a redirect is handed back, not followed: where it leads to is a request of its own,
  which is checked alike and which whoever paces the hosts makes (`Trail`), 5 at most;
- one wall-clock deadline over all of it, resolving the name and redirects included, and
  a least rate for the answer, so that a byte now and then does not hold it;
- the body's bytes are bounded, after decompression.
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
_MOST_IDLE = 8  # connections that a thread keeps open
_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of one fetch.

    Attributes:
        timeout_s: for all of it, redirects included.
        max_bytes: of the body, after decompression.
        least_bytes_per_second: of an answer, from its request on; 0 for none.
        grace_s: before the least rate is asked for.
    """

    timeout_s: float
    max_bytes: int
    least_bytes_per_second: float = 0.0
    grace_s: float = 0.0


class Fetcher:
    """Fetches URLs from any thread; keeps one connection per host and thread alive."""

    def __init__(self, guard: Guard, limits: Limits, user_agent: str):
        self._guard = guard
        self._limits = limits
        self._headers = {
            "User-Agent": user_agent,
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
        }
        self._tls = tls_context()
        self._local = threading.local()
        self._links: set[Link] = set()
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
        except Refused:
            return Fetched(UNSAFE, "refused_address")
        except socket.gaierror:
            return Fetched(TEMPORARY, "name_not_resolved")
        except TooSlow:
            return Fetched(TEMPORARY, "too_slow")
        except TimeoutError:
            return Fetched(TEMPORARY, "timeout")
        except ssl.SSLError:
            return Fetched(TEMPORARY, "tls")
        except (OSError, http.client.HTTPException, ValueError):
            return Fetched(TEMPORARY, "connection")
        if found.outcome != MOVED:
            return found
        return _followed(found, trail, trail.seconds + time.monotonic() - start)

    def close(self) -> None:
        """Closes all connections; a fetch under way in another thread ends at once."""
        with self._lock:
            self._closed = True
            links, self._links = self._links, set()
        for link in links:
            link.abort()
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
            if reusable:
                self._keep(start, link)
            else:
                self._forget(link)
        return found

    def _send(
        self,
        start: tuple[str, str, int],
        method: str,
        path: str,
        headers: dict[str, str],
        deadline: float,
    ) -> tuple[Link, http.client.HTTPResponse]:
        link = self._idle().pop(start, None)
        if link is not None:
            try:
                return link, link.send(method, path, headers, self._allow(deadline))
            except STALE:
                self._forget(link)
            except BaseException:
                self._forget(link)
                raise
        link = Link(self._guard, self._tls, start)
        try:
            link.connect(deadline)
            with self._lock:
                if self._closed:
                    raise ConnectionAbortedError("the fetcher is closed")
                self._links.add(link)
            return link, link.send(method, path, headers, self._allow(deadline))
        except BaseException:
            self._forget(link)
            raise

    def _allow(self, deadline: float) -> Allowance:
        limits = self._limits
        return Allowance(deadline, limits.least_bytes_per_second, limits.grace_s)

    def _keep(self, start: tuple[str, str, int], link: Link) -> None:
        """Keeps a connection open; with too many hosts the oldest is closed."""
        idle = self._idle()
        idle[start] = link
        if len(idle) > _MOST_IDLE:
            self._forget(idle.pop(next(iter(idle))))

    def _idle(self) -> dict[tuple[str, str, int], Link]:
        """This thread's open connections, by scheme, host and port."""
        if not hasattr(self._local, "idle"):
            self._local.idle = {}
        return self._local.idle

    def _forget(self, link: Link) -> None:
        with self._lock:
            self._links.discard(link)
        link.close()


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
