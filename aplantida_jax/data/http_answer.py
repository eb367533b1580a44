"""An HTTP answer -> what it means: its outcome, its body, and where it leads.

The body's bytes are bounded after decompression, and by the connection's allowance
(`http_link`) before it. What they are is not judged here, nor by a header: decoding
decides that.
"""

import contextlib
import dataclasses
import email.utils
import http.client
import time
import zlib
from typing import Any
from urllib.parse import quote, urljoin

from aplantida_jax.data.http_link import TooMuch

_REDIRECTS = (301, 302, 303, 307, 308)
_ERROR_PAGE = 1 << 16  # bytes
_PIECE = 1 << 20  # bytes of a body; most photos are one
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~-._"
# Outcomes of a fetch; see `Fetched`.
OK, PERMANENT, TEMPORARY = "ok", "permanent", "temporary"
THROTTLED, FORBIDDEN, UNSAFE = "throttled", "forbidden", "unsafe"
MOVED = "moved"  # a redirect, to be followed by another request
BLOCKED = "blocked"  # a page instead of an image, as whoever decodes it finds out


@dataclasses.dataclass(frozen=True)
class Trail:
    """What a fetch that was redirected has behind it.

    Attributes:
        url: where it goes on, "" for one that was not redirected.
        redirects: so far.
        seconds: that its requests have taken.
    """

    url: str = ""
    redirects: int = 0
    seconds: float = 0.0


START = Trail()  # of every fetch


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What became of a request.

    Attributes:
        outcome: OK; PERMANENT (404, 410, too large); THROTTLED (429, 503); FORBIDDEN
            (401, 403); UNSAFE (refused by the guard, too many redirects); MOVED (to
            `trail`); or TEMPORARY (everything else: timeouts, resets, 5xx, other 4xx).
        reason: one word, for counting, "" when ok.
        body: the bytes, decompressed; b"" unless ok.
        status: of HTTP, 0 without an answer.
        retry_after: seconds that the host asked for, None when it did not.
        ends_known: did the answer say where its body ends? If not, it may be cut off.
        trail: where it goes on, when it was MOVED.
    """

    outcome: str
    reason: str = ""
    body: bytes = b""
    status: int = 0
    retry_after: float | None = None
    ends_known: bool = True
    trail: Trail = START


def receive(
    response: http.client.HTTPResponse, method: str, url: str, max_bytes: int
) -> Fetched:
    """Reads an answer to `method` of `url`, at most `max_bytes` of its body.

    Raises:
        OSError, http.client.HTTPException: the answer broke off.
    """
    status = response.status
    location = response.headers.get("Location")
    if status in _REDIRECTS and location:
        _skip(response)
        trail = Trail(_target(url, location))
        return Fetched(MOVED, f"http_{status}", status=status, trail=trail)
    if status not in (200, 206):
        _skip(response)
        outcome = _OUTCOMES.get(status, TEMPORARY)
        wait = retry_after(response.headers) if outcome == THROTTLED else None
        return Fetched(outcome, f"http_{status}", status=status, retry_after=wait)
    if method == "HEAD":
        response.read()
        return Fetched(OK, status=status)
    try:
        return _body(response, max_bytes)
    except TooMuch:
        return Fetched(PERMANENT, "too_large", status=status)


_OUTCOMES = {
    404: PERMANENT,
    410: PERMANENT,
    401: FORBIDDEN,
    403: FORBIDDEN,
    429: THROTTLED,
    503: THROTTLED,
}


def _skip(response: http.client.HTTPResponse) -> None:
    """Reads the page of an answer that is none; a long one ends the connection."""
    with contextlib.suppress(TooMuch):
        response.read(_ERROR_PAGE)


def _target(url: str, location: str) -> str:
    """Where a redirect from `url` leads, as ASCII."""
    # http.client reads headers as Latin-1.
    quoted = quote(location.encode("latin-1", "replace"), safe=_URL_SAFE)
    try:
        return urljoin(url, quoted)
    except ValueError:  # it is no URL: whoever follows it refuses it
        return quoted


def _body(response: http.client.HTTPResponse, max_bytes: int) -> Fetched:
    """The body, expanded; what comes behind the end of a compressed one is not read."""
    status = response.status
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        return Fetched(TEMPORARY, "encoding", status=status)
    packed = encoding not in ("identity", "")
    expand = zlib.decompressobj(wbits=47) if packed else None  # gzip or zlib, by header
    body = bytearray()
    ends_known = response.chunked or response.length is not None
    try:
        while not (expand and expand.eof) and (chunk := response.read(_PIECE)):
            if expand is not None:
                chunk = expand.decompress(chunk, max_bytes + 1 - len(body))
            body += chunk
            if len(body) > max_bytes:
                return Fetched(PERMANENT, "too_large", status=status)
    except zlib.error:
        return Fetched(TEMPORARY, "encoding", status=status)
    if response.length if expand is None else not expand.eof:
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
