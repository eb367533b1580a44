"""What the stages left, read for the report; what is not there is listed, not an error.

Nothing is computed here but what the files say. An artefact that was made for another
label map than the present classes.json is listed as missing too: its numbers are about
other classes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import files, manifest, paths
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import outputs
from aplantida_jax.reporting import stage_records
from aplantida_jax.reporting.findings import LABELS, Findings, Run, SoftLabelStore
from aplantida_jax.reporting.reader import Reader

HISTORY = "history.jsonl"
# Whose stage compare the report tells of, the first that it has.
_STUDENTS = (LABELS, "student_distill")
# Told of where they were trained, and missed by nobody where they were not.
_ALTERNATIVES = (
    *("teacher_photos", "student_labels", "student_distill"),
    *("student_finetune_kl", "student_tail"),
)


def gather(config: Any) -> Findings:
    """Reads everything that `config.report.runs` and the data and export stages left.

    Raises:
        UserError: a file is there and damaged.
    """
    reader = Reader(config.variant)
    reader.read_label_map(paths.classes(config))
    names = _names(config)
    export, audit = _read_data(config, reader)
    splits = _read_splits(config, reader)
    records = stage_records.read_all(
        Path(config.data_dir), Path(config.runs_dir), Path(config.dist_dir)
    )
    # They change whenever a stage has run again, even to the same end.
    reader.inputs += [manifest.Input(record.path, record.stage) for record in records]
    return Findings(
        label_map=reader.label_map,
        export=export,
        audit=audit,
        splits=splits,
        train_images=_count_train_images(config, reader.label_map, splits),
        runs=[_read_run(config, name, reader) for name in names],
        student=config.export.run,
        soft_label_error=_soft_label_error(config, names, reader),
        bundle=_read_bundle(config, reader),
        validation=_read_validation(config, reader),
        missing=reader.missing,
        inputs=reader.inputs,
        soft_labels=_read_stores(config, records),
        comparison=_read_comparison(config, names, reader),
        out_of_distribution=_read_unknown(config, reader),
        records=tuple(records),
    )


def _names(config: Any) -> list[str]:
    """The runs to tell of: those asked for, and the alternatives that were trained."""
    also = [
        name
        for name in _ALTERNATIVES
        if name not in config.report.runs
        and paths.best(paths.run_dir(config, name)).exists()
    ]
    return [*config.report.runs, *also]


def _read_data(
    config: Any, reader: Reader
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The manifest of the export, and audit.json."""
    export = reader.json(
        paths.export_dir(config) / manifest.MANIFEST,
        what="export of the collection",
        stage="export_dataset",
        config="dataset",
    )
    path = paths.audit_dir(config) / "audit.json"
    return export, reader.json(path, what="audit", stage="audit", config="dataset")


def _read_validation(config: Any, reader: Reader) -> dict[str, Any] | None:
    return reader.json(
        paths.validation_dir(config) / "validation.json",
        what="validation in the browser",
        stage="validate_export",
        config="export_tfjs",
    )


def _read_run(config: Any, name: str, reader: Reader) -> Run:
    workdir = paths.run_dir(config, name)
    # A baseline is evaluated without being trained.
    if outputs.evaluated_by(workdir) == "baseline":
        evaluations = _read_evaluations(workdir, reader, stage="baseline", config=name)
        return Run(name, workdir, None, [], evaluations, None, None)
    best = reader.json(
        paths.best(workdir), what=f"training of {name}", stage="train", config=name
    )
    history = _read_history(workdir / HISTORY) if best else []
    trained = workdir / manifest.MANIFEST
    if best and not trained.exists():
        reader.note(
            trained,
            *(f"end of the training of {name}", "train", name),
            f"not finished: {len(history)} epochs so far, which the page tells of",
        )
    calibration = None
    if name == config.export.run:
        calibration = reader.json(
            paths.calibration(workdir),
            what=f"calibration of {name}",
            stage="calibrate",
            config=name,
        )
    return Run(
        name=name,
        workdir=workdir,
        best=best,
        history=history,
        evaluations=_read_evaluations(workdir, reader, stage="evaluate", config=name),
        calibration=calibration,
        # Absent while the training goes on: its best checkpoint counts already.
        manifest=manifest.read(workdir, made_by="train") if trained.exists() else None,
    )


def _read_evaluations(
    workdir: Path, reader: Reader, *, stage: str, config: str
) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    directory = workdir / "evaluate"
    paths_there = sorted(directory.glob(f"*/{outputs.METRICS}"))
    # The least that is expected, so that it is noted when there is nothing at all.
    for path in paths_there or [directory / "test" / outputs.METRICS]:
        what = f"evaluation of {workdir.name}"
        metrics = reader.json(path, what=what, stage=stage, config=config)
        if metrics is not None:
            key = (metrics["split"], paths.region_slug(metrics["region"]))
            found[key] = metrics
    return found


def _read_history(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}): run stage 'train' again"
        ) from None


def _read_splits(config: Any, reader: Reader) -> dict[str, dict[str, Any]]:
    found = {}
    for region in ("", *config.split.regions):
        stats = reader.json(
            paths.split_stats(config, region),
            what=f"split of {region or 'all plants'}",
            stage="split",
            config="dataset",
        )
        if stats is not None:
            found[region] = stats
    return found


def _count_train_images(
    config: Any, label_map: LabelMap | None, splits: dict[str, dict[str, Any]]
) -> np.ndarray | None:
    if label_map is None or "" not in splits:
        return None
    return outputs.train_images(config, "", len(label_map))


def _soft_label_error(config: Any, names: list[str], reader: Reader) -> float | None:
    """None when there is nothing to distil, or the soft labels are not there."""
    if "student_distill" not in names:
        return None
    directory = paths.soft_labels(config, config.distill.soft_labels, "train")
    described = reader.json(
        directory / "store.json",
        what="combined soft labels",
        stage="combine",
        config="student_distill",
    )
    if described is None or reader.label_map is None:
        return None
    return SoftLabels(
        directory, label_map=reader.label_map, made_by="combine"
    ).sum_error()


def _read_comparison(
    config: Any, names: list[str], reader: Reader
) -> dict[str, Any] | None:
    """On the test split of all plants; not missed where there is nothing to compare."""
    path = paths.comparison_dir(config, "test") / "comparison.json"
    students = [name for name in _STUDENTS if name in names]
    if not students and not path.exists():
        return None
    experiment = students[0] if students else config.export.run
    about = {"what": "comparison of runs", "stage": "compare", "config": experiment}
    found = reader.json(path, **about)
    if found and students[:1] == [LABELS] and found["reference"] != LABELS:
        reason = f"what is there compares with {found['reference']}"
        reader.note(path, "comparison with the labels alone", "compare", LABELS, reason)
    return found


def _read_unknown(config: Any, reader: Reader) -> dict[str, Any] | None:
    """Not missed where there is nothing to ask about."""
    path = paths.out_of_distribution(paths.run_dir(config, config.export.run))
    wanted = config.out_of_distribution
    to_ask = wanted.images_dir or wanted.drawn or paths.held_out(config).exists()
    if not to_ask:  # what an earlier collection left is not of this one
        return None
    return reader.json(
        path,
        what="what it says of things it cannot know",
        stage="out_of_distribution",
        config=config.export.run,
    )


def _read_stores(
    config: Any, records: list[stage_records.StageRecord]
) -> tuple[SoftLabelStore, ...]:
    """The finished stores of the train split; the combined ones last."""
    root = Path(config.data_dir) / "soft_labels"
    found = [
        _read_store(record)
        for record in records
        if record.where.parent.parent == root and record.where.name == "train"
    ]
    return tuple(sorted(found, key=lambda store: store.made["stage"] == "combine"))


def _read_store(record: stage_records.StageRecord) -> SoftLabelStore:
    described = files.read_json(record.where / "store.json", made_by=record.stage)
    return SoftLabelStore(
        name=record.where.parent.name,
        made=record.content,
        views=described.get("views"),
        k=described["k"],
        classes=described.get("classes", 0),
    )


def _read_bundle(config: Any, reader: Reader) -> dict[str, Any] | None:
    directory = paths.bundle_dir(config)
    found = reader.json(
        directory / "metadata.json",
        what="model bundle",
        stage="export_model",
        config="export_tfjs",
    )
    return found and {**found, "bytes": files.size_of(directory)}
