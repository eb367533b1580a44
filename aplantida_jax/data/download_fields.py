"""What the fields of `config.download` may be: one table of bounds for all numbers.

Each bound keeps out what would fail in the middle of a long run, or be taken for
something else without a word; none judges whether a value is wise.
"""

from collections.abc import Iterator
from typing import Any

from aplantida_jax.bounds import Bounds

_DAY_S = 86_400.0

BOUNDS = {
    "cache_size_gb": Bounds(1e-6, 1e6),
    "requests_per_second": Bounds(1e-4, 1e6),
    "concurrency": Bounds(1, 1000),
    "parallel_hosts": Bounds(1, 100_000),
    "timeout_s": Bounds(0.1, _DAY_S),
    "least_bytes_per_second": Bounds(0, 1e9),
    "slow_grace_s": Bounds(0, _DAY_S),
    # A body is held in memory, by each of up to 64 threads.
    "max_bytes": Bounds(1, 2**31 - 1),
    "max_pixels": Bounds(1, 2**30),  # OpenCV's own limit
    "retries": Bounds(0, 1000),
    "max_retry_after_s": Bounds(0, 30 * _DAY_S),
    "give_up_after_hours": Bounds(0, 365 * 24),
    "shrink_short_side": Bounds(16, 65_500, off=0),  # JPEG's largest side
    "jpeg_quality": Bounds(1, 100),
    "disk_retry_s": Bounds(0.01, _DAY_S),
    "disk_patience_s": Bounds(0, 365 * _DAY_S),
    "limit": Bounds(0, 2**53, off=-1),
}
# Of each pause: at 0 s a host that answers 429 would be asked at full speed.
PAUSE = Bounds(0.001, 7 * _DAY_S)
_SENT = ("user_agent", "contact")  # in the request's head


def refused(download: Any) -> Iterator[tuple[str, str]]:
    """(field, what it must be) of each that is not possible in `config.download`."""
    for field, bounds in BOUNDS.items():
        if not bounds.allow(download[field]):
            yield field, str(bounds)
    pauses = download.pauses_s
    if not pauses or not all(map(PAUSE.allow, pauses)):
        yield "pauses_s", f"one or more numbers of seconds, each {PAUSE}"
    for field in _SENT:
        # RFC 9110, section 5.5: other characters have no meaning there, a line's end
        # begins another field.
        if not (download[field].isascii() and download[field].isprintable()):
            yield field, "plain ASCII, without accents and line ends, as HTTP sends it"
