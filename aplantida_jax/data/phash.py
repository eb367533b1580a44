"""A perceptual hash: 64 bits that survive re-encoding, resizing and slight crops.

The lowest 64 frequencies of the 32 x 32 grey picture's cosine transform, without its
mean, each compared with their median (Zauner 2010, "Implementation and benchmarking of
perceptual image hash functions", section 3.2). Pictures are alike when few bits differ.
"""

import cv2
import numpy as np

_SIDE = 32
_BITS = 64
_FLAT = 2.0  # grey levels of standard deviation
_FEWEST = 24  # bits; without ties at the median, half are set


def _lowest_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the 64 lowest frequencies, in a fixed order."""
    places = sorted(
        ((row, column) for row in range(_SIDE) for column in range(_SIDE)),
        key=lambda place: (sum(place), place),
    )[1 : _BITS + 1]
    rows, columns = np.array(places).T
    return rows, columns


_PLACES = _lowest_frequencies()


def phash(image: np.ndarray) -> str:
    """uint8 RGB [h, w, 3] -> 16 hex digits, "" for a picture that shows nothing.

    The hash of an almost even surface is its noise, and that of a mere gradient has few
    bits or none: both would be near those of quite other pictures.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    if small.std() < _FLAT:
        return ""
    lowest = cv2.dct(small.astype(np.float32))[_PLACES]
    bits = lowest > np.median(lowest)
    if bits.sum() < _FEWEST:
        return ""
    return np.packbits(bits).tobytes().hex()
