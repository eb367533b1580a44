"""One HTTP request, bounded in every way; it ends in a value, never in an exception.

Built on `http.client` and not on `requests`, which follows redirects to loopback, lets
204 kB of gzip become 200 MB, and is held for hours by a byte every half second. Here:

- only http and https, only to hosts and addresses that the guard lets through, checked
  again at each of at most 5 redirects, and connected to at the very address checked;
- one wall-clock deadline over all of it (but resolving a name takes what the system's
  resolver takes);
- the body's bytes are bounded, after decompression.

What the bytes are is not judged here, nor by a header: decoding decides that.
"""

import dataclasses
import email.utils
import http.client
import socket
import ssl
import threading
import time
import zlib
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from aplantida_jax.data.addresses import Guard, Refused
from aplantida_jax.data.http_link import STALE, Link, tls_context

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_CHUNK = 1 << 16
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~-._"
# Outcomes of a fetch; see `Fetched`.
OK, PERMANENT, TEMPORARY = "ok", "permanent", "temporary"
THROTTLED, FORBIDDEN, UNSAFE = "throttled", "forbidden", "unsafe"
BLOCKED = "blocked"  # a page instead of an image, as whoever decodes it finds out


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What became of a request.

    Attributes:
        outcome: OK; PERMANENT (404, 410, too large); THROTTLED (429, 503); FORBIDDEN
            (401, 403); UNSAFE (refused by the guard, too many redirects); or TEMPORARY
            (everything else: timeouts, resets, 5xx, other 4xx).
        reason: one word, for counting, "" when ok.
        body: the bytes, decompressed; b"" unless ok.
        status: of HTTP, 0 without an answer.
        retry_after: seconds that the host asked for, None when it did not.
        ends_known: did the answer say where its body ends? If not, it may be cut off.
    """

    outcome: str
    reason: str = ""
    body: bytes = b""
    status: int = 0
    retry_after: float | None = None
    ends_known: bool = True


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of one fetch.

    Attributes:
        timeout_s: for all of it, redirects included.
        max_bytes: of the body, after decompression.
    """

    timeout_s: float
    max_bytes: int


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

    def fetch(self, url: str, *, head: bool = False, first_bytes: int = 0) -> Fetched:
        """Asks for `url`.

        Args:
            url: http or https, percent-encoded.
            head: ask whether it is there, without its body.
            first_bytes: ask for the first bytes only; a host may send all the same.
        """
        deadline = time.monotonic() + self._limits.timeout_s
        headers = dict(self._headers)
        if first_bytes:
            headers["Range"] = f"bytes=0-{first_bytes - 1}"
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                answer = self._ask(url, "HEAD" if head else "GET", headers, deadline)
                if isinstance(answer, Fetched):
                    return answer
                url = urljoin(url, _quoted(answer))
            return Fetched(UNSAFE, "redirects")
        except Refused:
            return Fetched(UNSAFE, "refused_address")
        except socket.gaierror:
            return Fetched(TEMPORARY, "name_not_resolved")
        except TimeoutError:
            return Fetched(TEMPORARY, "timeout")
        except ssl.SSLError:
            return Fetched(TEMPORARY, "tls")
        except (OSError, http.client.HTTPException, ValueError):
            return Fetched(TEMPORARY, "connection")

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
    ) -> Fetched | str:
        """One request; returns where to go on after a redirect."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
            return Fetched(UNSAFE, "refused_url")
        start = (parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        link, response = self._send(start, method, path, headers, deadline)
        reusable = False
        try:
            result = _receive(response, method, self._limits.max_bytes)
            # Closed by itself: read to its end.
            reusable = response.isclosed() and not response.will_close
        finally:
            response.close()
            if reusable:
                self._idle()[start] = link
            else:
                self._forget(link)
        return result

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
                return link, link.send(method, path, headers, deadline)
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
            return link, link.send(method, path, headers, deadline)
        except BaseException:
            self._forget(link)
            raise

    def _idle(self) -> dict[tuple[str, str, int], Link]:
        """This thread's open connections, by scheme, host and port."""
        if not hasattr(self._local, "idle"):
            self._local.idle = {}
        return self._local.idle

    def _forget(self, link: Link) -> None:
        with self._lock:
            self._links.discard(link)
        link.close()


def _receive(
    response: http.client.HTTPResponse, method: str, max_bytes: int
) -> Fetched | str:
    status = response.status
    location = response.headers.get("Location")
    if status in _REDIRECTS and location:
        response.read(_CHUNK)
        return location
    if status not in (200, 206):
        response.read(_CHUNK)  # error pages are short; a longer one ends the connection
        outcome = _OUTCOMES.get(status, TEMPORARY)
        wait = retry_after(response.headers) if outcome == THROTTLED else None
        return Fetched(outcome, f"http_{status}", status=status, retry_after=wait)
    if method == "HEAD":
        response.read()
        return Fetched(OK, status=status)
    return _body(response, max_bytes)


_OUTCOMES = {
    404: PERMANENT,
    410: PERMANENT,
    401: FORBIDDEN,
    403: FORBIDDEN,
    429: THROTTLED,
    503: THROTTLED,
}


def _quoted(location: str) -> str:
    """A redirect's target as ASCII; http.client reads headers as Latin-1."""
    return quote(location.encode("latin-1", "replace"), safe=_URL_SAFE)


def _body(response: http.client.HTTPResponse, max_bytes: int) -> Fetched:
    status = response.status
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        return Fetched(TEMPORARY, "encoding", status=status)
    packed = encoding not in ("identity", "")
    expand = zlib.decompressobj(wbits=47) if packed else None  # gzip or zlib, by header
    body = bytearray()
    ends_known = response.chunked or response.length is not None
    try:
        while chunk := response.read(_CHUNK):
            if expand is not None:
                chunk = expand.decompress(chunk, max_bytes + 1 - len(body))
            body += chunk
            if len(body) > max_bytes:
                return Fetched(PERMANENT, "too_large", status=status)
    except zlib.error:
        return Fetched(TEMPORARY, "encoding", status=status)
    if response.length:
        return Fetched(TEMPORARY, "cut_off", status=status)
    if expand is not None and not expand.eof:
        return Fetched(TEMPORARY, "cut_off", status=status)
    return Fetched(OK, body=bytes(body), status=status, ends_known=ends_known)


def retry_after(headers: Any, now: float | None = None) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3); None without a valid one.

    A date counts from the host's own `Date`, so a wrong clock here does not matter.
    """
    value = (headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    until = _seconds(value)
    if until is None:
        return None
    sent = _seconds(headers.get("Date") or "")
    return max(0.0, until - (sent or now or time.time()))


def _seconds(date: str) -> float | None:
    """Seconds since 1970 of an HTTP date, None when it is none."""
    try:
        parsed = email.utils.parsedate_tz(date)
        return None if parsed is None else float(email.utils.mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None
