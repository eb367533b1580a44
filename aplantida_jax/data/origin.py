"""Where the images of a collection come from, and under which rules they are asked for.

A collection's URLs are absolute, or relative to its dump; then the dump's directory is
served on the loopback interface for as long as it is needed, so that one and the same
code fetches both. That server alone is exempt from the ban on private addresses.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aplantida_jax import web_server
from aplantida_jax.data import fetch, source
from aplantida_jax.data.addresses import Guard
from aplantida_jax.data.fetch import Fetcher, Limits
from aplantida_jax.data.schedule import Pace
from aplantida_jax.errors import UserError


class Origin:
    """Makes absolute URLs, and the fetcher that may ask for them."""

    def __init__(self, config: Any, base: str):
        """`base` is where relative URLs start, "" when there are none."""
        download = config.download
        self._base = base
        private = tuple(download.private_hosts)
        if base:
            private += (urlsplit(base).netloc,)
        agent = download.user_agent
        self.fetcher = Fetcher(
            Guard(tuple(download.allowed_hosts), private),
            Limits(
                timeout_s=download.timeout_s,
                max_bytes=download.max_bytes,
                least_bytes_per_second=download.least_bytes_per_second,
                grace_s=download.slow_grace_s,
            ),
            f"{agent} {download.contact}" if download.contact else agent,
        )

    def url(self, url: str) -> str:
        """The absolute URL of a photo."""
        return url if _is_absolute(url) else f"{self._base}/{url}"


@contextlib.contextmanager
def opened(config: Any, urls: Iterable[str]) -> Iterator[Origin]:
    """The origin of `config.source`, for as long as the block runs.

    Args:
        config: the whole configuration.
        urls: what will be asked for; one of each host is enough.

    Raises:
        UserError: one is relative, and there is no dump.
    """
    uri = config.source.uri
    with contextlib.ExitStack() as stack:
        base = ""
        if not all(map(_is_absolute, urls)):
            if source.is_mongodb(uri) or not Path(uri).is_file():
                raise UserError(
                    "the photos' URLs are relative to a dump, but --config.source.uri="
                    f"{source.describe(uri)} is no file: name the dump of the export"
                )
            base = stack.enter_context(web_server.serve(Path(uri).parent))
        origin = Origin(config, base)
        stack.callback(origin.fetcher.close)
        yield origin


def pace(config: Any) -> Pace:
    """How politely hosts are asked."""
    download = config.download
    return Pace(
        per_second=download.requests_per_second,
        concurrency=download.concurrency,
        pauses_s=tuple(download.pauses_s),
        max_retry_after_s=download.max_retry_after_s,
    )


def host_of(url: str) -> str:
    """What is paced together: the host of an absolute URL, "" for a relative one.

    "HTTP://Example.org:80/a" and "https://example.org./b" are of one host, and so are
    a name and its punycode.
    """
    if not _is_absolute(url):
        return ""
    parts = fetch.split(url)
    if parts is None:
        return "(no host)"  # nothing will be sent
    host = _ascii((parts.hostname or "").removesuffix("."))
    host = f"[{host}]" if ":" in host else host
    standard = parts.port in (None, 80, 443)
    return host if standard else f"{host}:{parts.port}"


def _ascii(host: str) -> str:
    """A host's name as it is looked up; a name that cannot be stays as it is."""
    if not host.isascii():
        # The codec that sockets use: what is sent to one host has one lane.
        with contextlib.suppress(UnicodeError):
            return host.encode("idna").decode("ascii")
    return host


def _is_absolute(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))
