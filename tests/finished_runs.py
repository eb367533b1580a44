"""What finished runs leave, from drawn logits: in memory, and on disk.

The logits are drawn; everything that follows from them is computed by the project's own
code, so that the report's tests read real evaluations and calibrations.
"""

import dataclasses
import datetime
import json
from typing import Any

import numpy as np

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import records, regions
from aplantida_jax.data.labels import LabelMap, Taxon
from aplantida_jax.evaluate import answers, decision, outputs, summary, thresholds

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
