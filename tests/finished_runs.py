"""What finished stages leave, from drawn logits: in memory, and on disk.

The logits are drawn; everything that follows from them is computed by the project's own
code, so that the report's tests read real evaluations and calibrations.
"""

import dataclasses
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import records, regions
from aplantida_jax.data.labels import LabelMap, Taxon
from aplantida_jax.evaluate import (
    answers,
    decision,
    intervals,
    outputs,
    summary,
    thresholds,
)
from aplantida_jax.reporting import stage_records
from aplantida_jax.reporting.findings import Findings, Run, SoftLabelStore

PROVENANCE = [
    {"name": "dataset_train.jsonl", "kind": "data", "licences": ["CC-BY-4.0"]},
    {"name": "net.safetensors", "kind": "weights", "licences": ["Apache-2.0"]},
]
OPTIONS = summary.Options(
    bins=15, bootstrap=100, confusions=5, country="ES", country_prior=1.0, seed=0
)


@dataclasses.dataclass(frozen=True)
class Skill:
    """How a pretended model answers.

    Attributes:
        margin: of the true class's logit, in standard deviations of the noise.
        overconfidence: factor on all logits.
    """

    margin: float
    overconfidence: float = 1.0


_COUNTRIES = (("ES",), ("DE",), ("ES", "DE"), ("PT",), ("PL",), ("FR", "SE"))
CLASSES = len(_COUNTRIES)


def label_map() -> LabelMap:
    """Six species of two genera; four of them grow in EU_SW, two in Spain."""
    return LabelMap(
        tuple(
            Taxon(
                class_id=i,
                latin_name=f"{genus} species{i}",
                common_name=f"planta {i}",
                common_name_en=f"plant {i}",
                genus=genus,
                family="",
                countries=countries,
                regions=regions.regions_of(countries),
            )
            for i, countries in enumerate(_COUNTRIES)
            for genus in ("Acer" if i < 3 else "Rosa",)
        )
    )


def score(
    image_id: np.ndarray, label: np.ndarray, classes: int, skill: Skill
) -> decision.Scored:
    """Logits for photos; every class has a neighbour that it is mistaken for."""
    rng = np.random.default_rng(len(label))
    logits = rng.normal(size=(len(label), classes))
    row = np.arange(len(label))
    logits[row, label] += skill.margin
    logits[row, (label // 2 * 2 + 1) % classes] += 1.0
    logits *= skill.overconfidence
    return decision.Scored(image_id, label, logits.astype(np.float32))


def photos_of(config: Any, split: str, region: str) -> tuple[np.ndarray, np.ndarray]:
    """(image_id uint64 [n], label int32 [n]) of a split on disk."""
    path = paths.split_file(config, split, region)
    photos = list(records.read_photos(path, made_by="split"))
    ids = np.array([int(p.image_id, 16) for p in photos], np.uint64)
    return ids, np.array([p.class_id for p in photos], np.int32)


def drawn(n: int, classes: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(image_id, label) of photos that exist nowhere."""
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=n).astype(np.int32)
    return np.arange(1, n + 1, dtype=np.uint64), label


def subject(name: str, label_map: LabelMap, *, region: str = "") -> summary.Subject:
    return summary.Subject(
        run=name,
        model={"name": "mobilenet_v2_0.35", "image_size": 64},
        weights="random" if name == "baseline" else "best checkpoint, step 40",
        split="test",
        region=region,
        label_map=label_map,
        trained_on=region,
        train_images=np.geomspace(1, 200, len(label_map)).astype(int),
        provenance=PROVENANCE,
    )


def history(epochs: int = 8) -> list[dict[str, Any]]:
    learnt = 1 - np.exp(-np.arange(1, epochs + 1) / 3)
    return [
        {
            "epoch": epoch,
            "step": 5 * epoch,
            "train_loss": 3.4 - 2.9 * share,
            "train_top1_accuracy": 0.95 * share,
            "val_loss": 3.5 - 2.4 * share,
            "val_top1_accuracy": 0.8 * share,
            "val_top5_accuracy": 0.95 * share,
            "learning_rate": 1e-3,
        }
        for epoch, share in enumerate(learnt.tolist(), start=1)
    ]


def best(name: str, label_map: LabelMap, *, region: str = "") -> dict[str, Any]:
    last = history()[-1]
    fields = ("loss", "top1_accuracy", "top5_accuracy")
    return {
        "name": name,
        "step": last["step"],
        "epoch": last["epoch"],
        "model": {"name": "mobilenet_v2_0.35", "image_size": 64},
        "region": region,
        "metrics": {field: last[f"val_{field}"] for field in fields},
        "label_map": label_map.fingerprint,
        "provenance": PROVENANCE,
        "checkpoint": "checkpoints/40/model",
        "sha256": "0" * 64,
    }


def fit(
    name: str, label_map: LabelMap, val: decision.Scored, test: decision.Scored
) -> dict[str, Any]:
    """calibration.json."""
    rule = decision.Rule(
        genus_of=answers.genera(label_map)[0],
        class_mask=None,
        bins=15,
        accuracy_target=0.95,
        grid=thresholds.grid(0.4, 0.95, 0.01),
        resamples=100,
    )
    header = {"run": name, "region": "", "label_map": label_map.fingerprint}
    found = decision.assess(val, test, rule=rule)
    return {**header, "class_mask": None, **found, "vector_scaling": None}


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


def write_evaluation(
    config: Any, name: str, label_map: LabelMap, skill: Skill, *, region: str = ""
) -> None:
    """Writes the evaluation of a run on the test split of `region`."""
    test = score(*photos_of(config, "test", region), len(label_map), skill)
    out_dir = paths.evaluation_dir(paths.run_dir(config, name), "test", region)
    about = subject(name, label_map, region=region)
    arrays = (test.image_id, test.label, test.logits)
    outputs.write(out_dir, about, *arrays, group=test.image_id, options=OPTIONS)


def write_training(
    config: Any, name: str, label_map: LabelMap, *, region: str = ""
) -> None:
    """Writes best.json, history.jsonl and the manifest of a run."""
    workdir = paths.run_dir(config, name)
    lines = "".join(json.dumps(row) + "\n" for row in history())
    files.write_text(workdir / "history.jsonl", lines)
    files.write_json(paths.best(workdir), best(name, label_map, region=region))
    now = datetime.datetime.now(datetime.UTC).isoformat()
    job = manifest.Job("train", workdir, name, config.to_dict(), {}, now)
    job.finish(outputs=[workdir / "history.jsonl"], metrics={})


def write_calibration(
    config: Any, name: str, label_map: LabelMap, skill: Skill
) -> None:
    """Writes calibration.json of a run."""
    scored = [
        score(*photos_of(config, part, ""), len(label_map), skill)
        for part in ("val", "test")
    ]
    path = paths.calibration(paths.run_dir(config, name))
    files.write_json(path, fit(name, label_map, *scored))


def _manifest(name: str) -> dict[str, Any]:
    made = record("train", f"workdirs/{name}", config=None, versions=None)
    return made.content


def _run(name: str, label_map: LabelMap, skill: Skill, region: str) -> Run:
    inside = np.flatnonzero(label_map.in_regions((region,) if region else ()))
    test, val = (
        score(ids, inside[label % len(inside)].astype(np.int32), len(label_map), skill)
        for ids, label in (
            drawn(300, len(label_map), seed=1),
            drawn(300, len(label_map), seed=2),
        )
    )
    about = subject(name, label_map, region=region)
    arrays = (test.image_id, test.label, test.logits)
    metrics, _ = summary.summarise(about, *arrays, group=test.image_id, options=OPTIONS)
    trained = name != "baseline"
    return Run(
        name=name,
        workdir=Path("workdirs") / name,
        best=best(name, label_map, region=region) if trained else None,
        history=history() if trained else [],
        evaluations={("test", region.lower()): metrics},
        calibration=(
            fit(name, label_map, val, test) if name == "student_finetune" else None
        ),
        manifest=_manifest(name) if trained else None,
    )
