"""One large file over HTTP onto the disk: resumed, bounded, verified.

    <file>.part        what has come so far
    <file>.part.json   {url, etag}: whose bytes those are

A download that was cut off goes on where it stopped (Range), provided that the host
still has the same bytes (If-Range with its ETag); else it begins again. Redirects are
followed by hand: https never leads to anything else. The hashes that hosts send with
their answers are kept for whoever checks the file: Google's storage sends an MD5,
Hugging Face the SHA-256 of a large file, on the redirect to it.
"""

import base64
import binascii
import dataclasses
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from absl import logging
from urllib3.exceptions import HTTPError

from aplantida_jax import files
from aplantida_jax.errors import UserError
from aplantida_jax.progress import track

_PIECE = 1 << 20  # bytes; what a step of the progress is
_MOST_REDIRECTS = 5
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT_S = 300.0
_HEADERS = {"User-Agent": "aplantida_jax", "Accept-Encoding": "identity"}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of a download.

    Attributes:
        most_bytes: of the file.
        connect_s, read_s: without a connection, or a byte, for longer, a try ends.
        least_bytes_per_second: of a try, once `grace_s` has passed.
        tries: in a row that bring less than a MiB, before it gives up.
        wait_s: after the first of them; it doubles.
    """

    most_bytes: int = 2 << 30
    connect_s: float = 15.0
    read_s: float = 60.0
    least_bytes_per_second: float = 1000.0
    grace_s: float = 60.0
    tries: int = 5
    wait_s: float = 2.0


class Interrupted(Exception):
    """A try ended early; another may go on from there.

    Attributes:
        wait_s: what the host asks for, 0 when it doesn't.
    """

    def __init__(self, reason: str, *, wait_s: float = 0.0):
        super().__init__(reason)
        self.wait_s = wait_s


def download(url: str, part: Path, limits: Limits) -> dict[str, str]:
    """Brings `part` to its full length; keeps what has come when it fails.

    Returns:
        What the host says of the file's hash: {"md5": hex, "sha256": hex} or less.

    Raises:
        UserError: the host has no such file, sends a page or too much, or could not be
            reached in `limits.tries` tries.
    """
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _attempt(url, part, limits)
        except Interrupted as interruption:
            after = part.stat().st_size if part.exists() else 0
            failures = 0 if after - before >= _PIECE else failures + 1
            if failures >= limits.tries:
                raise UserError(
                    f"{url} could not be fetched ({interruption}): run the same "
                    f"command again, it goes on after {after:,} bytes; or get it on "
                    f"another machine and put it at {part.with_suffix('')}"
                ) from None
            pause = limits.wait_s * 2 ** max(0, failures - 1)
            pause = min(max(pause, interruption.wait_s), _LONGEST_WAIT_S)
            logging.warning("%s; again in %.0f s", interruption, pause)
            time.sleep(pause)


def forget(part: Path) -> None:
    """Removes what has come so far."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def next_url(url: str, location: str) -> str:
    """Where a redirect leads.

    Raises:
        UserError: from https to anything else, or to what is no web address.
    """
    found = urljoin(url, location)
    allowed = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    if urlsplit(found).scheme not in allowed:
        raise UserError(f"{url} redirects away from https, which is not followed")
    return found


def _attempt(url: str, part: Path, limits: Limits) -> dict[str, str]:
    """One try at the rest of the file."""
    have, etag = _so_far(url, part)
    headers = dict(_HEADERS)
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    try:
        with requests.Session() as session:
            # Its own environment may hold a proxy, but no password for a public host.
            session.auth = _no_auth
            response, claims = _ask(session, url, headers, limits)
            with response:
                _receive(url, response, part, have, limits)
    except (requests.RequestException, HTTPError, TimeoutError) as error:
        raise Interrupted(_reason(error)) from None
    return claims


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from sending what a .netrc has for a host."""
    return request


def _ask(
    session: requests.Session, url: str, headers: Mapping[str, str], limits: Limits
) -> tuple[requests.Response, dict[str, str]]:
    """The answer behind all redirects, and the hashes seen on the way."""
    claims: dict[str, str] = {}
    for _ in range(_MOST_REDIRECTS + 1):
        response = session.get(
            url,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=(limits.connect_s, limits.read_s),
        )
        claims |= _claims(response.headers)
        if not response.is_redirect:
            return response, claims
        response.close()
        url = next_url(url, response.headers["Location"])
    raise UserError(f"{url} redirects more than {_MOST_REDIRECTS} times")


def _receive(
    url: str, response: requests.Response, part: Path, have: int, limits: Limits
) -> None:
    """Writes the body of an answer where it belongs."""
    if _is_complete(response, have):
        return
    start = _start_of(url, response, have)
    if start is None:
        forget(part)
        raise Interrupted("the rest that was sent is not of what has come")
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    if total is not None and total > limits.most_bytes:
        raise UserError(f"{url} has {total:,} bytes; at most {limits.most_bytes:,}")
    if not start:
        _note(part, url, response.headers.get("ETag", ""))
    left = -(-(total - start) // _PIECE) if total is not None else None
    with open(part, "r+b" if start else "wb") as out:
        out.seek(start)
        pieces = _pieces(response, limits)
        for piece in track(pieces, total=left, what=part.stem, unit="MiB"):
            out.write(piece)
            if out.tell() > limits.most_bytes:
                raise UserError(f"{url} has more than {limits.most_bytes:,} bytes")
        out.truncate()
        out.flush()
        os.fsync(out.fileno())


def _is_complete(response: requests.Response, have: int) -> bool:
    """Whether the host says that nothing comes after the bytes that we have."""
    stated = response.headers.get("Content-Range", "")
    return response.status_code == 416 and stated == f"bytes */{have}"


def _start_of(url: str, response: requests.Response, have: int) -> int | None:
    """Which byte of the file the body begins with; None when it should begin anew.

    Raises:
        UserError: the answer is a refusal, or not the file.
        Interrupted: the host asks for patience.
    """
    status = response.status_code
    if status in _TEMPORARY:
        after = response.headers.get("Retry-After", "")
        raise Interrupted(
            f"{urlsplit(url).hostname} answers HTTP {status}",
            wait_s=float(after) if after.isdigit() else 0.0,
        )
    if status == 416:
        return None
    if status not in (200, 206):
        raise UserError(f"{url} is not to be had: HTTP {status} {response.reason}")
    if "html" in response.headers.get("Content-Type", ""):
        raise UserError(
            f"{url} is answered with a web page instead of the file: does the network "
            "ask for a login?"
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UserError(f"{url} is sent compressed, which was not asked for")
    if status == 200:
        return 0
    first = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return have if first and int(first[1]) == have else None


def _pieces(response: requests.Response, limits: Limits) -> Iterator[bytes]:
    """The body in pieces of a MiB; fails when it comes too slowly."""
    begun, count, piece = time.monotonic(), 0, bytearray()
    try:
        while got := response.raw.read1(_PIECE):
            piece += got
            count += len(got)
            seconds = time.monotonic() - begun
            if count < limits.least_bytes_per_second * (seconds - limits.grace_s):
                raise Interrupted(f"only {count:,} bytes in {seconds:.0f} s")
            if len(piece) >= _PIECE:
                yield bytes(piece)
                piece.clear()
    except (HTTPError, OSError, Interrupted):
        yield bytes(piece)  # what came before is worth keeping
        raise
    yield bytes(piece)


def _claims(headers: Mapping[str, str]) -> dict[str, str]:
    """Hashes that a host's answer states, as hexadecimal digits."""
    found = {}
    linked = headers.get("X-Linked-ETag", "").strip('"')
    if re.fullmatch(r"[0-9a-fA-F]{64}", linked):
        found["sha256"] = linked.lower()
    md5 = re.search(r"md5=([A-Za-z0-9+/=]+)", headers.get("X-Goog-Hash", ""))
    if md5:
        try:
            found["md5"] = base64.b64decode(md5[1], validate=True).hex()
        except binascii.Error:
            logging.warning("an X-Goog-Hash that is none: %s", md5[1])
    return found


def _so_far(url: str, part: Path) -> tuple[int, str]:
    """Bytes that have come and may be added to, and the ETag that they belong to."""
    try:
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
        etag = str(notes["etag"])
        # A weak ETag ("W/...") promises alike, not equal, bytes.
        if notes["url"] == url and etag.startswith('"'):
            size = part.stat().st_size
            logging.info("%s: going on after %d bytes", part.stem, size)
            return size, etag
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, ""
    return 0, ""


def _note(part: Path, url: str, etag: str) -> None:
    # First the old bytes go: they must never lie under a newer ETag.
    part.unlink(missing_ok=True)
    files.write_json(_notes(part), {"url": url, "etag": etag})


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _reason(error: BaseException) -> str:
    """The innermost of a chain of network errors, its last words."""
    cause: BaseException | None = error
    while cause is not None:
        innermost = cause
        inner = (getattr(cause, "reason", None), *cause.args)
        cause = next((part for part in inner if isinstance(part, BaseException)), None)
    return f"{type(error).__name__}: {str(innermost).rpartition(': ')[2]}"
