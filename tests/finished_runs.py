"""Leaves on disk what finished stages would, from synthetic logits.

The logits are drawn; everything computed from them is computed by the project's own
code, so that the report's tests read real evaluations and calibrations.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from aplantida_jax import files, paths
from aplantida_jax.data import records
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.evaluate import answers, calibration, decision, outputs, summary


@dataclasses.dataclass(frozen=True)
class Skill:
    """How a pretended model answers.

    Attributes:
        margin: of the true class's logit, in standard deviations of the noise.
        overconfidence: factor on all logits.
    """

    margin: float
    overconfidence: float = 1.0


def scored(
    config: Any, split: str, label_map: LabelMap, skill: Skill, region: str = ""
) -> decision.Scored:
    """Logits for the photos of a split."""
    path = paths.split_file(config, split, region)
    photos = list(records.read_photos(path, made_by="split"))
    image_id = np.array([int(p.image_id, 16) for p in photos], np.uint64)
    label = np.array([p.class_id for p in photos], np.int32)
    rng = np.random.default_rng(len(photos))
    logits = rng.normal(size=(len(photos), len(label_map)))
    logits[np.arange(len(photos)), label] += skill.margin
    # A neighbour that is easily mistaken: what a sister species looks like.
    logits[np.arange(len(photos)), (label // 2 * 2 + 1) % len(label_map)] += 1.0
    return decision.Scored(
        image_id, label, (logits * skill.overconfidence).astype(np.float32)
    )


def evaluate(
    config: Any,
    name: str,
    label_map: LabelMap,
    skill: Skill,
    *,
    region: str = "",
    trained_on: str = "",
    weights: str = "best checkpoint, step 40",
) -> None:
    """Writes the evaluation of a run on the test split of `region`."""
    test = scored(config, "test", label_map, skill, region)
    subject = summary.Subject(
        run=name,
        model={"name": "mobilenet_v2_0.35", "image_size": 64},
        weights=weights,
        split="test",
        region=region,
        label_map=label_map,
        trained_on=trained_on,
        train_images=outputs.train_images(config, region, len(label_map)),
        provenance=provenance(),
    )
    out_dir = paths.evaluation_dir(paths.run_dir(config, name), "test", region)
    options = dataclasses.replace(summary.options_of(config), bootstrap=200)
    outputs.write(
        out_dir, subject, test.image_id, test.label, test.logits, options=options
    )


def train(
    config: Any, name: str, label_map: LabelMap, *, epochs: int = 8, region: str = ""
) -> None:
    """Writes best.json and history.jsonl of a run."""
    workdir = paths.run_dir(config, name)
    seed = sum(name.encode())
    speed = np.random.default_rng(seed).uniform(2, 5)
    rows = []
    for epoch in range(1, epochs + 1):
        learnt = 1 - np.exp(-epoch / speed)
        rows.append(
            {
                "epoch": epoch,
                "step": 5 * epoch,
                "train_loss": 3.4 - 2.9 * learnt,
                "train_top1_accuracy": 0.95 * learnt,
                "val_loss": 3.5 - 2.4 * learnt,
                "val_top1_accuracy": 0.8 * learnt,
                "val_top5_accuracy": 0.95 * learnt,
                "learning_rate": 1e-3,
            }
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    files.write_text(workdir / "history.jsonl", lines)
    last = rows[-1]
    files.write_json(
        paths.best(workdir),
        {
            "name": name,
            "step": last["step"],
            "epoch": last["epoch"],
            "model": {"name": "mobilenet_v2_0.35", "image_size": 64},
            "input": config.input.to_dict(),
            "region": region,
            "metrics": {
                field: last[f"val_{field}"]
                for field in ("loss", "top1_accuracy", "top5_accuracy")
            },
            "label_map": label_map.fingerprint,
            "provenance": provenance(),
            "checkpoint": "checkpoints/40/model",
            "sha256": "0" * 64,
        },
    )


def calibrate(config: Any, name: str, label_map: LabelMap, skill: Skill) -> None:
    """Writes calibration.json of a run."""
    rule = decision.Rule(
        genus_of=answers.genera(label_map)[0],
        class_mask=None,
        bins=config.calibrate.bins,
        accuracy_target=config.calibrate.accuracy_target,
        grid=calibration.threshold_grid(0.4, 0.95, 0.01),
    )
    result = decision.assess(
        scored(config, "val", label_map, skill),
        scored(config, "test", label_map, skill),
        rule=rule,
    )
    header = {"run": name, "region": "", "label_map": label_map.fingerprint}
    path = paths.calibration(paths.run_dir(config, name))
    files.write_json(path, {**header, "class_mask": None, **result})


def provenance() -> list[dict[str, Any]]:
    return [
        {
            "name": "dataset_train.jsonl",
            "kind": "data",
            "licences": ["CC-BY-4.0", "CC0-1.0"],
        },
        {
            "name": "mobilenet_v2_0.35.safetensors",
            "kind": "weights",
            "licences": ["Apache-2.0"],
        },
    ]
