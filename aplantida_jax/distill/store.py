"""Soft labels on disk: packed top-k rows, keyed by image and view.

    <store>/store.json        what it is of, see `store_file`
    <store>/shard-00000.npy   structured rows, see `rows`

With views the rows of an image follow each other, one for each view, in one shard.

Append-only: a shard is written whole, then store.json names it with its SHA-256; an
interrupted writer goes on after the last whole one. Readers verify the hashes once at
opening and then map the shards into memory, so that random access loads nothing else.
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
from aplantida_jax.distill import store_file
from aplantida_jax.distill.rows import Layout, records, unpack
from aplantida_jax.errors import UserError

_CHUNK = 65_536  # rows unpacked at a time


class Writer:
    """Appends shards to a store; opening an unfinished one goes on after its last.

    From the first damaged shard on, an earlier writer's work is done again.

    Attributes:
        layout: of the rows to append.
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
        views: dict[str, Any] | None = None,
    ):
        """Opens `directory`.

        Args:
            directory: of the store.
            k: classes kept a row.
            label_map: of the classes.
            made_by: the writing stage.
            key: that of the stage's job: other inputs start a new store.
            provenance: ancestors of the teachers, for the licence verdict.
            views: {"count": rows an image, "seed": of the views, "augment": what they
                were drawn and coloured with}; None for one row of the evaluation view.
        """
        self._directory = Path(directory)
        self._rows_an_image = views["count"] if views else 1
        self.layout = Layout(k, len(label_map), with_views=views is not None)
        self._described: dict[str, Any] = {
            "k": k,
            "classes": len(label_map),
            "label_map": label_map.fingerprint,
            "made_by": made_by,
            "key": key,
            "provenance": provenance,
            "views": views,
        }
        self._described["shards"] = self._whole_shards()
        self._remove_the_rest()

    def _remove_the_rest(self) -> None:
        """What store.json named before, or a killed writer had not named yet."""
        # Before the shards go: store.json must not name what is gone.
        if self._described["shards"]:
            self._describe()
        else:
            (self._directory / "store.json").unlink(missing_ok=True)
        named = {shard["file"] for shard in self._described["shards"]}
        for path in self._directory.glob("shard-*.npy"):
            if path.name not in named:
                path.unlink()

    def _whole_shards(self) -> list[dict[str, Any]]:
        """What an earlier writer of this job left, up to the first damaged shard."""
        try:
            found = store_file.read(self._directory, self._described["made_by"])
        except UserError:  # nothing there, or nothing that can be trusted
            return []
        shards = found.pop("shards")
        if found != json.loads(json.dumps(self._described)):  # tuples become lists
            return []
        return list(
            itertools.takewhile(
                lambda shard: store_file.is_whole(self._directory, shard),
                shards,
            )
        )

    def start_over(self) -> None:
        """Removes every row."""
        self._described["shards"] = []
        self._remove_the_rest()

    def _describe(self) -> None:
        store_file.write(self._directory, self._described)

    @property
    def rows_written(self) -> int:
        return sum(shard["rows"] for shard in self._described["shards"])

    @property
    def images_written(self) -> int:
        return self.rows_written // self._rows_an_image

    @property
    def outputs(self) -> list[Path]:
        """The store's files, for its stage's manifest."""
        names = [shard["file"] for shard in self._described["shards"]]
        return [self._directory / name for name in ("store.json", *names)]

    def metrics(self) -> dict[str, Any]:
        """Rows and their size, for the stage's manifest; bytes of the rows alone."""
        size = self.layout.row_type.itemsize
        dense = 4 * self.layout.classes
        return {
            "rows": self.rows_written,
            "views": self._rows_an_image if self.layout.with_views else 0,
            "bytes_per_row": size,
            "bytes_of_dense_float32": dense,
            "dense_over_packed": dense / size,
        }

    def summary(self) -> str:
        """`metrics` in words."""
        return (
            "{rows} rows of {bytes_per_row} bytes, 1/{dense_over_packed:.0f} of "
            "float32 for all classes".format(**self.metrics())
        )

    def append(self, rows: np.ndarray) -> None:
        """Adds one shard of whole images.

        Raises:
            ValueError: rows of another layout, or an image without all of its views.
        """
        if rows.dtype != self.layout.row_type:
            raise ValueError(f"rows of {rows.dtype}, not of {self.layout.row_type}")
        if not _are_whole_images(rows, self._rows_an_image):
            raise ValueError(f"not {self._rows_an_image} views of each image, in order")
        name = f"shard-{len(self._described['shards']):05d}.npy"
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        content = buffer.getbuffer()
        files.write_bytes(self._directory / name, content)
        sha256 = hashlib.sha256(content).hexdigest()
        self._described["shards"].append(
            {"file": name, "rows": len(rows), "sha256": sha256}
        )
        self._describe()


class SoftLabels:
    """Random access to a store.

    Attributes:
        layout: of its rows.
        provenance: ancestors of the teachers, for the licence verdict.
        views: {"count", "seed", "augment"} of the recorded views; None without.
        rows_an_image: views of each image, or 1.
        image_id: uint64 [images], sorted.
    """

    def __init__(self, directory: Path, *, label_map: LabelMap, made_by: str):
        path = Path(directory) / "store.json"
        described = store_file.read(Path(directory), made_by)
        manifest.check_label_map(
            described["label_map"], label_map.fingerprint, where=path, made_by=made_by
        )
        self._where = path
        self._made_by = made_by
        self.provenance: list[dict[str, Any]] = described["provenance"]
        self.views: dict[str, Any] | None = described["views"]
        self.rows_an_image: int = self.views["count"] if self.views else 1
        with_views = self.views is not None
        self.layout = Layout(described["k"], len(label_map), with_views)
        self._shards = [self._open(shard) for shard in described["shards"]]
        if not self._shards:
            raise UserError(f"{path} is empty: run stage '{made_by}' again")
        self._first_row = np.cumsum([0, *(len(shard) for shard in self._shards)])
        # One id and one position an image; the rows stay on the disk.
        every = slice(None, None, self.rows_an_image)
        ids = np.concatenate([shard["image_id"][every] for shard in self._shards])
        order = np.argsort(ids, kind="stable")
        self.image_id = ids[order]
        self._position = (order * self.rows_an_image).astype(np.uint32)
        if (self.image_id[1:] == self.image_id[:-1]).any():
            raise UserError(
                f"{path} has an image twice: run stage '{made_by}' again, after "
                f"removing {path.parent}"
            )

    def __len__(self) -> int:
        """Rows: images times views."""
        return len(self.image_id) * self.rows_an_image

    def _open(self, shard: dict[str, Any]) -> np.ndarray:
        path = self._where.parent / shard["file"]
        if not store_file.is_whole(self._where.parent, shard):
            raise UserError(f"{path} is damaged: run stage '{self._made_by}' again")
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        if rows.dtype != self.layout.row_type or not _are_whole_images(
            rows, self.rows_an_image
        ):
            raise UserError(
                f"{path} has other rows than {self._where} says: run stage "
                f"'{self._made_by}' again"
            )
        return rows

    def sum_error(self) -> float:
        """How far from 1 the sum of a row may be: the greatest |sum - 1|."""
        worst = 0.0
        for shard in self._shards:
            for start in range(0, len(shard), _CHUNK):
                found = unpack(shard[start : start + _CHUNK], self.layout)
                mass = np.exp(found["teacher_logprob"], dtype=np.float64).sum(axis=1)
                worst = max(worst, np.abs(mass + found["teacher_tail"] - 1).max())
        return worst

    def contains(self, image_id: np.ndarray) -> np.ndarray:
        """bool [n]: which of the ids uint64 [n] are there."""
        at = np.searchsorted(self.image_id, image_id)
        at = np.minimum(at, len(self.image_id) - 1)
        return self.image_id[at] == image_id

    def require(self, image_id: np.ndarray) -> None:
        """Raises UserError unless every id is there."""
        missing = int((~self.contains(image_id)).sum())
        if missing:
            raise UserError(
                f"{self._where} lacks {missing} of the {len(image_id)} images: run "
                f"stage '{self._made_by}' again"
            )

    def look_up(
        self, image_id: np.ndarray, view: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The rows of images uint64 [n] in views uint8 [n], see `rows.unpack`.

        Without recorded views `view` is None.

        Raises:
            UserError: an image has no row.
        """
        return unpack(self.packed(image_id, view), self.layout)

    def view_records(self, image_id: np.ndarray, view: np.ndarray) -> np.ndarray:
        """The recorded views, `data.view_record.RECORD` [n]; raises as `look_up`."""
        return records(self.packed(image_id, view))

    def packed(
        self, image_id: np.ndarray, view: np.ndarray | None = None
    ) -> np.ndarray:
        """The rows as they are stored, [n] of `layout.row_type`."""
        self.require(image_id)
        row = self._position[np.searchsorted(self.image_id, image_id)].astype(np.int64)
        if (view is None) != (self.views is None):
            raise ValueError("a view is asked for where there are some, and only there")
        if view is not None:
            if (np.asarray(view) >= self.rows_an_image).any():
                raise ValueError(f"a view beyond the {self.rows_an_image} there are")
            row += view
        rows = np.empty(len(row), self.layout.row_type)
        shard_of = np.searchsorted(self._first_row, row, side="right") - 1
        for shard in np.unique(shard_of).tolist():
            here = shard_of == shard
            rows[here] = self._shards[shard][row[here] - self._first_row[shard]]
        return rows


def _are_whole_images(rows: np.ndarray, rows_an_image: int) -> bool:
    """Whether each image has its views 0, 1, ... one after the other."""
    if rows.ndim != 1 or len(rows) % rows_an_image:
        return False
    if "view" not in (rows.dtype.names or ()):
        return True
    ids = rows["image_id"].reshape(-1, rows_an_image)
    views = rows["view"].reshape(-1, rows_an_image)
    return bool((ids == ids[:, :1]).all() and (views == np.arange(rows_an_image)).all())
