"""What the report knows: the artefacts of all stages, as plain values.

`gather.py` reads them from disk; everything else in this package is computed from them.
The artefacts' fields are told where they are written: `evaluate/summary.py` for
metrics.json, `evaluate/calibrate.py`, `data/audit.py`, `data/leakage.py`,
`export/validate_export.py`, `export/bundle.py`, `train/loop.py`, `evaluate/compare.py`,
`evaluate/out_of_distribution.py`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import manifest, paths
from aplantida_jax.data import regions
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.reporting.stage_records import StageRecord

LABELS = "student_labels"  # the run that distillation is to beat


@dataclasses.dataclass(frozen=True)
class Missing:
    """A part of the report that is not there, and how to make it."""

    what: str
    path: Path
    stage: str
    command: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Run:
    """What one experiment left; None or empty where a stage has not run.

    Attributes:
        name: of the experiment.
        workdir: its working directory.
        best: best.json.
        history: one row per epoch.
        evaluations: metrics.json by (split, region slug).
        calibration: calibration.json.
        manifest: manifest.json of its training; None while that goes on: its best
            checkpoint counts already.
    """

    name: str
    workdir: Path
    best: dict[str, Any] | None
    history: list[dict[str, Any]]
    evaluations: dict[tuple[str, str], dict[str, Any]]
    calibration: dict[str, Any] | None
    manifest: dict[str, Any] | None

    @property
    def unfinished(self) -> bool:
        """Was its training begun, and is not at its end?"""
        return self.best is not None and self.manifest is None

    @property
    def test(self) -> dict[str, Any] | None:
        """Metrics on the test split: of the run's own region, else of all plants."""
        own = paths.region_slug(self.best["region"]) if self.best else ""
        for region in (own, ""):
            if ("test", region) in self.evaluations:
                return self.evaluations["test", region]
        return None

    @property
    def per_region(self) -> dict[str, dict[str, Any]]:
        """per_region of `test`, for the regions that the run was trained on."""
        own = regions.parse(self.best["region"]) if self.best else ()
        rows = self.test["per_region"] if self.test else {}
        return {
            region: row
            for region, row in rows.items()
            if row["images"] and (not own or region in own)
        }


@dataclasses.dataclass(frozen=True)
class SoftLabelStore:
    """One store of soft labels.

    Attributes:
        name: of the teacher, or "combined".
        made: manifest of `predict` or `combine`.
        views: how they were drawn, None for the evaluation view.
        k: classes kept a row.
        classes: of the label map.
    """

    name: str
    made: dict[str, Any]
    views: dict[str, Any] | None
    k: int
    classes: int


@dataclasses.dataclass(frozen=True)
class Findings:
    """Everything that the report tells of; None where a stage has not run.

    Attributes:
        label_map: of classes.json.
        export: manifest of export_dataset.
        audit: audit.json.
        splits: statistics by region as in `config.split.regions`, "" is all plants.
        train_images: int [classes], images of each class in the train split.
        runs: in the order of `config.report.runs`, then others that were trained.
        student: name of the run that ships.
        soft_label_error: largest |sum of a row - 1| of the combined soft labels.
        bundle: metadata.json of the model bundle, with its size as `bytes`.
        validation: validation.json.
        missing: what is not there.
        inputs: every file that was read.
        soft_labels: stores of the train split, the combined one last.
        comparison: comparison.json on the test split.
        out_of_distribution: out_of_distribution.json of the student.
        records: manifests of all stages.
    """

    label_map: LabelMap | None
    export: dict[str, Any] | None
    audit: dict[str, Any] | None
    splits: dict[str, dict[str, Any]]
    train_images: np.ndarray | None
    runs: list[Run]
    student: str
    soft_label_error: float | None
    bundle: dict[str, Any] | None
    validation: dict[str, Any] | None
    missing: list[Missing]
    inputs: list[manifest.Input]
    soft_labels: tuple[SoftLabelStore, ...] = ()
    comparison: dict[str, Any] | None = None
    out_of_distribution: dict[str, Any] | None = None
    records: tuple[StageRecord, ...] = ()

    def run(self, name: str) -> Run | None:
        return next((run for run in self.runs if run.name == name), None)
