"""Image bytes -> RGB: the only decoder in the project.

Audit, download, training, evaluation and validation all come here, so they agree on
which files are images and on every pixel. The result is uint8 RGB [h, w, 3], upright:

- JPEG, PNG, WebP, GIF (its first picture) and BMP are decoded, nothing else.
- EXIF orientation is applied (but not to a picture with transparency).
- Grey and palette become RGB; 16 bits per channel become the upper 8; CMYK is converted
  by OpenCV without a colour profile; colour profiles are ignored.
- Transparent pixels are laid over white.
- A file that lacks its end is refused. Flipped bits inside a JPEG scan are not noticed
  by libjpeg, which draws what it can; the hashes of the cache are what notices them.
"""

import cv2
import numpy as np

from aplantida_jax.data.image_header import BrokenImage, Header, header

__all__ = ["BrokenImage", "Header", "decode", "encode_jpeg", "header", "shrink"]

# Why bytes are not a picture; `BrokenImage.reason` is one of them.
REASONS = ("empty", "html", "truncated", "bomb", "unsupported", "undecodable")

# libjpeg decodes at these scales for a fraction of the cost. The flags are
# IMREAD_REDUCED_COLOR_* without its BGR bit, which excludes IMREAD_COLOR_RGB.
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB),
)


def decode(data: bytes, *, max_pixels: int, min_target_side: int = 0) -> np.ndarray:
    """Decodes one image.

    Args:
        data: the file's bytes.
        max_pixels: an image that claims more is refused before it is decoded.
        min_target_side: a JPEG may come at 1/2, 1/4 or 1/8 of its size as long as its
            short side keeps this many pixels; 0 is full size.

    Returns:
        uint8 RGB [h, w, 3], upright.

    Raises:
        BrokenImage: with one of `REASONS`.
    """
    found = header(data)
    if found.pixels > max_pixels:
        raise BrokenImage("bomb")
    if not found.whole:
        raise BrokenImage("truncated")
    if found.format != "jpeg":
        return _with_transparency(data)
    return _read(data, _scale_flag(found, min_target_side))


def shrink(image: np.ndarray, short_side: int) -> np.ndarray:
    """The image with its short side at most `short_side` pixels; never enlarges."""
    height, width = image.shape[:2]
    if min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """uint8 RGB [h, w, 3] -> JPEG bytes."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _scale_flag(found: Header, min_target_side: int) -> int:
    short_side = min(found.width, found.height)
    if min_target_side > 0:
        for factor, flag in _REDUCED:
            if short_side // factor >= min_target_side:
                return flag
    return cv2.IMREAD_COLOR_RGB


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
        return _read(data, cv2.IMREAD_COLOR_RGB)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    colour = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB).astype(np.uint16)
    alpha = image[:, :, 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
