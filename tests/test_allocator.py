"""Pictures that come and go cost no page faults once their memory is kept."""

import ctypes
import subprocess
import sys

import pytest

_PICTURES = """
import resource
import numpy as np
from aplantida_jax import allocator

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def pictures():
    before = faults()
    for _ in range(50):
        np.ones((768, 1024, 3), np.uint8)
        np.ones((2048, 2048, 3), np.uint8)  # of several sizes, as photos are
    return faults() - before

assert allocator.keep_large_blocks()
pictures()
print(pictures())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)
def test_kept_memory_is_not_faulted_in_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PICTURES], capture_output=True, text=True, check=True
    )
    # Without it, 100 pictures of 576 pages and more.
    assert int(done.stdout) < 100
