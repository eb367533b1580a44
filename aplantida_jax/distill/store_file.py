"""store.json: what a soft-label store is of, and which rows it has, sealed by a hash.

{format, k, classes, label_map, made_by, key, provenance, regions: [of each
 teacher], views: null or {count, seed, augment, ...}, shards: [{file, blocks: [{rows,
 sha256, measured}]}], sha256: of all that}

A shard is the bytes of its rows, nothing else. What lies behind the blocks that are
named is of a writer that was killed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import files
from aplantida_jax.errors import UserError

# Of the rows and the files. The first, without a number, had 138 bytes at k = 32; the
# second a file for each block.
_FORMAT = 3


def read(directory: Path, made_by: str) -> dict[str, Any]:
    """What store.json says; UserError when it is missing, altered or of old."""
    path = directory / "store.json"
    described = files.read_json(path, made_by=made_by)
    if not isinstance(described, dict) or described.pop("sha256", "") != _digest(
        described
    ):
        raise UserError(f"{path} is damaged: run stage '{made_by}' again")
    if described.pop("format", None) != _FORMAT:
        raise UserError(
            f"{path} has the format of another version of this program: run stage "
            f"'{made_by}' again"
        )
    return described


def write(directory: Path, described: dict[str, Any]) -> None:
    """Seals and writes it, atomically."""
    described = {"format": _FORMAT, **described}
    sealed = {**described, "sha256": _digest(described)}
    files.write_json(directory / "store.json", sealed)


def row_count(shard: dict[str, Any]) -> int:
    return sum(block["rows"] for block in shard["blocks"])


def measured(shards: list[dict[str, Any]], name: str) -> np.ndarray:
    """What was kept under a name with the blocks, float64 [m], in their order."""
    blocks = [block for shard in shards for block in shard["blocks"]]
    values = [value for b in blocks for value in b["measured"].get(name, ())]
    return np.array(values, np.float64)


def write_block(
    directory: Path, shard: dict[str, Any], rows: np.ndarray
) -> dict[str, Any]:
    """Writes rows behind those that a shard has; on return they are on the disk.

    Returns:
        {rows, sha256}, for the shard's blocks.
    """
    path, content = directory / shard["file"], rows.tobytes()
    is_new = not path.exists()
    directory.mkdir(parents=True, exist_ok=True)
    with open(path, "wb" if is_new else "r+b") as out:
        out.truncate(row_count(shard) * rows.itemsize)
        out.seek(0, os.SEEK_END)
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    if is_new:
        files.sync_directory(directory)
    return {"rows": len(rows), "sha256": hashlib.sha256(content).hexdigest()}


def whole(
    directory: Path, shards: list[dict[str, Any]], row_type: np.dtype
) -> list[dict[str, Any]]:
    """The shards with those blocks that have their bytes, up to a damaged block."""
    found: list[dict[str, Any]] = []
    for shard in shards:
        blocks = _whole_blocks(directory / shard["file"], shard["blocks"], row_type)
        if blocks:
            found.append({**shard, "blocks": blocks})
        if len(blocks) < len(shard["blocks"]):
            break
    return found


def _whole_blocks(
    path: Path, blocks: list[dict[str, Any]], row_type: np.dtype
) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with open(path, "rb") as rows:
        for number, block in enumerate(blocks):
            content = rows.read(block["rows"] * row_type.itemsize)
            if hashlib.sha256(content).hexdigest() != block["sha256"]:
                return blocks[:number]
    return blocks


def keep_only(
    directory: Path, shards: list[dict[str, Any]], row_type: np.dtype
) -> None:
    """Removes the rows that these shards do not name."""
    named = {s["file"]: row_count(s) * row_type.itemsize for s in shards}
    for path in directory.glob("shard-*"):
        if path.name not in named:
            path.unlink()
        elif path.stat().st_size > named[path.name]:
            os.truncate(path, named[path.name])


def are_whole_images(rows: np.ndarray, rows_an_image: int) -> bool:
    """Whether each image has its views 0, 1, ... one after the other."""
    if rows.ndim != 1 or len(rows) % rows_an_image:
        return False
    if "view" not in (rows.dtype.names or ()):
        return True
    ids = rows["image_id"].reshape(-1, rows_an_image)
    views = rows["view"].reshape(-1, rows_an_image)
    return bool((ids == ids[:, :1]).all() and (views == np.arange(rows_an_image)).all())


def _digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
