"""Soft labels on disk: packed top-k rows, keyed by image and view.

    <store>/store.json         what it is of, see `store_file`
    <store>/shard-00000.rows   the bytes of structured rows, see `rows`

With views the rows of an image follow each other, one for each view, in one block.

Append-only: a block is written behind those of its shard, then store.json names it with
its SHA-256; an interrupted writer goes on after the last whole one. Shards are many
blocks long, for each takes a file descriptor of a reader: it verifies the hashes once
at opening and then maps the shards into memory, so that random access loads nothing
else.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import manifest
from aplantida_jax.data import regions
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.distill import store_file
from aplantida_jax.distill.rows import Layout, records, unpack
from aplantida_jax.distill.store_file import are_whole_images
from aplantida_jax.errors import UserError

_SHARD_ROWS = 65_536  # 593,000 images in 4 views are 37 files


class Writer:
    """Appends blocks to a store; opening an unfinished one goes on after its last.

    From the first damaged block on, an earlier writer's work is done again.

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
        regions: Sequence[str] = ("",),
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
            regions: of each teacher, which covers their classes; "" is all.
            views: {"count": rows an image, "seed": of the views, "augment": what they
                were drawn and coloured with}; None for one row of the evaluation view.
        """
        self._directory = Path(directory)
        self._rows_an_image = views["count"] if views else 1
        self.layout = Layout(k, len(label_map), views is not None, len(regions))
        self._described: dict[str, Any] = {
            "k": k,
            "classes": len(label_map),
            "label_map": label_map.fingerprint,
            "made_by": made_by,
            "key": key,
            "provenance": provenance,
            "regions": [*regions],
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
        store_file.keep_only(
            self._directory, self._described["shards"], self.layout.row_type
        )

    def _whole_shards(self) -> list[dict[str, Any]]:
        """What an earlier writer of this job left, up to the first damaged block."""
        try:
            found = store_file.read(self._directory, self._described["made_by"])
        except UserError:  # nothing there, or nothing that can be trusted
            return []
        shards = found.pop("shards")
        if found != json.loads(json.dumps(self._described)):  # tuples become lists
            return []
        return store_file.whole(self._directory, shards, self.layout.row_type)

    def start_over(self) -> None:
        """Removes every row."""
        self._described["shards"] = []
        self._remove_the_rest()

    def _describe(self) -> None:
        store_file.write(self._directory, self._described)

    @property
    def rows_written(self) -> int:
        return sum(store_file.row_count(shard) for shard in self._described["shards"])

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
            "sum_error": self.measured("sum_error").max(initial=0.0),
        }

    def summary(self) -> str:
        """`metrics` in words."""
        return (
            "{rows} rows of {bytes_per_row} bytes, 1/{dense_over_packed:.0f} of "
            "float32 for all classes".format(**self.metrics())
        )

    def append(
        self, rows: np.ndarray, measured: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        """Adds one block of whole images.

        Args:
            rows: [n] of `layout.row_type`.
            measured: what its maker measured of them, by name, to be kept with them;
                "sum_error" is read by `SoftLabels.sum_error`.

        Raises:
            ValueError: rows of another layout, none, or an image without all of its
                views.
        """
        if rows.dtype != self.layout.row_type:
            raise ValueError(f"rows of {rows.dtype}, not of {self.layout.row_type}")
        if not len(rows) or not are_whole_images(rows, self._rows_an_image):
            raise ValueError(f"not {self._rows_an_image} views of each image, in order")
        shards = self._described["shards"]
        if not shards or store_file.row_count(shards[-1]) + len(rows) > _SHARD_ROWS:
            shards.append({"file": f"shard-{len(shards):05d}.rows", "blocks": []})
        block = store_file.write_block(self._directory, shards[-1], rows)
        kept = {name: [*values] for name, values in (measured or {}).items()}
        shards[-1]["blocks"].append({**block, "measured": kept})
        self._describe()

    def measured(self, name: str) -> np.ndarray:
        """What was kept under a name with the rows, float64 [m], in their order."""
        return store_file.measured(self._described["shards"], name)


class SoftLabels:
    """Random access to a store.

    Attributes:
        layout: of its rows.
        provenance: ancestors of the teachers, for the licence verdict.
        regions: of each teacher; "" is all.
        covers: bool [t, c], the classes that each teacher covers.
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
        self.regions: list[str] = described["regions"]
        self.covers = np.array(
            [label_map.in_regions(regions.parse(region)) for region in self.regions]
        )
        with_views = self.views is not None
        self.layout = Layout(
            described["k"], len(label_map), with_views, len(self.regions)
        )
        self._described: list[dict[str, Any]] = described["shards"]
        self._shards = [self._open(shard) for shard in self._described]
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
        directory, row_type = self._where.parent, self.layout.row_type
        path, count = directory / shard["file"], store_file.row_count(shard)
        if store_file.whole(directory, [shard], row_type) == [shard]:
            rows = np.memmap(path, row_type, mode="r", shape=(count,))
            if are_whole_images(rows, self.rows_an_image):
                return rows
        raise UserError(f"{path} is damaged: run stage '{self._made_by}' again")

    def sum_error(self) -> float | None:
        """The greatest |sum - 1| of what was packed; None where nobody measured it.

        Not of the rows themselves: a reader scales them to sum to 1.
        """
        found = store_file.measured(self._described, "sum_error")
        return float(found.max()) if len(found) else None

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
