"""Does anything of one split come back in another? Counted from the files themselves.

A count of zero is exact. Others tell how many keys (groups, hashes, observations) or
near pairs are in more than one split.
"""

import collections
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax.data import duplicates, records
from aplantida_jax.data.phash import MIRROR

_MADE_BY = "split"
_CHUNK = 64  # rows; by columns it is faster, as long as they stay in the CPU cache
# Kind of key -> the field that holds it.
_KEYS = {
    "images": "image_id",
    "groups": "group_id",
    "sha256": "sha256",
    "observations": "observation",
}


class Written:
    """What the split files hold, read back in full.

    Attributes:
        images: split -> number.
        classes: split -> class ids.
        licences: split -> licence -> images.
        groups_of: pairs of class id and group id, over all splits.
        sizes: group id -> images.
    """

    def __init__(self, files: Mapping[str, Path]):
        """`files` is split -> path."""
        self.images = dict.fromkeys(files, 0)
        self.classes: dict[str, set[int]] = {split: set() for split in files}
        self.licences: dict[str, collections.Counter[str]] = {
            split: collections.Counter() for split in files
        }
        self.groups_of: set[tuple[int, str]] = set()
        self.sizes: collections.Counter[str] = collections.Counter()
        self._seen: dict[str, list[set[str]]] = {
            kind: [set() for _ in files] for kind in _KEYS
        }
        self._hashes: list[str] = []
        self._splits: list[int] = []
        for number, (split, path) in enumerate(files.items()):
            rows = records.read_rows(path, made_by=_MADE_BY)
            while chunk := list(itertools.islice(rows, _CHUNK)):
                self._add(split, number, chunk)

    def _add(self, split: str, number: int, rows: list[dict[str, Any]]) -> None:
        def column(field: str) -> list[Any]:
            return [row[field] for row in rows]

        class_ids, group_ids = column("class_id"), column("group_id")
        self.images[split] += len(rows)
        self.classes[split].update(class_ids)
        self.licences[split].update(column("licence"))
        self.groups_of.update(zip(class_ids, group_ids, strict=True))
        self.sizes.update(group_ids)
        self._hashes += column("phash")
        self._splits += [number] * len(rows)
        for kind, field in _KEYS.items():
            self._seen[kind][number].update(column(field))

    def leakage(self, phash_distance: int) -> dict[str, int]:
        """Kind -> how many are in more than one split; all 0 is what is wanted."""
        counts = {}
        for kind, seen in self._seen.items():
            pairs = itertools.combinations(seen, 2)
            shared = set().union(*(one & other for one, other in pairs))
            counts[kind] = len(shared - {""})  # "" is not known
        hashes, known = duplicates.parse_hashes(self._hashes)
        splits = np.array(self._splits, np.uint8)[known]
        pairs_of = duplicates.near_pairs(hashes[known], phash_distance, MIRROR)
        counts["near_duplicates"] = sum(
            int((splits[left] != splits[right]).sum()) for left, right in pairs_of
        )
        return counts

    def summary(self) -> dict[str, Any]:
        """Images, classes, licences by split; overlap; classes and groups by size."""
        train = self.classes["train"]
        groups = collections.Counter(class_id for class_id, _ in self.groups_of)
        sizes = collections.Counter(min(count, 3) for count in groups.values())
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
                "total": len(groups),
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
