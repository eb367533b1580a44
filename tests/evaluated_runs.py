"""Runs on disk as stage `evaluate` leaves them, from drawn answers, to compare."""

from pathlib import Path
from typing import Any

import finished_runs
import numpy as np
from finished_runs import Skill

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels, records, regions
from aplantida_jax.evaluate import outputs
from configs import report as report_config

TEST_PHOTOS = 300
PER_GROUP = 3  # photos of each observation, in the test split


def configuration(root: Path) -> Any:
    """Of the report's experiment, with all its directories under `root`."""
    config = report_config.get_config()
    config.data_dir = str(root / "data")
    config.runs_dir = str(root / "workdirs")
    config.eval.bootstrap = 200
    return config


def write_dataset(config: Any) -> labels.LabelMap:
    """Label map and splits, of all plants and of EU_SW; there are no images."""
    label_map = finished_runs.label_map()
    labels.write(paths.classes(config), label_map)
    for split, count in (("train", 120), ("test", TEST_PHOTOS)):
        photos = [_photo(label_map, split, number) for number in range(count)]
        photos.sort(key=lambda photo: photo.image_id)
        for region in ("", "EU_SW"):
            wanted = set(regions.parse(region))
            inside = [p for p in photos if not wanted or wanted & set(p.regions)]
            records.write_photos(paths.split_file(config, split, region), inside)
    return label_map


def write_run(
    config: Any,
    name: str,
    label_map: labels.LabelMap,
    skill: Skill,
    *,
    region: str = "",
    seed: int = 0,
) -> None:
    """A trained run, and its evaluation on the test split of `region`."""
    workdir = paths.run_dir(config, name)
    best = finished_runs.best(name, label_map, region=region)
    files.write_json(paths.best(workdir), best)
    evaluate(config, name, label_map, skill, region=region, seed=seed)


def evaluate(
    config: Any,
    name: str,
    label_map: labels.LabelMap,
    skill: Skill,
    *,
    region: str = "",
    seed: int = 0,
) -> None:
    workdir = paths.run_dir(config, name)
    split_path = paths.split_file(config, "test", region)
    out_dir = paths.evaluation_dir(workdir, "test", region)
    job = manifest.begin(
        config,
        stage="evaluate",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(paths.best(workdir), "train"),
            manifest.Input(split_path, "split"),
        ],
        depends_on=("eval",),
    )
    ids, label = finished_runs.photos_of(config, "test", region)
    _, written = outputs.write(
        out_dir,
        finished_runs.subject(name, label_map, region=region),
        ids,
        label,
        logits(label, len(label_map), skill, seed=seed),
        group=outputs.groups_of(split_path, ids),
        options=finished_runs.OPTIONS,
    )
    job.finish(outputs=written, metrics={}, label_map=label_map.fingerprint)


def logits(label: np.ndarray, classes: int, skill: Skill, *, seed: int) -> np.ndarray:
    """float32 [n, classes]; unlike `finished_runs.score` runs of a seed each differ."""
    drawn = np.random.default_rng(seed).normal(size=(len(label), classes))
    drawn[np.arange(len(label)), label] += skill.margin
    return (drawn * skill.overconfidence).astype(np.float32)


def _photo(label_map: labels.LabelMap, split: str, number: int) -> records.Photo:
    group = number // PER_GROUP
    taxon = label_map.taxa[group % len(label_map)]
    return records.Photo(
        image_id=records.image_id_of(f"{split}/{number}.jpg"),
        plant_id="",
        latin_name=taxon.latin_name,
        class_id=taxon.class_id,
        url=f"{split}/{number}.jpg",
        source="test",
        licence="CC0-1.0",
        licence_raw="cc0",
        attribution="",
        countries=taxon.countries,
        regions=taxon.regions,
        group_id=records.image_id_of(f"{split}/group/{group}"),
    )
