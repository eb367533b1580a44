"""The peer of `benchmark_input.py`: torch's DataLoader with albumentations.

Runs in an environment of its own, since torch is no dependency of ours:

    python3.11 -m venv PEER
    PEER/bin/pip install torch albumentations==2.0.8 opencv-python-headless

A line "directory workers size resize images" on stdin measures once; the answer is a
line of JSON {images_per_s, versions}. What is measured is the plan's training input:
decode, resize, random crop, flips, rotation, colour jitter, blur, normalise, float32
channels first, in batches of 32.
"""

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import albumentations
import cv2
import torch
from albumentations.pytorch import ToTensorV2

_BATCH = 32
_WARM_UP = 2  # batches


def transforms(size: int, resize: int) -> albumentations.Compose:
    """The plan's, in its order."""
    return albumentations.Compose(
        [
            albumentations.SmallestMaxSize(max_size=resize),
            albumentations.RandomCrop(height=size, width=size),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.VerticalFlip(p=0.2),
            albumentations.Rotate(limit=20, border_mode=cv2.BORDER_REFLECT_101, p=1.0),
            albumentations.ColorJitter(
                brightness=0.3, contrast=0.3, saturation=0.3, hue=0.15, p=1.0
            ),
            albumentations.GaussianBlur(p=0.1),
            albumentations.Normalize(),
            ToTensorV2(),
        ]
    )


class Photos(torch.utils.data.Dataset):
    """The JPEGs of a directory, over and over."""

    def __init__(self, directory: Path, length: int, size: int, resize: int):
        self._files = sorted(str(path) for path in directory.iterdir())
        self._length = length
        self._transforms = transforms(size, resize)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = cv2.imread(self._files[index % len(self._files)])
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return self._transforms(image=image)["image"], index


def measure(
    directory: Path, workers: int, size: int, resize: int, images: int
) -> float:
    """Images a second once the loader runs."""
    batches = images // _BATCH
    length = (batches + _WARM_UP) * _BATCH
    loader = torch.utils.data.DataLoader(
        Photos(directory, length, size, resize),
        batch_size=_BATCH,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
    )
    iterator = iter(loader)
    for _ in itertools.islice(iterator, _WARM_UP):
        pass
    start = time.perf_counter()
    count = sum(len(labels) for _, labels in iterator)
    return count / (time.perf_counter() - start)


def main() -> None:
    found = f"torch {torch.__version__}, albumentations {albumentations.__version__}"
    for line in sys.stdin:
        directory, *numbers = line.split("\t")
        rate = measure(Path(directory), *map(int, numbers))
        print(json.dumps({"images_per_s": rate, "versions": found}), flush=True)


if __name__ == "__main__":
    main()
