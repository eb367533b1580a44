"""What an image file says of itself, read from its first bytes without decoding.

Knows JPEG (also the first picture of an MPO), PNG, WebP, GIF and BMP: the formats that
`aplantida_jax.data.decode` accepts. No pixel is touched, so that a decompression bomb
can be refused by its claim alone.
"""

import dataclasses
import struct

# Start-of-frame markers; 0xC4, 0xC8 and 0xCC in their midst are other things.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length after them: TEM, RST0-7, SOI.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA
_ORIENTATION = 0x0112


class BrokenImage(Exception):
    """Bytes that are not an image that we decode.

    Attributes:
        reason: one word, for counting; one of `decode.REASONS`.
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Header:
    """What the first bytes claim.

    Attributes:
        format: "jpeg", "png", "webp", "gif" or "bmp".
        width, height: pixels, upright (after EXIF orientation in a JPEG).
        orientation: EXIF value 1-8 of a JPEG, 1 where none is given, 0 when it is given
            but is not one of those.
        whole: False when the file lacks the end that its format prescribes.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    whole: bool = True

    @property
    def pixels(self) -> int:
        return self.width * self.height


def header(data: bytes) -> Header:
    """Reads the header.

    Raises:
        BrokenImage: "empty", "html", "unsupported", or "truncated" when the data ends
            before the size is known.
    """
    if not data:
        raise BrokenImage("empty")
    try:
        found = _parse(data)
    except (struct.error, IndexError):
        raise BrokenImage("truncated") from None
    if found.width <= 0 or found.height <= 0:
        raise BrokenImage("unsupported")
    return found


def _parse(data: bytes) -> Header:
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack_from(">II", data, 16)
        return Header("png", width, height, whole=b"IEND" in data[-64:])
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return Header("gif", *struct.unpack_from("<HH", data, 6))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:2] == b"BM":
        width, height = struct.unpack_from("<ii", data, 18)
        return Header("bmp", abs(width), abs(height))
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<") and b"<svg" not in start:
        raise BrokenImage("html")
    raise BrokenImage("unsupported")


def _jpeg(data: bytes) -> Header:
    """Walks the segments up to the first scan (ITU T.81, annex B)."""
    position, size, orientation = 2, (0, 0), 1
    while True:
        if data[position] != 0xFF:
            raise BrokenImage("undecodable")
        while data[position] == 0xFF:  # fill bytes may precede a marker
            position += 1
        marker = data[position]
        position += 1
        if marker in _BARE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            size = (width, height)
        elif marker == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = _orientation(data[position + 8 : position + length])
        elif marker == _SCAN:
            break
        position += length
    # Inside a scan 0xFF is always followed by 0 or a restart marker, so this is the end
    # of the image, not that of a thumbnail in its EXIF.
    whole = data.find(b"\xff\xd9", position) >= 0
    width, height = reversed(size) if orientation >= 5 else size
    return Header("jpeg", width, height, orientation, whole)


def _orientation(tiff: bytes) -> int:
    """The tag of the first directory (TIFF 6.0, section 2); 1 without one, 0 if odd."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(entries):
            at = directory + 2 + 12 * entry
            tag, kind = struct.unpack_from(order + "HH", tiff, at)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + "H", tiff, at + 8)
                return value if kind == 3 and 1 <= value <= 8 else 0
    except struct.error:
        return 1
    return 1


def _webp(data: bytes) -> Header:
    """RFC 9649, section 2.5 to 2.7."""
    (riff_size,) = struct.unpack_from("<I", data, 4)
    whole = len(data) >= riff_size + 8
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", data, 26))
    return Header("webp", width, height, whole=whole)
