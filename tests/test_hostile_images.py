"""Images made to hurt: claims that exhaust memory, scans that never end."""

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from odd_images import FLAVOURS, bitmap, encoded, picture, verdict
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def _with(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def _claims(side: int) -> dict[str, bytes]:
    """Small files that claim side x side pixels."""
    jpeg, png = FLAVOURS["jpeg baseline 4:2:0"], FLAVOURS["png colour"]
    both = side.to_bytes(2, "big") * 2
    lossy, gif = FLAVOURS["webp lossy"], encoded(picture(), "GIF")
    lossless = FLAVOURS["webp lossless"]
    canvas = FLAVOURS["webp alpha"]
    assert canvas[12:16] == b"VP8X"
    assert lossy[12:16] == b"VP8 "
    less = min(side, 1 << 14) - 1  # 14 bits a side, in WebP's own frames
    return {
        "jpeg": _with(jpeg, jpeg.index(b"\xff\xc0") + 5, both),
        "png": _with(png, 16, side.to_bytes(4, "big") * 2),
        "gif": _with(gif, 6, side.to_bytes(2, "little") * 2),
        "bmp": bitmap(
            struct.pack("<IiiHHIIiiII", 40, side, -side, 1, 24, *(0,) * 6), b""
        ),
        "webp canvas": _with(canvas, 24, (side - 1).to_bytes(3, "little") * 2),
        "webp lossy": _with(lossy, 26, less.to_bytes(2, "little") * 2),
        "webp lossless": _with(lossless, 21, (less | less << 14).to_bytes(4, "little")),
    }


@pytest.mark.parametrize("name", _claims(60_000))
def test_bombs_are_refused_by_their_claim(name):
    assert verdict(_claims(60_000)[name]) == "bomb"
    if name != "jpeg":  # which can be decoded at a fraction of its size
        assert verdict(_claims(9_000)[name]) == "oversized"


def test_a_tiff_is_refused_whatever_it_claims():
    entries = [(256, 60_000), (257, 60_000), (273, 8), (279, 9)]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + tags + bytes(4)
    assert verdict(data) == "unsupported"


def test_a_jpeg_that_keeps_its_decoder_busy_is_refused():
    """A pass over the whole picture can cost a few bytes in a progressive JPEG."""
    data = FLAVOURS["jpeg progressive"]
    last = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))
    again = data[last:-2]
    assert verdict(data[:-2] + again * 20 + data[-2:]) == "ok"
    assert verdict(data[:-2] + again * 200 + data[-2:]) == "bomb"
    # Nor does an end of the image help that is none, in a comment between two scans.
    comment = b"\xff\xfe\0\x06" + b"\xff\xd9\0\0"
    assert verdict(data[:-2] + comment + again * 200 + data[-2:]) == "bomb"


@pytest.mark.parametrize("segment", [b"\xff\xfe\0\2", b"\xff\1"])
def test_segments_without_number_are_refused(segment):
    data = FLAVOURS["jpeg baseline 4:2:0"]
    assert verdict(data[:2] + segment * 100 + data[2:]) == "ok"
    for place in (2, -2):
        many = data[:place] + segment * 10_000 + data[place:]
        assert verdict(many) == "undecodable"


_PEAK = """
import resource, sys
import numpy as np
from aplantida_jax.data import decode
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
data = open(sys.argv[1], "rb").read()
before = status("VmRSS")
image = decode.decode(data, max_pixels=int(sys.argv[2]), min_target_side=256)
print(1024 * (status("VmHWM") - before) / int(sys.argv[2]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", ["transparent", "progressive"])
def test_a_picture_takes_the_memory_that_is_stated(kind, tmp_path):
    """Bytes per `max_pixels`, of the worst that is accepted."""
    limit = 16_000_000
    path = tmp_path / "picture"
    if kind == "transparent":
        deep = np.zeros((2000, 2000, 4), np.uint16)
        deep[::3, ::5] = 40_000
        path.write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    else:
        cmyk = Image.new("CMYK", (4000, 4000), (9, 99, 200, 10))
        path.write_bytes(encoded(cmyk, "JPEG", progressive=True, subsampling=0))
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path), str(limit)],
        capture_output=True,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert 2 < float(done.stdout) < 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_what_follows_a_grey_border_takes_no_memory(tmp_path):
    image = np.asarray(picture(512, 512)).copy()
    image[-64:] = 128
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.fromarray(image), "JPEG") + b"\xff\1" * 5_000_000)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path), "1000000"],
        capture_output=True,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert float(done.stdout) < 30  # megabytes
