"""Bytes that came from a host -> what they are, and what of them is kept.

Decoding decides, not a header: whether it is an image, how large, and its hashes. What
is kept is the original, or a smaller JPEG of it.
"""

import dataclasses
import hashlib

import numpy as np

from aplantida_jax.data import decode, fetch
from aplantida_jax.data.decode import BrokenImage
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.journal import OK, PERMANENT, REJECTED, TEMPORARY, Outcome
from aplantida_jax.data.phash import phash

# Enough for a perceptual hash when the original is kept.
_HASHED_SIDE = 128


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is accepted and how it is kept: `config.download` and `config.dataset`."""

    max_bytes: int
    max_pixels: int
    min_side: int
    shrink_short_side: int
    jpeg_quality: int


def examine(image_id: str, fetched: Fetched, rules: Rules) -> tuple[Outcome, bytes]:
    """The outcome of a fetch, and the bytes to keep, b"" unless it is OK."""
    if fetched.reason == "too_large":
        return Outcome(image_id, REJECTED, "too_large", bytes=rules.max_bytes), b""
    if fetched.outcome != fetch.OK:
        # What the guard refused may be allowed tomorrow, and costs no request; a
        # redirect is not the end of it.
        status = PERMANENT if fetched.outcome == fetch.PERMANENT else TEMPORARY
        return Outcome(image_id, status, fetched.reason), b""
    data = fetched.body
    sha256 = hashlib.sha256(data).hexdigest()
    outcome = Outcome(image_id, OK, bytes=len(data), sha256=sha256)
    try:
        header = decode.header(data)
        outcome = dataclasses.replace(
            outcome,
            width=header.width,
            height=header.height,
            orientation=header.orientation,
        )
        image = decode.decode(
            data,
            max_pixels=rules.max_pixels,
            min_target_side=rules.shrink_short_side or _HASHED_SIDE,
            found=header,
        )
    except BrokenImage as broken:
        # Where the host never said how long it is, the connection may have been cut.
        cut = broken.reason == "truncated" and not fetched.ends_known
        status = TEMPORARY if cut else REJECTED
        return dataclasses.replace(outcome, status=status, reason=broken.reason), b""
    if header.format != "jpeg":
        height, width = image.shape[:2]
        outcome = dataclasses.replace(outcome, width=width, height=height)
    # Not what follows a JPEG's end, which no decoder reads.
    return _kept(outcome, data[: header.end], image, rules)


def _kept(
    outcome: Outcome, data: bytes, image: np.ndarray, rules: Rules
) -> tuple[Outcome, bytes]:
    """Of an image that decodes, uint8 [h, w, 3]: is it large enough, what is kept."""
    short_side = min(outcome.width, outcome.height)
    if short_side < rules.min_side:
        return dataclasses.replace(outcome, status=REJECTED, reason="small"), b""
    outcome = dataclasses.replace(outcome, phash=phash(image))
    if 0 < rules.shrink_short_side < short_side:
        small = decode.shrink(image, rules.shrink_short_side)
        data = decode.encode_jpeg(small, rules.jpeg_quality)
    return outcome, data


def current(outcome: Outcome | None, rules: Rules, *, cached: bool) -> Outcome | None:
    """What an earlier outcome means under today's rules; None: to be asked (again)."""
    if outcome is None:
        return None
    side = min(outcome.width, outcome.height)
    pixels = outcome.width * outcome.height
    if outcome.status == OK:
        if side < rules.min_side:
            return dataclasses.replace(outcome, status=REJECTED, reason="small")
        return outcome if cached else None
    if outcome.status == TEMPORARY:
        return None
    admitted = {
        "small": side >= rules.min_side,
        "bomb": pixels <= rules.max_pixels,
        "oversized": pixels <= rules.max_pixels // decode.FULL_SIZE_SHARE,
        "too_large": outcome.bytes < rules.max_bytes,
    }
    return None if admitted.get(outcome.reason) else outcome
