"""TRAINING_MANIFEST_v<version>.yaml: the plan's record of what was trained, and how.

    timestamp, git_commit, data{...}, phases{phase_0 .. phase_6}, environment{...},
    hyperparameters{...}

Values come from what the stages recorded; null is what is not known. Accuracies are
shares, 0 to 1, sizes MB.
"""

from typing import Any

import yaml

from aplantida_jax import paths
from aplantida_jax.reporting.criterion import at
from aplantida_jax.reporting.findings import Findings, Run, SoftLabelStore

_LEFT_OUT = "not one of config.report.runs"
_PACKAGES = ("jax", "jaxlib", "flax", "tensorflow", "tensorflowjs", "numpy")


def build(found: Findings, config: Any, *, timestamp: str) -> dict[str, Any]:
    """The manifest as plain values, in the order in which it is written."""
    student = found.run(found.student)
    recorded = student.manifest if student else None
    return {
        "timestamp": timestamp,
        "git_commit": at(recorded, "git_commit"),
        "version": config.report.version,
        "variant": config.variant or "full",
        "label_map": found.label_map.fingerprint if found.label_map else None,
        "data": _data(found),
        "phases": _phases(found, config),
        "environment": {
            "python_version": at(recorded, "versions", "python"),
            **{f"{p}_version": at(recorded, "versions", p) for p in _PACKAGES},
            "device": at(recorded, "device"),
            "gpu": _gpu(at(recorded, "device")),
            "seed": config.seed,
        },
        "hyperparameters": _hyperparameters(found),
    }


def dump(manifest: dict[str, Any]) -> str:
    return yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=88)


def _data(found: Findings) -> dict[str, Any]:
    split = found.splits.get("")
    images = {
        name: at(split, "splits", name, "images") for name in ("train", "val", "test")
    }
    known = [count for count in images.values() if count is not None]
    return {
        "mongo_snapshot": at(found.export, "config", "source", "uri"),
        "total_samples": sum(known) if known else None,
        "total_species": len(found.label_map) if found.label_map else None,
        **{f"{name}_samples": count for name, count in images.items()},
    }


def _phases(found: Findings, config: Any) -> dict[str, Any]:
    baseline, teacher = found.run("baseline"), found.run("teacher_global")
    student = found.run(found.student)
    fit = student.calibration if student else None
    weights = at(found.bundle, "weights")
    return {
        "phase_0": {
            "status": _status(baseline and baseline.test),
            "baseline_top1": at(baseline.test if baseline else None, "top1_accuracy"),
        },
        "phase_1": _trained(teacher, "teacher"),
        "phase_2": _regional(found),
        "phase_3": {
            "status": _status(found.soft_label_error),
            **_architecture(student),
            "soft_labels": {store.name: _store(store) for store in found.soft_labels},
        },
        "phase_4": _student_phase(found, student),
        "phase_5": {
            "status": _status(fit),
            "temperature": at(fit, "temperature"),
            "ece": at(fit, "ece_after"),
            "confidence_threshold": at(fit, "threshold"),
            "genus_threshold": at(fit, "genus_threshold"),
            "accuracy": at(fit, "accuracy"),
            "coverage": at(fit, "coverage"),
            "out_of_distribution": _answered(found),
        },
        "phase_6": {
            "status": _status(found.validation),
            "passed": at(found.validation, "passed"),
            f"model_size_{weights}": found.bundle and found.bundle["bytes"] / 1e6,
            "tfjs_export": str(paths.bundle_dir(config)) if found.bundle else None,
        },
    }


def _student_phase(found: Findings, student: Run | None) -> dict[str, Any]:
    distilled = found.run("student_distill")
    phase = _trained(student, "student")
    if student is None:
        return phase
    return {
        "status": phase.pop("status"),
        "distillation_epochs": len(distilled.history) if distilled else None,
        "finetuning_epochs": len(student.history),
        "final_top1": phase.pop("top1"),
        "final_top5": phase.pop("top5"),
        **phase,
    }


def _regional(found: Findings) -> dict[str, Any]:
    """The regional teachers; the plan's own fields are those of south-west Europe."""
    runs = {
        name: run
        for name in ("teacher_eu_sw", "teacher_eu_core")
        if (run := found.run(name))
    }
    if not runs:
        return {"status": _LEFT_OUT}
    states = {_status(run.best) for run in runs.values()}
    south_west = found.run("teacher_eu_sw")
    own = south_west.evaluations.get(("test", "eu_sw")) if south_west else None
    best = south_west.best if south_west else None
    return {
        "status": "missing" if "missing" in states else "completed",
        "teacher": at(best, "model", "name"),
        "top1_eu_sw": at(own, "top1_accuracy"),
        "checkpoint": _checkpoint(south_west),
        **{name: _trained(run, "teacher") for name, run in runs.items()},
    }


def _trained(run: Run | None, role: str) -> dict[str, Any]:
    """What the plan records of a training run; `role` is its name for the model."""
    if run is None:
        return {"status": _LEFT_OUT}
    best, test = run.best, run.test
    return {
        "status": _status(best),
        role: at(best, "model", "name"),
        "region": at(best, "region"),
        "top1": at(test, "top1_accuracy"),
        "top5": at(test, "top5_accuracy"),
        "epochs": len(run.history),
        "best_epoch": at(best, "epoch"),
        "checkpoint": _checkpoint(run),
        "checkpoint_sha256": at(best, "sha256"),
    }


def _architecture(student: Run | None) -> dict[str, Any]:
    """The plan's name for the network, and all of its settings."""
    model = at(student.best if student else None, "model")
    return {"student_architecture": at(model, "name"), "student_model": model}


def _store(store: SoftLabelStore) -> dict[str, Any]:
    return {
        "rows": at(store.made, "metrics", "rows"),
        "classes_kept": store.k,
        "views": at(store.views, "count"),
    }


def _gpu(device: str | None) -> str | None:
    """ "gpu: NVIDIA GeForce RTX 3060 x 1" -> "NVIDIA GeForce RTX 3060"."""
    kind, _, name = (device or "").partition(": ")
    return name.rpartition(" x ")[0] if kind in ("gpu", "cuda") else None


def _answered(found: Findings) -> dict[str, float] | None:
    """Shares of pictures that it cannot know and answered as a species, by kind."""
    kinds = at(found.out_of_distribution, "kinds")
    return kinds and {kind: row["species"]["share"] for kind, row in kinds.items()}


def _checkpoint(run: Run | None) -> str | None:
    return f"{run.workdir}/{run.best['checkpoint']}" if run and run.best else None


def _status(artefact: object) -> str:
    return "missing" if artefact is None else "completed"


def _hyperparameters(found: Findings) -> dict[str, Any]:
    """The plan's names, then every training setting of every run."""
    settings = {r.name: at(r.manifest, "config") for r in found.runs if r.best}
    distilled = settings.get("student_distill")
    rates = {
        "teacher_global_lr": "teacher_global",
        "teacher_regional_lr": "teacher_eu_sw",
        "student_distill_lr": "student_distill",
        "student_finetune_lr": "student_finetune",
    }
    return {
        **{
            field: at(settings.get(name), "train", "learning_rate")
            for field, name in rates.items()
        },
        "distillation_temperature": at(distilled, "distill", "temperature"),
        "kl_weight": at(distilled, "distill", "kl_weight"),
        "ce_weight": at(distilled, "distill", "ce_weight"),
        "runs": {
            name: {part: at(run, part) for part in ("model", "train", "augment")}
            for name, run in settings.items()
        },
    }
