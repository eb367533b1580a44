"""What ships: a model with its names, its thresholds, its credits and its hashes.

    dist/models/<name>/<version>/
        model.json, *.bin    TensorFlow.js graph model
        classes.json         the label map
        CREDITS              whose photos and weights it was made from
        calibration.json     stage calibrate's, whole; metadata repeats the core
    metadata.json        see `metadata`; SHA-256 and size of every file above

A bundle is self-contained: names and thresholds travel with the weights. It has no
dates, so that the same checkpoint gives the same bytes.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aplantida_jax import files
from aplantida_jax.data import credits
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.data.records import Photo
from aplantida_jax.errors import UserError

FORMAT = 1
METADATA = "metadata.json"
CLASSES = "classes.json"
CREDITS = "CREDITS"
CALIBRATION = "calibration.json"
VALIDATION = "validation.json"  # in paths.validation_dir: whether the bundle passed

# Of calibration.json; the app needs the first three, people the others.
_CALIBRATION = ("temperature", "threshold", "genus_threshold") + (
    "ece_before",
    "ece_after",
    "accuracy",
    "coverage",
)
# A line a paragraph: the app wraps it to the width of its screen.
_CREDITS_HEAD = (
    "This plant identifier was trained on the photos of the people below, under the "
    "licences they chose; the number of their photos stands behind their names. The "
    "photos were cropped, scaled and changed in colour for training.\n"
)


def variants_dir(config: Any) -> Path:
    """The graph model in every precision, one directory each, beside what ships."""
    version = str(config.export.version)
    return Path(config.dist_dir) / "variants" / config.export.name / version


def write(
    directory: Path,
    *,
    graph_model: Path,
    label_map: LabelMap,
    credits_text: str,
    calibration: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Fills `directory` with a bundle; `metadata` gets the files' hashes added.

    `calibration` is calibration.json, of which the app needs what metadata repeats.
    """
    for file in sorted(graph_model.iterdir()):
        shutil.copyfile(file, directory / file.name)
    # Compact: 9,000 taxa with their countries are megabytes otherwise.
    files.write_text(directory / CLASSES, _compact(label_map.to_json()))
    files.write_text(directory / CREDITS, credits_text)
    files.write_text(directory / CALIBRATION, _compact(calibration))
    listed = {
        file.name: {"sha256": files.sha256_file(file), "bytes": file.stat().st_size}
        for file in sorted(directory.iterdir())
    }
    files.write_json(directory / METADATA, {**metadata, "files": listed})


def _compact(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text + "\n"


def metadata(
    *,
    name: str,
    version: str,
    weights: str,
    info: Mapping[str, Any],
    calibration: Mapping[str, Any],
    licence: Mapping[str, Any],
) -> dict[str, Any]:
    """metadata.json but for its `files`.

    Args:
        name, version: of the bundle.
        weights: precision of the weights.
        info: best.json of the run that ships.
        calibration: calibration.json of that run; null thresholds are never reached.
        licence: {"profile", "publishable", "reasons"}.
    """
    model = info["model"]
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "weights": weights,
        "label_map": info["label_map"],
        "num_classes": model["num_classes"],
        "model": {"name": model["name"], "head_rank": model["head_rank"]},
        # Centre crop of image_size / resize of the short side, as preprocess.js does;
        # the graph takes RGB 0-255 float32 [1, size, size, 3] and returns logits.
        "input": {"size": model["image_size"], "resize": info["input"]["resize"]},
        "calibration": {field: calibration.get(field) for field in _CALIBRATION},
        "metrics": info["metrics"],
        "licence": dict(licence),
        "provenance": info["provenance"],
        "checkpoint": {
            field: info[field] for field in ("name", "step", "epoch", "sha256")
        },
    }


def read(directory: Path) -> dict[str, Any]:
    """The metadata of a bundle whose files are all what it says.

    Raises:
        UserError: no bundle there, or a file is missing or altered.
    """
    found = files.read_json(Path(directory) / METADATA, made_by="export_model")
    for name, expected in found["files"].items():
        path = Path(directory) / name
        if not path.exists():
            raise files.missing(path, "export_model")
        actual = files.sha256_file(path)
        if actual != expected["sha256"]:
            raise UserError(
                f"{path} is not what the bundle says (SHA-256 {actual[:12]} instead of "
                f"{expected['sha256'][:12]}): run stage 'export_model' again"
            )
    return found


def copy(source: Path, target: Path) -> dict[str, Any]:
    """Copies a verified bundle without what lies beside it; returns its metadata."""
    found = read(source)
    target.mkdir(parents=True)
    for name in (*found["files"], METADATA):
        shutil.copyfile(source / name, target / name)
    return found


def credits_of(photos: Iterable[Photo], provenance: Sequence[Mapping[str, Any]]) -> str:
    """The text of CREDITS: licences with their addresses, sources, authors, weights."""
    found = credits.of_photos(vars(photo) for photo in photos)
    parts = [_CREDITS_HEAD, *found.lines()]
    weights = [a for a in provenance if a["kind"] != "data" and a["licences"]]
    if weights:
        parts.append("\nWeights that it started from\n")
        parts += [f"  {a['name']} ({', '.join(a['licences'])})\n" for a in weights]
    return "".join(parts)
