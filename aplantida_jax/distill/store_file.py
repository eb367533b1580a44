"""store.json: what a soft-label store is of, and which shards it has, sealed by a hash.

{format, k, classes, label_map, made_by, key, provenance, views: null or {count,
 seed, augment, ...}, shards: [{file, rows, sha256}], sha256: of all that}
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from aplantida_jax import files
from aplantida_jax.errors import UserError

_FORMAT = 2  # of the rows; the first, without a number, had 138 bytes at k = 32


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


def is_whole(directory: Path, shard: dict[str, Any]) -> bool:
    """Whether a shard that store.json names has the bytes that were written."""
    path = directory / shard["file"]
    return path.exists() and files.sha256_file(path) == shard["sha256"]


def _digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
