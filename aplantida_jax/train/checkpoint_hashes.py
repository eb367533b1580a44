"""checkpoint_hashes.json: the SHA-256 of what was committed, by step."""

import json
from pathlib import Path

from absl import logging

from aplantida_jax import files


class CheckpointHashes:
    """Only the first process writes; the file is read anew each time."""

    def __init__(self, path: Path):
        self._path = path

    def __contains__(self, step: int) -> bool:
        return str(step) in self._read()

    def is_whole(self, step: int, directory: Path) -> bool:
        """Whether a checkpoint is there with the bytes that were committed."""
        recorded = self._read().get(str(step))
        return directory.exists() and recorded == files.sha256_tree(directory)

    def add(self, step: int, sha256: str) -> None:
        files.write_json(self._path, {**self._read(), str(step): sha256})

    def keep_only(self, steps: set[int]) -> None:
        kept = {s: sha256 for s, sha256 in self._read().items() if int(s) in steps}
        files.write_json(self._path, kept)

    def _read(self) -> dict[str, str]:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            logging.warning("%s is damaged: no checkpoint is trusted", self._path)
            return {}
