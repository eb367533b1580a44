"""Broken and odd images: a picture or a reason, the same for all who look."""

import dataclasses
import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import mutated_images
import numpy as np
import pytest
from odd_images import FLAVOURS, LIMIT, RULES, bitmap, encoded, picture, verdict
from PIL import Image

from aplantida_jax.data import decode, fetch
from aplantida_jax.data.decode import BrokenImage
from aplantida_jax.data.examine import examine
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.journal import OK

ROOT = Path(__file__).resolve().parents[1]
JPEGS = [name for name in FLAVOURS if name.startswith("jpeg")]


def test_no_mutation_crashes_hangs_or_is_judged_in_two_ways(tmp_path):
    """In a process of its own, with its memory and its time bounded."""
    done = subprocess.run(
        [sys.executable, mutated_images.__file__, str(tmp_path)],
        capture_output=True,
        timeout=600,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["disagreed"] == []
    for kind, count in mutated_images.MUTATIONS.items():
        verdicts = found["verdicts"][kind]
        assert sum(verdicts.values()) == count
        assert set(verdicts) <= {OK, "small", *decode.REASONS}
        # Mutations that all pass, or all fail, would have tested nothing.
        assert verdicts[OK] > count // 50
        assert verdicts["truncated"] > count // 50
        assert verdicts["undecodable"] > count // 50


@pytest.mark.parametrize("name", FLAVOURS)
def test_good_images_of_every_flavour_pass(name):
    assert verdict(FLAVOURS[name]) == "ok"


@pytest.mark.parametrize("name", FLAVOURS)
def test_no_cut_image_passes(name):
    data = FLAVOURS[name]
    for length in range(0, len(data) - 1, 16):
        assert verdict(data[:length]) != "ok", length


@pytest.mark.parametrize("name", [name for name in JPEGS if "progr" not in name])
def test_a_cut_jpeg_whose_end_was_mended_does_not_pass_as_half_grey(name):
    """Only the last row of blocks may be filled, where no decoder would notice."""
    data, passed = FLAVOURS[name], 0
    original = decode.decode(data, max_pixels=LIMIT).astype(int)
    for length in range(200, len(data) - 2, 16):
        mended = data[:length].rstrip(b"\xff") + b"\xff\xd9"
        if verdict(mended) == "ok":
            passed += 1
            image = decode.decode(mended, max_pixels=LIMIT)
            # 8 rows, and one above into which coarser colour is blended.
            assert (image[:-9] == original[:-9]).all(), length
    assert passed < len(data) // 16 // 4


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("side", [0, 36, 18, 9])
def test_a_scan_without_data_is_truncated_at_every_scale(name, side):
    data = FLAVOURS[name]
    start = data.index(b"\xff\xda")
    start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    with pytest.raises(BrokenImage, match="truncated"):
        decode.decode(
            data[:start] + b"\xff\xd9", max_pixels=LIMIT, min_target_side=side
        )


@pytest.mark.parametrize(
    "name", ["JPEG", "progressive", "restart markers", "CMYK", "PNG", "WEBP"]
)
def test_a_grey_border_is_not_taken_for_missing_data(name):
    """Also where shrinking it writes the very grey that libjpeg fills gaps with."""
    image = np.asarray(picture(480, 360)).copy()
    image[-96:] = 128
    kind = name if name in ("JPEG", "PNG", "WEBP") else "JPEG"
    framed = Image.fromarray(image).convert("CMYK" if name == "CMYK" else "RGB")
    options = {"progressive": True} if name == "progressive" else {}
    options |= {"restart_marker_rows": 1} if name == "restart markers" else {}
    data = encoded(framed, kind, **options)
    assert verdict(data) == "ok"
    rules = dataclasses.replace(RULES, shrink_short_side=120)
    outcome, kept = examine("0" * 16, Fetched(fetch.OK, body=data), rules)
    assert outcome.status == OK
    for side in (0, 60, 30, 15):
        shown = decode.decode(kept, max_pixels=LIMIT, min_target_side=side)
        if name != "CMYK":
            assert (shown[-1] == 128).all()


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_ends_where_its_decoder_stops(name):
    """Whatever a comment holds, before each of the file's segments."""
    data = FLAVOURS[name]
    found = decode.header(data)
    assert found.end == len(data)
    assert decode.header(data + b"\xff\xd9\xff\xda" * 9) == found
    places = [n for n in range(2, len(data)) if data[n : n + 2] == b"\xff\xda"]
    comment = b"\xff\xfe\0\x06\xff\xd9\xff\xda"
    for place in (*places, len(data) - 2):
        longer = decode.header(data[:place] + comment + data[place:])
        assert longer.end == len(data) + len(comment)
        assert longer.scans == found.scans == len(places)
        assert verdict(data[:place] + comment) == "truncated"
    # An empty comment is as long as its length, or libjpeg reads on after it.
    for length in range(3):
        short = data[:2] + b"\xff\xfe" + length.to_bytes(2, "big") + data[2:]
        assert decode.header(short).end == len(short)
        assert verdict(short) == "ok"


@pytest.mark.parametrize("filling", [b"", b"\xff", b"\xff\x15", b"\xff\xd3", b"\xff\1"])
@pytest.mark.parametrize(
    "name", [name for name in JPEGS if "progr" not in name and "restart" not in name]
)
def test_nor_does_a_marker_hide_that_data_is_missing(name, filling):
    """Half a scan, and then what makes libjpeg stop and fill the rest with grey."""
    data = FLAVOURS[name]
    half = decode.header(data).scan_data[-1][1] // 2 + 200
    missing = data[:half].rstrip(b"\xff") + filling + b"\xff\xd9"
    assert verdict(missing) == "truncated"


def test_a_jpeg_cut_before_a_restart_marker_is_truncated():
    data = FLAVOURS["jpeg restart markers"]
    for number in range(3):
        place = data.index(bytes([0xFF, 0xD0 + number]))
        assert verdict(data[:place] + b"\xff\xd9") == "truncated"


def test_every_flipped_bit_of_a_png_is_noticed_or_harmless():
    data = encoded(picture(24, 18), "PNG")
    original = decode.decode(data, max_pixels=LIMIT)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            image = decode.decode(bytes(damaged), max_pixels=LIMIT)
        except BrokenImage:
            continue
        np.testing.assert_array_equal(image, original)


def test_random_bytes_are_no_image():
    rng = np.random.default_rng(0)
    starts = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0")
    starts += (b"RIFF\x40\0\0\0WEBPVP8 ", b"\0\0\0\x18ftypheic", b"%PDF-1.4")
    for start in starts:
        for _ in range(50):
            assert verdict(start + rng.bytes(int(rng.integers(0, 2000)))) != "ok"


# How to store the upright picture so that the EXIF value brings it back.
_STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_orientation_counts_in_every_format(kind, alpha, orientation):
    upright = np.asarray(picture())
    stored = Image.fromarray(np.ascontiguousarray(_STORED[orientation](upright)))
    if alpha:
        stored.putalpha(255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, lossless=True)
    found = decode.header(data)
    assert (found.width, found.height, found.orientation) == (96, 72, orientation)
    np.testing.assert_array_equal(decode.decode(data, max_pixels=LIMIT), upright)


def test_the_first_exif_segment_decides():
    segments = b""
    for orientation in (6, 3):
        exif = Image.Exif()
        exif[0x0112] = orientation
        whole = encoded(picture(), "JPEG", exif=exif)
        start = whole.index(b"\xff\xe1")
        length = int.from_bytes(whole[start + 2 : start + 4], "big")
        segments += whole[start : start + 2 + length]
    good = FLAVOURS["jpeg baseline 4:2:0"]
    data = good[:2] + segments + good[2:]
    assert decode.header(data).orientation == 6
    assert decode.decode(data, max_pixels=LIMIT).shape == (96, 72, 3)


def test_bitmaps_of_all_ages_show_the_same():
    image = np.asarray(picture())
    bottom_up = np.ascontiguousarray(image[::-1, :, ::-1])
    old = bitmap(struct.pack("<IHHHH", 12, 96, 72, 1, 24), bottom_up.tobytes())
    # The fourth byte is not transparency, though all of it is 0.
    padded = np.dstack([bottom_up, np.zeros((72, 96), np.uint8)])
    sizes = struct.pack("<IiiHHIIiiII", 40, 96, 72, 1, 32, 0, padded.size, 0, 0, 0, 0)
    for data in (old, bitmap(sizes, padded.tobytes())):
        assert verdict(data) == "ok"
        np.testing.assert_array_equal(decode.decode(data, max_pixels=LIMIT), image)


def test_16_bits_and_transparency_are_the_upper_8_over_white():
    image = np.asarray(picture())[..., ::-1]
    alpha = np.full((72, 96, 1), 128, np.uint8)
    deep = np.dstack([image, alpha]).astype(np.uint16) * 257
    data = cv2.imencode(".png", deep)[1].tobytes()
    expected = np.rint((image[..., ::-1] * 128.0 + 255.0 * 127.0) / 255)
    found = decode.decode(data, max_pixels=LIMIT)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_animations_with_transparency_give_their_first_picture(kind):
    first, second = picture(), picture().rotate(180)
    for frame in (first, second):
        frame.putalpha(Image.new("L", frame.size, 255))
    options = {"save_all": True, "append_images": [second], "lossless": True}
    data = encoded(first, kind, **options)
    assert verdict(data) == "ok"
    found = decode.decode(data, max_pixels=LIMIT).astype(int)
    # A GIF has 256 colours.
    assert np.abs(found - np.asarray(first)[..., :3]).mean() < 12


def test_nothing_but_transparency_is_no_picture():
    clear = picture()
    clear.putalpha(0)
    for kind in ("PNG", "WEBP"):
        assert verdict(encoded(clear, kind, lossless=True)) == "blank"


def test_nothing_else_decodes_images():
    """The cache, the pipeline and the reports all go through `decode`."""
    decoders = ("imdecode", "imread", "Image.open", "decode_jpeg", "decode_image")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "aplantida_jax").rglob("*.py")
        for name in decoders
        if name in path.read_text()
    }
    assert found == {"aplantida_jax/data/decode.py"}
