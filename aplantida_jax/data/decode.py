"""Image bytes -> RGB: the only decoder in the project.

Audit, download, training, evaluation and validation all come here, so they agree on
which files are images and on every pixel. The result is uint8 RGB [h, w, 3], upright:

| file | result |
|---|---|
| JPEG, also progressive, with restart markers, grey | decoded |
| JPEG in CMYK or YCCK | converted by OpenCV, without a colour profile |
| MPO, animated PNG, WebP or GIF | its first picture |
| PNG, WebP, GIF, BMP; palette, grey, 1 to 16 bits | decoded; the upper 8 bits |
| EXIF orientation 2 to 8 in a JPEG, PNG or WebP | turned upright; others: as is |
| transparency (PNG, WebP, GIF) | laid over white; a key colour of a grey PNG is not |
| colour profiles, the fourth channel of a BMP | ignored |
| no byte at all | refused: "empty" |
| HTML or other XML | refused: "html" |
| TIFF, SVG, AVIF, HEIC, JPEG 2000 and all else | refused: "unsupported" |
| no end (JPEG, PNG, WebP), a JPEG's last row of blocks missing | refused: "truncated" |
| more pixels claimed than `max_pixels`, more than 100 scans | refused: "bomb" |
| PNG, WebP, GIF or BMP above a quarter of `max_pixels` | refused: "oversized" |
| nothing but transparency | refused: "blank" |
| a JPEG of more than 6,000 segments | refused: "undecodable" |
| what libjpeg, libpng, libwebp or OpenCV gives up on | refused: "undecodable" |

Flipped bits inside the scan of a JPEG or a WebP are not noticed by any decoder: the
picture is merely wrong in parts. Nor is it when a progressive JPEG was cut and given an
end again, once its first scan is whole: the picture is coarse. That cannot be told from
a bad photo; what happens to the bytes later the hashes of the cache tell. (libjpeg says
"premature end" or "corrupt data" on stderr then, for the whole process: no signal that
a thread could use.)

Memory for each pixel of the worst that is accepted, measured: 8 bytes for a JPEG at a
scale (progressive CMYK, whose coefficients stay until the last scan), 14 at full size
(where its last row is grey, else 11); 16 for the other formats (a PNG with 16 bits and
transparency), of which a quarter of the pixels is allowed. So with the default of 100
million a thread takes at most 0.8 GB while images are shrunk on arrival, else 1.4 GB,
besides the file's own bytes: those of a JPEG once more where its last row is grey.
"""

import itertools
from collections.abc import Callable

import cv2
import numpy as np

from aplantida_jax.data.image_header import BrokenImage, Header, header, scan_ends

__all__ = ["BrokenImage", "Header", "decode", "encode_jpeg", "header", "shrink"]

# Why bytes are not a picture; `BrokenImage.reason` is one of them.
REASONS = ("empty", "html", "truncated", "bomb", "oversized", "unsupported") + (
    "undecodable",
    "blank",
)

# libjpeg decodes at these scales for a fraction of the cost. The flags are
# IMREAD_REDUCED_COLOR_* without its BGR bit, which excludes IMREAD_COLOR_RGB.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# Only a JPEG can be decoded at a fraction of its size; the others need the memory.
FULL_SIZE_SHARE = 4
# Each scan of a progressive JPEG costs a pass over the picture and may have a few bytes
# only: a small file could keep the decoder busy for hours. Encoders make ten.
_MOST_SCANS = 100
# What libjpeg draws where a scan ends too early, in colour and in both kinds of CMYK.
_FILLER = (128, 64, 65)
# What is decoded if it stands where a scan lacks something. A 0 first, or bytes of 255
# before it would make a marker of it.
_MORE = bytes(range(91))
# At the very end all restart markers, each with more data: a scan that was cut between
# two of its parts waits for the next of them.
_LAST = b"".join([_MORE, *(bytes([0xFF, 0xD0 + n]) + _MORE for n in range(8))])
_BLOCK = 8  # pixels that a JPEG codes together, each way
_STRIPE = 256  # rows whose transparency is worked out at once, for the memory's sake

# EXIF orientation (CIPA DC-008, 4.6.5.1, tag 274) -> what turns the picture upright.
_UNDO: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}

# What OpenCV has to say of a broken file is in the reason; on stderr it would drown the
# progress of a download.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(
    data: bytes,
    *,
    max_pixels: int,
    min_target_side: int = 0,
    found: Header | None = None,
) -> np.ndarray:
    """Decodes one image.

    Args:
        data: the file's bytes.
        max_pixels: an image that claims more is refused before it is decoded.
        min_target_side: a JPEG may come at 1/2, 1/4 or 1/8 of its size as long as its
            short side keeps this many pixels; 0 is full size.
        found: what `header` says of it, for whoever has asked already.

    Returns:
        uint8 RGB [h, w, 3], upright.

    Raises:
        BrokenImage: with one of `REASONS`.
    """
    found = found or header(data)
    if found.pixels > max_pixels or found.scans > _MOST_SCANS:
        raise BrokenImage("bomb")
    if found.format != "jpeg" and found.pixels > max_pixels // FULL_SIZE_SHARE:
        raise BrokenImage("oversized")
    if not found.whole:
        raise BrokenImage("truncated")
    if found.format == "jpeg":
        image = _jpeg(data, found, min_target_side)
    elif found.format == "bmp":
        image = _read(data, _RGB)
    else:
        image = _with_transparency(data)
    return _upright(image, found.orientation)


def shrink(image: np.ndarray, short_side: int) -> np.ndarray:
    """The image with its short side at most `short_side` pixels; never enlarges.

    Raises:
        ValueError: `short_side` is below 1.
    """
    if short_side < 1:
        raise ValueError(f"short_side={short_side}: an image has 1 pixel or more")
    height, width = image.shape[:2]
    if min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Below a factor of two, as after decoding at a scale, two neighbours each way cover
    # every pixel: as close to a Lanczos filter as by area (36.8 and 36.9 dB on photos),
    # in a sixth of the time.
    how = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
    return cv2.resize(image, size, interpolation=how)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """uint8 RGB [h, w, 3] -> JPEG bytes."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _jpeg(data: bytes, found: Header, min_target_side: int) -> np.ndarray:
    """Refuses a picture whose last row of blocks was not there to decode."""
    short_side = min(found.width, found.height)
    scales = (n for n in _REDUCED if short_side // n >= min_target_side > 0)
    scale = next(scales, 1)
    flag = _RGB | _REDUCED.get(scale, 0)
    image = _read(data, flag)
    last_block = (len(image) - 1) % (_BLOCK // scale) + 1  # rows of it
    # Without its first row, where coarser colour is blended with the block above.
    last = image[-max(1, last_block - 1) :]
    filled = last[0, 0, 0] in _FILLER and last.min() == last.max()
    # Or is it a grey border? Then the scans are complete, and more is ignored.
    if filled and not np.array_equal(_read(_with_more(data, found), flag), image):
        raise BrokenImage("truncated")
    return image


def _with_more(data: bytes, found: Header) -> bytes:
    """The JPEG with more data where its decoder stops; without what is behind it."""
    cuts = (0, *scan_ends(data, found))
    parts = [data[start:stop] for start, stop in itertools.pairwise(cuts)]
    return _MORE.join(parts) + _LAST + data[cuts[-1] : found.end]


def _read(data: bytes, flag: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        image = None
    if image is None:
        raise BrokenImage("undecodable")
    return image


def _with_transparency(data: bytes) -> np.ndarray:
    image = _read(data, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4:
        del image  # or there would be two
        return _read(data, _RGB)
    if not image[:, :, 3].any():
        raise BrokenImage("blank")
    result = np.empty((*image.shape[:2], 3), np.uint8)
    for top in range(0, len(image), _STRIPE):
        rows = image[top : top + _STRIPE]
        if rows.dtype == np.uint16:
            rows = (rows >> 8).astype(np.uint8)
        colour = cv2.cvtColor(rows, cv2.COLOR_BGRA2RGB).astype(np.uint16)
        alpha = rows[:, :, 3:].astype(np.uint16)
        over_white = (colour * alpha + 255 * (255 - alpha) + 127) // 255
        result[top : top + _STRIPE] = over_white
    return result


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    undo = _UNDO.get(orientation)
    return undo(image) if undo else image
