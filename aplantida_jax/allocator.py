"""The C library's memory allocator, told to keep what pictures need.

glibc asks the kernel for every block above 128 kB to 32 MB (it adapts) and gives it
back when it is freed, page by page: for pictures of a few megabytes that is up to a
third of the processor time of a download.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 32 << 20  # bytes; the most that glibc takes as M_MMAP_THRESHOLD
_KEPT = 256 << 20  # bytes that may lie unused before they are given back


def keep_large_blocks() -> bool:
    """Reuses freed blocks of up to 32 MB; False where the C library cannot."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
