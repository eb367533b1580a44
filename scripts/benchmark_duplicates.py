"""Which altered copies of photos the perceptual hash finds, beside OpenCV's hashes.

    python scripts/benchmark_duplicates.py DIRECTORY [--distance=6]

DIRECTORY holds JPEGs. Prints lines `name value goal`: for every kind of copy the per
cent found by ours, then by OpenCV's PHash and BlockMeanHash at the same share of their
bits; how many JPEGs were broken and skipped; then the pairs of the photos themselves
that are that near, for looking at.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from aplantida_jax.data import decode, duplicates
from aplantida_jax.data.phash import MIRROR, phash

SIDE = 512  # as `download` keeps them
BITS = 64
# OpenCV's hashes shrink without an average; this side is what serves each best.
LIBRARY = {
    "opencv_phash": (cv2.img_hash.PHash.create(), 32),
    "opencv_block_mean": (cv2.img_hash.BlockMeanHash.create(), 256),
}
Change = Callable[[np.ndarray], np.ndarray]


def jpeg(quality: int) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        data = decode.encode_jpeg(image, quality)
        return decode.decode(data, max_pixels=image.size)

    return change


def scaled(factor: float) -> Change:
    return lambda image: cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
    )


def cropped(share: float, *, corner: bool = False) -> Change:
    """What is left after `share` of the height and width is cut off."""

    def change(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        tall, wide = round(height * (1 - share)), round(width * (1 - share))
        top, left = (0, 0) if corner else ((height - tall) // 2, (width - wide) // 2)
        return np.ascontiguousarray(image[top : top + tall, left : left + wide])

    return change


def brightened(factor: float) -> Change:
    return lambda image: np.clip(image * np.float32(factor), 0, 255).astype(np.uint8)


def marked(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    corner = (int(width * 0.7), int(height * 0.96))
    font, size = cv2.FONT_HERSHEY_SIMPLEX, width / 900
    text = "(c) photo"
    return cv2.putText(image.copy(), text, corner, font, size, (255, 255, 255), 1)


def mirrored(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1])


def crop_half_q60(image: np.ndarray) -> np.ndarray:
    return jpeg(60)(scaled(0.5)(cropped(0.02)(image)))


# Kind of copy -> how it is made, the per cent that must be found.
COPIES: dict[str, tuple[Change, str]] = {
    "jpeg_q30": (jpeg(30), ">=99"),
    "jpeg_q60": (jpeg(60), ">=99"),
    "half_size": (scaled(0.5), ">=99"),
    "quarter_size": (scaled(0.25), ">=95"),
    "crop_2_half_q60": (crop_half_q60, ">=99"),
    "crop_4_centre": (cropped(0.04), ">=80"),
    "crop_4_corner": (cropped(0.04, corner=True), "-"),
    "crop_10_centre": (cropped(0.1), "-"),
    "crop_10_corner": (cropped(0.1, corner=True), "-"),
    "brighter": (brightened(1.1), ">=99"),
    "darker": (brightened(0.9), ">=99"),
    "watermark": (marked, ">=99"),
    "mirrored": (mirrored, ">=99"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--distance", type=int, default=6)
    options = parser.parse_args()
    paths = sorted(options.directory.glob("*.jpg"))
    if not paths:
        parser.error(f"no *.jpg in {options.directory}: name a directory of photos")
    names: list[str] = []
    hashes: list[str] = []
    found: dict[tuple[str, str], int] = {}
    for path in paths:
        try:
            image = decode.decode(
                path.read_bytes(), max_pixels=10**9, min_target_side=SIDE
            )
        except decode.BrokenImage as broken:
            print(f"{path}: {broken.reason}, skipped", file=sys.stderr)
            continue
        names.append(path.name)
        hashes.append(phash(image))
        for kind, (change, _) in COPIES.items():
            for name, near in compare(image, change(image), options.distance).items():
                found[kind, name] = found.get((kind, name), 0) + near
    if not names:
        parser.error(f"no *.jpg in {options.directory} can be decoded")
    report(names, hashes, found, options.distance)
    print(f"broken {len(paths) - len(names)} -")


def report(
    names: list[str],
    hashes: list[str],
    found: dict[tuple[str, str], int],
    distance: int,
) -> None:
    """Prints the shares of the copies that were found, and the pairs of photos."""
    for (kind, name), count in found.items():
        goal = COPIES[kind][1] if name == "ours" else "-"
        print(f"{kind}_{name}_percent {100 * count / len(names):.1f} {goal}")
    values, known = duplicates.parse_hashes(hashes)
    print(f"featureless {len(names) - known.sum()} -")
    shown = np.array(names)[known]
    for left, right in duplicates.near_pairs(values[known], distance, MIRROR):
        for pair in zip(shown[left], shown[right], strict=True):
            print("near_pair", *pair)


def compare(image: np.ndarray, copy: np.ndarray, distance: int) -> dict[str, bool]:
    """For each hash, are the two near?"""
    own, other = phash(image), phash(copy)
    differing = int(own or "0", 16) ^ int(other or "0", 16)
    bits = min(differing.bit_count(), (differing ^ MIRROR).bit_count())
    near = {"ours": bool(own and other) and bits <= distance}
    for name, (hasher, side) in LIBRARY.items():
        small = [
            cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            for picture in (image, copy)
        ]
        one, two = (np.unpackbits(hasher.compute(picture)) for picture in small)
        near[name] = bool((one != two).mean() <= distance / BITS)
    return near


if __name__ == "__main__":
    main()
