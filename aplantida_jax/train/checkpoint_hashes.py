"""checkpoint_hashes.json: which checkpoints are whole, and what becomes of the others.

It holds the SHA-256 of the files of every checkpoint that was committed, by step:

    {"<step>": "<64 hexadecimal digits>"}

A newer checkpoint is unfinished: its process died between the last rename and the
record. One that does not have the recorded bytes any more is damaged.
"""

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from absl import logging

from aplantida_jax import files
from aplantida_jax.errors import UserError

# Entry by entry, and not as one JSON value: a flipped bit costs one of them, not all.
_ENTRY = re.compile(rb'"([1-9]\d{0,17})": "([0-9a-f]{64})"')


class CheckpointHashes:
    """Of one run. Only the first process writes; the file is read anew each time."""

    def __init__(self, workdir: Path):
        self._path = Path(workdir) / "checkpoint_hashes.json"
        self._directory = Path(workdir) / "checkpoints"

    def newest(self) -> int:
        """The last step that was committed, 0 before the first."""
        return max(self._read(), default=0)

    def is_whole(self, step: int) -> bool:
        """Whether a checkpoint is there with the bytes that were committed."""
        directory, recorded = self._directory / str(step), self._read().get(step)
        return directory.exists() and recorded == files.sha256_tree(directory)

    def newest_whole(self, steps: Collection[int]) -> int | None:
        """The newest checkpoint to trust; newer ones go. None when nothing was kept.

        Args:
            steps: of all checkpoints that are there.

        Raises:
            UserError: some were committed and none is whole. All are left where they
                are, so that the next start says so too.
        """
        whole = next((s for s in sorted(steps, reverse=True) if self.is_whole(s)), -1)
        was_any = self._path.exists() and self._path.read_bytes().strip() != b"{}"
        if whole < 0 and steps and was_any:
            raise UserError(
                f"no checkpoint in {self._directory} is whole: move it away to start "
                "from the beginning"
            )
        for step in sorted({*steps, *self._read()}):
            if step > whole:
                self.put_aside(step)
        if whole < 0:
            self.keep_only(set())
            return None
        return whole

    def put_aside(self, step: int) -> None:
        """Deletes an unfinished checkpoint; renames a damaged one, and keeps just it.

        orbax would refuse to save a step whose directory it finds.
        """
        directory = self._directory / str(step)
        if not directory.exists():
            logging.warning("checkpoint %s is gone", directory)
        elif step > self.newest():
            logging.warning("checkpoint %s is unfinished: deleted", directory)
            shutil.rmtree(directory)
        else:
            for older in self._directory.glob("damaged-*"):
                shutil.rmtree(older)
            aside = directory.with_name(f"damaged-{step}")
            directory.rename(aside)
            logging.warning("checkpoint %s is damaged: it is %s now", directory, aside)

    def add(self, step: int, sha256: str) -> None:
        self._write({**self._read(), step: sha256})

    def keep_only(self, steps: set[int]) -> None:
        self._write({s: sha256 for s, sha256 in self._read().items() if s in steps})

    def _write(self, hashes: dict[int, str]) -> None:
        files.write_json(self._path, {str(s): sha256 for s, sha256 in hashes.items()})

    def _read(self) -> dict[int, str]:
        if not self._path.exists():
            return {}
        found = _ENTRY.findall(self._path.read_bytes())
        return {int(step): sha256.decode() for step, sha256 in found}
