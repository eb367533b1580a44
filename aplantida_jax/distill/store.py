"""Soft labels on disk: top-k classes, log-probabilities and the tail's mass per image.

    <store>/store.json        {k, label_map, made_by, key, provenance, shards: [...],
                               sha256: of all that}
    <store>/shard-00000.npy   structured rows, see `row_type`

Append-only: a shard is written whole, then store.json names it with its SHA-256; an
interrupted writer goes on after the last whole one. Readers verify the hashes once at
opening and then map the shards into memory, so that random access loads nothing else.
k = 32 takes 138 bytes an image, where 8,587 float32 take 34,348.
"""

import hashlib
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import files, manifest
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.errors import UserError

_NO_CLASS = np.uint16(0xFFFF)  # pads a row with fewer than k classes


def row_type(k: int) -> np.dtype:
    return np.dtype(
        [
            ("image_id", "<u8"),
            ("teacher_class", "<u2", (k,)),
            ("teacher_logprob", "<f2", (k,)),
            ("teacher_tail", "<f2"),
        ]
    )


def pack(image_id: np.ndarray, probability: np.ndarray, k: int) -> np.ndarray:
    """Rows of a store.

    Args:
        image_id: uint64 [n].
        probability: float [n, c], rows sum to 1.
        k: classes kept a row; the most likely first.

    Returns:
        Structured array [n]. Ties go to the lower class: the bytes are reproducible.

    Raises:
        UserError: more classes than the row type can name.
    """
    count, classes = probability.shape
    if classes > int(_NO_CLASS):
        raise UserError(
            f"a store names at most {int(_NO_CLASS)} classes, not {classes}"
        )
    kept = min(k, classes)
    top = np.argsort(-probability, axis=1, kind="stable")[:, :kept]
    value = np.take_along_axis(probability, top, axis=1).astype(np.float64)
    rows = np.zeros(count, row_type(k))
    rows["image_id"] = image_id
    rows["teacher_class"] = _NO_CLASS
    rows["teacher_logprob"] = -np.inf
    there = value > 0
    rows["teacher_class"][:, :kept] = np.where(there, top, _NO_CLASS)
    rows["teacher_logprob"][:, :kept] = np.log(value, where=there, out=value - np.inf)
    rows["teacher_tail"] = np.clip(1 - np.where(there, value, 0).sum(axis=1), 0, 1)
    return rows


def _read(directory: Path, made_by: str) -> dict[str, Any]:
    """What store.json says; UserError when it is missing or altered."""
    path = directory / "store.json"
    described = files.read_json(path, made_by=made_by)
    if not isinstance(described, dict) or described.pop("sha256", "") != _digest(
        described
    ):
        raise UserError(f"{path} is damaged: run stage '{made_by}' again")
    return described


def _digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _is_whole(directory: Path, shard: dict[str, Any]) -> bool:
    path = directory / shard["file"]
    return path.exists() and files.sha256_file(path) == shard["sha256"]


class Writer:
    """Appends shards to a store; opening an unfinished one goes on after its last.

    From the first damaged shard on, an earlier writer's work is done again.
    """

    def __init__(
        self,
        directory: Path,
        *,
        k: int,
        label_map: LabelMap,
        made_by: str,
        key: str,
        provenance: list[dict[str, Any]],
    ):
        """`key` is that of the writing stage's job: other inputs start a new store."""
        self._directory = Path(directory)
        self.k = k
        self._described: dict[str, Any] = {
            "k": k,
            "label_map": label_map.fingerprint,
            "made_by": made_by,
            "key": key,
            "provenance": provenance,
            "shards": self._whole_shards(key, made_by),
        }
        # Before the shards go: store.json must not name what is gone.
        if self._described["shards"]:
            self._describe()
        else:
            (self._directory / "store.json").unlink(missing_ok=True)
        named = {shard["file"] for shard in self._described["shards"]}
        for path in self._directory.glob("shard-*.npy"):
            if path.name not in named:
                path.unlink()

    def _whole_shards(self, key: str, made_by: str) -> list[dict[str, Any]]:
        """What an earlier writer of this job left, up to the first damaged shard."""
        try:
            found = _read(self._directory, made_by)
        except UserError:  # nothing there, or nothing that can be trusted
            return []
        if found["key"] != key:
            return []
        return list(
            itertools.takewhile(
                lambda shard: _is_whole(self._directory, shard), found["shards"]
            )
        )

    def _describe(self) -> None:
        sealed = {**self._described, "sha256": _digest(self._described)}
        files.write_json(self._directory / "store.json", sealed)

    @property
    def rows_written(self) -> int:
        return sum(shard["rows"] for shard in self._described["shards"])

    def append(self, rows: np.ndarray) -> None:
        """Adds one shard."""
        name = f"shard-{len(self._described['shards']):05d}.npy"
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        files.write_bytes(self._directory / name, buffer.getvalue())
        self._described["shards"].append(
            {
                "file": name,
                "rows": len(rows),
                "sha256": files.sha256_file(self._directory / name),
            }
        )
        self._describe()


class SoftLabels:
    """Random access to a store.

    Attributes:
        provenance: ancestors of the teachers, for the licence verdict.
        image_id: uint64 [n], sorted.
    """

    def __init__(self, directory: Path, *, label_map: LabelMap, made_by: str):
        path = Path(directory) / "store.json"
        described = _read(Path(directory), made_by)
        manifest.check_label_map(
            described["label_map"], label_map.fingerprint, where=path, made_by=made_by
        )
        self._where = path
        self._made_by = made_by
        self.provenance: list[dict[str, Any]] = described["provenance"]
        self._shards = [
            self._open(Path(directory), shard) for shard in described["shards"]
        ]
        if not self._shards:
            raise UserError(f"{path} is empty: run stage '{made_by}' again")
        ids = np.concatenate([shard["image_id"] for shard in self._shards])
        sizes = [len(shard) for shard in self._shards]
        shard_of = np.repeat(np.arange(len(sizes)), sizes)
        row_of = np.concatenate([np.arange(size) for size in sizes])
        order = np.argsort(ids, kind="stable")
        self.image_id = ids[order]
        self._shard_of, self._row_of = shard_of[order], row_of[order]

    def __len__(self) -> int:
        return len(self.image_id)

    def _open(self, directory: Path, shard: dict[str, Any]) -> np.ndarray:
        path = directory / shard["file"]
        if not _is_whole(directory, shard):
            raise UserError(f"{path} is damaged: run stage '{self._made_by}' again")
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def contains(self, image_id: np.ndarray) -> np.ndarray:
        """bool [n]: which of the ids uint64 [n] have a row."""
        at = np.minimum(np.searchsorted(self.image_id, image_id), len(self) - 1)
        return self.image_id[at] == image_id

    def require(self, image_id: np.ndarray) -> None:
        """Raises UserError unless every id has a row."""
        missing = int((~self.contains(image_id)).sum())
        if missing:
            raise UserError(
                f"{self._where} lacks {missing} of the {len(image_id)} images: run "
                f"stage '{self._made_by}' again"
            )

    def look_up(self, image_id: np.ndarray) -> dict[str, np.ndarray]:
        """The rows of ids that are there.

        Returns:
            teacher_class int32 [n, k] (-1 for none), teacher_logprob float16 [n, k],
            teacher_tail float16 [n].
        """
        at = np.searchsorted(self.image_id, image_id)
        rows = np.stack(
            [
                self._shards[shard][row]
                for shard, row in zip(self._shard_of[at], self._row_of[at], strict=True)
            ]
        )
        classes = rows["teacher_class"].astype(np.int32)
        return {
            "teacher_class": np.where(rows["teacher_class"] == _NO_CLASS, -1, classes),
            "teacher_logprob": rows["teacher_logprob"],
            "teacher_tail": rows["teacher_tail"],
        }

    def probabilities(self, image_id: np.ndarray, classes: int) -> np.ndarray:
        """Dense float64 [n, classes] of the kept mass; the tail is not spread."""
        rows = self.look_up(image_id)
        dense = np.zeros((len(image_id), classes))
        at, column = np.nonzero(rows["teacher_class"] >= 0)
        dense[at, rows["teacher_class"][at, column]] = np.exp(
            rows["teacher_logprob"][at, column].astype(np.float64)
        )
        return dense
