"""Does anything of one split come back in another? Counted from the files themselves.

A count of zero is exact. Others tell how many keys (groups, hashes, observations) or
near pairs are in more than one split.
"""

import collections
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax.data import duplicates, records

_MADE_BY = "split"


class Written:
    """What the split files hold, read back in full.

    Attributes:
        images: split -> number.
        classes: split -> class ids.
        licences: split -> licence -> images.
        groups_of: class id -> ids of its groups, over all splits.
        sizes: group id -> images.
    """

    def __init__(self, files: Mapping[str, Path]):
        """`files` is split -> path."""
        self.images: dict[str, int] = {}
        self.classes: dict[str, set[int]] = {}
        self.licences: dict[str, collections.Counter[str]] = {}
        self.groups_of: dict[int, set[str]] = collections.defaultdict(set)
        self.sizes: collections.Counter[str] = collections.Counter()
        # By kind of key: key -> bits of the splits that it was seen in.
        self._seen: dict[str, dict[str, int]] = {
            kind: {} for kind in ("images", "groups", "sha256", "observations")
        }
        self._hashes: list[str] = []
        self._splits: list[int] = []
        for number, (split, path) in enumerate(files.items()):
            self.images[split] = 0
            self.classes[split] = set()
            self.licences[split] = collections.Counter()
            for photo in records.read_photos(path, made_by=_MADE_BY):
                self._add(split, number, photo)

    def _add(self, split: str, number: int, photo: records.Photo) -> None:
        self.images[split] += 1
        self.classes[split].add(photo.class_id)
        self.licences[split][photo.licence] += 1
        self.groups_of[photo.class_id].add(photo.group_id)
        self.sizes[photo.group_id] += 1
        self._hashes.append(photo.phash)
        self._splits.append(number)
        for kind, key in (
            ("images", photo.image_id),
            ("groups", photo.group_id),
            ("sha256", photo.sha256),
            ("observations", photo.observation),
        ):
            if key:
                seen = self._seen[kind]
                seen[key] = seen.get(key, 0) | 1 << number

    def leakage(self, phash_distance: int) -> dict[str, int]:
        """Kind -> how many are in more than one split; all 0 is what is wanted."""
        counts = {
            kind: sum(bits & (bits - 1) != 0 for bits in seen.values())
            for kind, seen in self._seen.items()
        }
        hashes, known = duplicates.parse_hashes(self._hashes)
        splits = np.array(self._splits, np.uint8)[known]
        counts["near_duplicates"] = sum(
            int((splits[left] != splits[right]).sum())
            for left, right in duplicates.near_pairs(hashes[known], phash_distance)
        )
        return counts

    def summary(self) -> dict[str, Any]:
        """Images, classes, licences by split; overlap; classes and groups by size."""
        train = self.classes["train"]
        sizes = collections.Counter(min(len(g), 3) for g in self.groups_of.values())
        return {
            "splits": {
                split: {
                    "images": self.images[split],
                    "classes": len(self.classes[split]),
                    "licences": dict(self.licences[split].most_common()),
                }
                for split in self.images
            },
            "classes": {
                "total": len(self.groups_of),
                "with_1_group": sizes[1],
                "with_2_groups": sizes[2],
                "with_3_or_more_groups": sizes[3],
                "in_val_not_train": len(self.classes["val"] - train),
                "in_test_not_train": len(self.classes["test"] - train),
                "in_all_splits": len(
                    train & self.classes["val"] & self.classes["test"]
                ),
            },
            "val_classes_in_train": _share(self.classes["val"], train),
            "test_classes_in_train": _share(self.classes["test"], train),
            "groups": {
                "total": len(self.sizes),
                "with_several_images": sum(n > 1 for n in self.sizes.values()),
                "largest": max(self.sizes.values(), default=0),
            },
        }


def _share(of: set[int], within: set[int]) -> float:
    return len(of & within) / len(of) if of else 1.0
