"""Reads artefacts for the report, and keeps account of what was read and is missing."""

from pathlib import Path
from typing import Any

from aplantida_jax import files, manifest
from aplantida_jax.data import labels
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.reporting.findings import Missing


class Reader:
    """Reads artefacts, and notes the files and what is missing."""

    def __init__(self, variant: str):
        self.label_map: LabelMap | None = None
        self.missing: list[Missing] = []
        self.inputs: list[manifest.Input] = []
        self._suffix = f":{variant}" if variant else ""

    def read_label_map(self, path: Path) -> None:
        """Sets `label_map`; what is read from then on is held against it."""
        stage = "export_dataset"
        if self.there(path, what="label map", stage=stage, config="dataset"):
            self.label_map = labels.read(path)
            self.inputs.append(manifest.Input(path, stage))

    def json(
        self, path: Path, *, what: str, stage: str, config: str
    ) -> dict[str, Any] | None:
        """A JSON artefact, or None (noted) if absent or of another label map."""
        if not self.there(path, what=what, stage=stage, config=config):
            return None
        found = files.read_json(path, made_by=stage)
        stale = found.get("label_map") or ""
        if self.label_map and stale and stale != self.label_map.fingerprint:
            self.note(path, what, stage, config, "made for another label map")
            return None
        self.inputs.append(manifest.Input(path, stage, self._command(stage, config)))
        return found

    def there(self, path: Path, *, what: str, stage: str, config: str) -> bool:
        """Does it exist? Noted when not."""
        if not path.exists():
            self.note(path, what, stage, config, "not made yet")
        return path.exists()

    def note(self, path: Path, what: str, stage: str, config: str, reason: str) -> None:
        """Lists a part as missing, with the command that makes it."""
        command = self._command(stage, config)
        self.missing.append(Missing(what, path, stage, command, reason))

    def _command(self, stage: str, config: str) -> str:
        # Baselines may have names of their own, and have one file.
        file = "baseline" if stage == "baseline" else config
        named = "" if file == config else f" --config.name={config}"
        return f"--config=configs/{file}.py{self._suffix} --config.stage={stage}{named}"
