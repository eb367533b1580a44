"""What an image file says of itself, read from its structure without decoding.

Knows JPEG (also the first picture of an MPO), PNG, WebP, GIF and BMP: the formats that
`aplantida_jax.data.decode` accepts. No pixel is touched, so that a decompression bomb
can be refused by its claim alone.
"""

import dataclasses
import re
import struct
from collections.abc import Iterator

# Start-of-frame markers; 0xC4, 0xC8 and 0xCC in their midst are other things.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A JPEG's markers (ITU T.81, table B.1) but for RST0-7, which belong in a scan as does
# FF00, a byte 255 of its data; fill bytes may precede any.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# They have no length: TEM, SOI, and those that libjpeg knows none of.
_BARE = frozenset({*range(0x01, 0xC0), 0xD8})
_EXIF_SEGMENT, _SCAN, _END = 0xE1, 0xDA, 0xD9
# Ten times what 40 MB of a colour profile's largest segments would be. A segment may
# have four bytes only, and each costs us a step.
_MOST_SEGMENTS = 6000
_ORIENTATION = 0x0112
_EXIF = b"Exif\0\0"


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
    """What the file claims.

    Attributes:
        format: "jpeg", "png", "webp", "gif" or "bmp".
        width, height: pixels, upright (after EXIF orientation).
        orientation: EXIF value 1-8 of a JPEG, PNG or WebP, 1 where none is given, 0
            when it is given but is not one of those.
        whole: False when the file lacks the end that its format prescribes.
        end: how many bytes of a whole JPEG its decoder reads; None of other files.
        scans: how often a JPEG's decoder goes over the picture, 1 of another format.
        scan_data: (first, end), in bytes, of each stretch of a JPEG's scans, which end
            at markers that have no place in them, too. Empty in another format.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    whole: bool = True
    end: int | None = None
    scans: int = 1
    scan_data: tuple[tuple[int, int], ...] = ()

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


def scan_ends(data: bytes, found: Header) -> list[int]:
    """Where a JPEG's decoder stops reading a scan, in bytes of the file.

    At each end of `scan_data`, and before that at its first restart marker, which may
    be one that has no place there.
    """
    ends = []
    for first, end in found.scan_data:
        restart = _RESTART.search(data, first, end)
        ends += [restart.start(), end] if restart else [end]
    return ends


def _parse(data: bytes) -> Header:
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return Header("gif", *struct.unpack_from("<HH", data, 6))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:2] == b"BM":
        return _bmp(data)
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<") and b"<svg" not in start:
        raise BrokenImage("html")
    raise BrokenImage("unsupported")


def _upright(format_: str, width: int, height: int, orientation: int, **more) -> Header:
    """From 5 on, the stored picture lies on its side."""
    if orientation >= 5:
        width, height = height, width
    return Header(format_, width, height, orientation, **more)


def _jpeg(data: bytes) -> Header:
    """The frame and EXIF stand before the first scan; others may follow that."""
    width, height, orientation = 0, 0, None
    segments = _segments(data)
    for marker, _, content, stop in segments:
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, content + 1)
        elif marker == _EXIF_SEGMENT and data[content : content + 6] == _EXIF:
            if orientation is None:
                orientation = _orientation(data[content + 6 : stop])
        elif marker == _SCAN:
            break
    else:
        raise BrokenImage("truncated")
    scans, scan_data, scanning, end = 1, [], True, stop
    for marker, start, _, stop in segments:
        if scanning:
            scan_data.append((end, start))
        # After a marker out of place libjpeg can resume at a restart marker.
        scanning = marker == _SCAN or (scanning and marker in _BARE)
        scans += marker == _SCAN
        end = stop
    whole = marker == _END
    return _upright(
        *("jpeg", width, height, 1 if orientation is None else orientation),
        whole=whole,
        end=end if whole else None,
        scans=scans,
        scan_data=tuple(scan_data),
    )


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Walks a JPEG to its end as libjpeg does (ITU T.81, annex B).

    By their length, so that what looks like a marker within a comment is none.

    Yields:
        The marker's second byte; in bytes of the file, where the segment begins, its
        contents begin, and it ends. Nothing comes after the end of the image, nor where
        the data ends too early.

    Raises:
        BrokenImage: "undecodable".
        IndexError: the data ends before the first scan.
    """
    position, scanned = 2, False
    for _ in range(_MOST_SEGMENTS):
        if not scanned and data[position] != 0xFF:
            raise BrokenImage("undecodable")
        found = _MARKER.search(data, position)  # past the data of a scan, too
        if not found:
            return
        start, position = found.span()
        marker = data[position - 1]
        if marker == _END or marker in _BARE:
            yield marker, start, position, position
        else:
            length = int.from_bytes(data[position : position + 2], "big")
            yield marker, start, position + 2, position + max(2, length)
            position += max(2, length)  # it counts itself
        if marker == _END:
            return
        scanned = scanned or marker == _SCAN
    raise BrokenImage("undecodable")


def _png(data: bytes) -> Header:
    """Walks the chunks to the end (PNG 3rd edition, 5.3); libpng checks their CRC."""
    width, height = struct.unpack_from(">II", data, 16)
    position, orientation, whole = 8, 1, False
    while not whole and position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            orientation = _orientation(data[position + 8 : position + 8 + length])
        position += 12 + length
        whole = kind == b"IEND" and position <= len(data)
    return _upright("png", width, height, orientation, whole=whole)


def _bmp(data: bytes) -> Header:
    """Windows' header has 32-bit sizes, that of OS/2 1.x (12 bytes) 16-bit ones."""
    (length,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if length == 12 else "<ii", data, 18)
    return Header("bmp", abs(width), abs(height))


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
    kind, orientation = data[12:16], 1
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        orientation = _webp_orientation(data)
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", data, 26))
    return _upright("webp", width, height, orientation, whole=whole)


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            return _orientation(exif.removeprefix(_EXIF))
        position += 8 + length + length % 2
    return 1
