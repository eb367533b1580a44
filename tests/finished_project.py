"""What a project leaves in which every stage has run, or none, in memory.

Its runs answer as those of `finished_runs`; what the other stages wrote is made up in
the form that they describe.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import finished_runs
import numpy as np
from finished_runs import Skill

from aplantida_jax.data.labels import LabelMap
from aplantida_jax.evaluate import intervals, summary
from aplantida_jax.reporting import stage_records
from aplantida_jax.reporting.findings import Findings, Run, SoftLabelStore


def audit(label_map: LabelMap) -> dict[str, Any]:
    pairs = {"exact": 3, "near": 41}
    pairs |= {"exact_of_different_classes": 1, "near_of_different_classes": 2}
    return {
        "label_map": label_map.fingerprint,
        "photos": 1000,
        "broken_url_rate": 0.012,
        "duplicates": pairs,
    }


def split(label_map: LabelMap) -> dict[str, Any]:
    return {
        "label_map": label_map.fingerprint,
        "splits": {
            name: {"images": images, "classes": len(label_map), "licences": {}}
            for name, images in (("train", 800), ("val", 100), ("test", 100))
        },
        "leakage": {"group": 0, "sha256": 0, "near_duplicate": 0},
        "val_classes_in_train": 1.0,
    }


def validation(label_map: LabelMap) -> dict[str, Any]:
    close = {"correlation": 0.99999, "top1_agreement": 1.0, "threshold_flips": 0}
    close |= {"max_abs_difference": 2e-5, "misses": 0, "ties": 1}
    close |= {"top1_agreement_interval": [0.963, 1.0]}
    timed = {"bytes": 1_900_000, "load_ms": 120.0, "median_ms": 9.1}
    return {
        "label_map": label_map.fingerprint,
        "passed": True,
        "images": 100,
        "backend": "wasm",
        "shipped": "uint8",
        "variants": {
            "saved_model": close,
            "float32": {**close, **timed},
            "float16": {**close, **timed, "bytes": 970_000},
            "uint8": {**close, **timed, "bytes": 520_000, "correlation": 0.9991},
        },
    }


def comparison(label_map: LabelMap) -> dict[str, Any]:
    """comparison.json, as `evaluate/compare.py` describes it."""

    def pair(run: str, top1: tuple[float, float, float], p: float) -> dict[str, Any]:
        gap = {"difference": top1[0], "interval": list(top1[1:])}
        return {
            "reference": "student_labels",
            "run": run,
            "with_reference": True,
            "partial": False,
            "images": 242,
            "groups": 177,
            "differences": {"top1_accuracy": gap, "macro_recall": gap},
            "p_holm": p,
            "significant": p < 0.05,
        }

    return {
        "label_map": label_map.fingerprint,
        "reference": "student_labels",
        "pairs": [
            pair("student_distill", (0.052, 0.013, 0.094), 0.018),
            pair("student_finetune_s1+student_finetune_s2", (-0.01, -0.05, 0.03), 0.61),
        ],
        "notes": [],
    }


_WRONG = {
    "kind": "tiles",
    "image_id": "0" * 16,
    "name": "0.jpg",
    "said": "Acer species1",
    "rank": "species",
    "confidence": 0.987,
}


def unknown(label_map: LabelMap) -> dict[str, Any]:
    """out_of_distribution.json, as its stage describes it."""

    def share(count: int, images: int) -> dict[str, Any]:
        interval = intervals.wilson(count, images)
        return {"count": count, "share": count / images, "interval": interval}

    def kind(images: int, species: int, right: int, wrong: int) -> dict[str, Any]:
        genus = right + wrong
        apart = {"auroc": 0.91, "auroc_interval": [0.71, 0.97]}
        apart |= {"fpr_at_95_tpr": 0.42, "fpr_interval": None}
        return {
            "images": images,
            "species": share(species, images),
            "genus": share(genus, images) | {"right": right, "wrong": wrong},
            "not_conclusive": share(images - species - genus, images),
            "sampled": {"what": "species", "groups": 5},
            "scores": {"confidence": apart},
        }

    known = kind(100, 60, 0, 0)
    known["genus"] = share(10, 100)
    return {
        "label_map": label_map.fingerprint,
        "known": known,
        "kinds": {
            "held_out": kind(80, 12, 9, 3),
            "pictures": kind(64, 4, 0, 2),
            "picture:tiles": kind(8, 1, 0, 0),
        },
        "wrong_answers": [_WRONG],
    }


def record(
    stage: str, where: str, inputs: Sequence[str] = (), **more: Any
) -> stage_records.StageRecord:
    """A stage's manifest."""
    content = {
        "stage": stage,
        "key": where,
        "inputs": dict.fromkeys(inputs, "0" * 64),
        "outputs": {},
        "metrics": {},
        "git_commit": "6e1f0c3a9b21" + "0" * 28,
        "versions": {"python": "3.11.7", "jax": "0.7.1"},
        "device": "cpu: cpu x 1",
        "seed": 42,
        "command": f"main.py --config=configs/x.py --config.stage={stage}",
        "started": "2026-01-01T10:00:00+00:00",
        "finished": "2026-01-01T10:01:30+00:00",
        **more,
    }
    return stage_records.StageRecord(Path(where) / "manifest.json", content)


def records_of_a_pipeline() -> tuple[stage_records.StageRecord, ...]:
    """Two teachers, their soft labels, and the student's two halves."""
    train, own = "d/splits/all/dataset_train.jsonl", "d/dataset_eu_sw_train.jsonl"
    labels, runs = "d/soft_labels", "workdirs"
    return (
        record("train", "workdirs/teacher_global", [train]),
        record(
            "train", f"{runs}/teacher_eu_sw", [own, f"{runs}/teacher_global/best.json"]
        ),
        *(
            record("predict", f"{labels}/{name}/train", [f"workdirs/{name}/best.json"])
            for name in ("teacher_global", "teacher_eu_sw")
        ),
        record(
            "combine",
            f"{labels}/combined/train",
            [
                f"{labels}/{name}/train/store.json"
                for name in ("teacher_global", "teacher_eu_sw")
            ],
        ),
        record(
            "train",
            "workdirs/student_distill",
            [train, f"{labels}/combined/train/store.json", "d/net.safetensors"],
        ),
        record(
            "train",
            f"{runs}/student_finetune",
            [train, f"{runs}/student_distill/best.json"],
        ),
    )


def findings(label_map: LabelMap) -> Findings:
    """A project in which everything has run, in memory."""
    plan = {
        "baseline": (Skill(1.0), ""),
        "teacher_global": (Skill(2.6, 2.0), ""),
        "teacher_eu_sw": (Skill(4.2, 2.0), "EU_SW"),
        "student_distill": (Skill(2.2, 2.0), ""),
        "student_finetune": (Skill(2.7, 2.0), ""),
    }
    runs = [_run(name, label_map, *how) for name, how in plan.items()]
    return Findings(
        label_map=label_map,
        export={"config": {"source": {"uri": "mongodb://localhost:27017/"}}},
        audit=audit(label_map),
        splits={"": split(label_map), "EU_SW": split(label_map)},
        train_images=np.geomspace(1, 200, len(label_map)).astype(int),
        runs=runs,
        student="student_finetune",
        soft_label_error=0.0004,
        bundle={"weights": "uint8", "bytes": 600_000},
        validation=validation(label_map),
        missing=[],
        inputs=[],
        soft_labels=(_store("teacher_global", None), _store("combined", 4)),
        comparison=comparison(label_map),
        out_of_distribution=unknown(label_map),
        records=records_of_a_pipeline(),
    )


def _store(name: str, views: int | None) -> SoftLabelStore:
    metrics = {"rows": 800, "bytes_per_row": 83, "kl_mean": 0.0004}
    metrics |= {"kl_temperature": 3.0, "kl_mean_at_temperature": 0.0075}
    made = {"stage": "predict", "metrics": metrics}
    return SoftLabelStore(name, made, views and {"count": views}, 32, 8587)


def nothing() -> Findings:
    """A project in which nothing has run."""
    run = Run("student_finetune", Path("nowhere"), None, [], {}, None, None)
    return Findings(
        None, None, None, {}, None, [run], run.name, None, None, None, [], []
    )


def _manifest(name: str) -> dict[str, Any]:
    made = record("train", f"workdirs/{name}", config=None, versions=None)
    return made.content


def _run(name: str, label_map: LabelMap, skill: Skill, region: str) -> Run:
    inside = np.flatnonzero(label_map.in_regions((region,) if region else ()))
    test, val = (
        finished_runs.score(
            ids, inside[label % len(inside)].astype(np.int32), len(label_map), skill
        )
        for ids, label in (
            finished_runs.drawn(300, len(label_map), seed=1),
            finished_runs.drawn(300, len(label_map), seed=2),
        )
    )
    about = finished_runs.subject(name, label_map, region=region)
    arrays = (test.image_id, test.label, test.logits)
    metrics, _ = summary.summarise(
        about, *arrays, group=test.image_id, options=finished_runs.OPTIONS
    )
    trained = name != "baseline"
    return Run(
        name=name,
        workdir=Path("workdirs") / name,
        best=finished_runs.best(name, label_map, region=region) if trained else None,
        history=finished_runs.history() if trained else [],
        evaluations={("test", region.lower()): metrics},
        calibration=(
            finished_runs.fit(name, label_map, val, test)
            if name == "student_finetune"
            else None
        ),
        manifest=_manifest(name) if trained else None,
    )
