"""Small images as all kinds of encoders write them, and what we say of them."""

import io
import struct
from typing import Any

import cv2
import numpy as np
from PIL import Image

from aplantida_jax.data import decode, fetch
from aplantida_jax.data.decode import BrokenImage
from aplantida_jax.data.examine import Rules, examine
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.journal import OK, REJECTED
from configs import common

LIMIT = common.base("x", "download").download.max_pixels
RULES = Rules(
    max_bytes=10**7,
    max_pixels=LIMIT,
    min_side=16,
    shrink_short_side=0,
    jpeg_quality=90,
)


def picture(width: int = 96, height: int = 72) -> Image.Image:
    """Coarse noise, smooth and without symmetry; nowhere mid-grey for long."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(smooth)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def flavours() -> dict[str, dict[str, bytes]]:
    """Good images by format: the ways in which encoders write them."""
    colour, grey = picture(), picture().convert("L")
    cmyk, alpha = colour.convert("CMYK"), colour.copy()
    alpha.putalpha(grey)
    return {
        "jpeg": {
            "baseline 4:2:0": encoded(colour, "JPEG"),
            "baseline 4:4:4": encoded(colour, "JPEG", subsampling=0),
            "restart markers": encoded(colour, "JPEG", restart_marker_rows=1),
            "grey": encoded(grey, "JPEG"),
            "CMYK": encoded(cmyk, "JPEG"),
            "progressive": encoded(colour, "JPEG", progressive=True),
            "progressive grey": encoded(grey, "JPEG", progressive=True),
        },
        "png": {
            "colour": encoded(colour, "PNG"),
            "palette": encoded(colour.quantize(16), "PNG"),
            "alpha": encoded(alpha, "PNG"),
        },
        "webp": {
            "lossy": encoded(colour, "WEBP"),
            "lossless": encoded(colour, "WEBP", lossless=True),
            "alpha": encoded(alpha, "WEBP"),
        },
    }


def verdict(data: bytes) -> str:
    """ "ok" or the reason, on which download and decoder must agree."""
    outcome, kept = examine("0" * 16, Fetched(fetch.OK, body=data), RULES)
    assert outcome.status in (OK, REJECTED)
    assert bool(kept) == (outcome.status == OK)
    try:
        image = decode.decode(data, max_pixels=LIMIT)
        assert image.dtype == np.uint8
        assert image.shape == (outcome.height, outcome.width, 3)
        reason = "ok"
    except BrokenImage as broken:
        reason = broken.reason
        assert reason in decode.REASONS
    assert (outcome.reason or "ok") == reason
    return reason


def bitmap(header: bytes, rows: bytes) -> bytes:
    """A BMP file of a header and its rows."""
    offset = 14 + len(header)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + rows
    )


FLAVOURS = {
    f"{kind} {name}": data
    for kind, good in flavours().items()
    for name, data in good.items()
}
