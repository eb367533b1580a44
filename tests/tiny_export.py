"""What the export stages read, made in a moment.

A MobileNetV2 0.35 at 32 pixels for 12 classes with random weights and, above all,
random BatchNorm statistics: with the initial ones the converter folds the graph away
and hides what breaks in a browser. Photos are JPEGs, drawn here, in all orientations.
"""

import functools
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from aplantida_jax import files, models, paths
from aplantida_jax.data import labels, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.errors import UserError
from aplantida_jax.export import browser, web_files
from configs import export_tfjs

SIZE, RESIZE = 32, 36
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_GENERA = ("Quercus", "Pinus", "Rosa", "Salvia")
_COMMON = ("Encina", "Pino", "Rosal", "Salvia")
_COMMON_EN = ("Oak", "Pine", "Rose", "Sage")


def label_map() -> labels.LabelMap:
    """12 species of 4 genera."""
    return labels.LabelMap(
        tuple(
            labels.Taxon(
                class_id=index,
                latin_name=f"{_GENERA[index // 3]} species-{index}",
                common_name=f"{_COMMON[index // 3]} {index}",
                common_name_en=f"{_COMMON_EN[index // 3]} {index}",
                genus=_GENERA[index // 3],
                family="",
                countries=("ES",),
                regions=("EU_SW",),
            )
            for index in range(12)
        )
    )


def random_variables(module: Any, size: int, seed: int = 0) -> Any:
    """Variables of a module as if it had been trained on something."""
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))
    )
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        name, shape = path[-1].key, leaf.shape
        if name == "kernel":
            fan_in = np.prod(shape[:-1])
            values = rng.normal(0, np.sqrt(2 / fan_in), shape)
        elif name == "mean":
            values = rng.normal(0, 0.3, shape)
        elif name == "bias":
            values = rng.normal(0, 0.2, shape)
        else:  # var, scale
            values = rng.uniform(0.6, 1.6, shape)
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, dict(shapes))


def picture(seed: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Smooth random colours, uint8 RGB [height, width, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(image: np.ndarray, orientation: int = 1) -> bytes:
    """A JPEG file; orientations other than 1 go into its EXIF data."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    if orientation == 1:
        return data
    tiff = b"MM\x00\x2a\x00\x00\x00\x08" + struct.pack(
        ">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0
    )
    payload = b"Exif\x00\x00" + tiff
    return (
        data[:2]
        + b"\xff\xe1"
        + struct.pack(">H", len(payload) + 2)
        + payload
        + data[2:]
    )


def photo(seed: int, class_id: int) -> records.Photo:
    url = f"https://example.org/{seed}.jpg"
    return records.Photo(
        image_id=records.image_id_of(url),
        plant_id="p",
        latin_name=label_map().taxa[class_id].latin_name,
        class_id=class_id,
        url=url,
        source="example",
        licence=("CC-BY-4.0", "CC0-1.0")[seed % 2],
        licence_raw="CC BY",
        attribution=("Ana Pérez", "José  Ruiz", "")[seed % 3],
        countries=("ES",),
        regions=("EU_SW",),
    )


def workspace(root: Path, *, images: int = 20) -> Any:
    """A configuration, and under `root` all that the export stages read."""
    config = export_tfjs.get_config("demo")
    config.data_dir = str(root / "data")
    config.runs_dir = str(root / "workdirs")
    config.dist_dir = str(root / "dist")
    config.export.validation_images = images
    # On random weights, 8 bits are too coarse to be held to the limits.
    config.export.weights = "float32"
    labels.write(paths.classes(config), label_map())
    _write_photos(config, images)
    write_run(config)
    write_calibration(config)
    return config


def write_run(config: Any, **changes: Any) -> None:
    """A finished training run; `changes` replace fields of its best.json."""
    fields = {
        "name": "mobilenet_v2_0.35",
        "num_classes": len(label_map()),
        "image_size": SIZE,
        "dropout": 0.1,
        "dtype": "float32",
        "remat": False,
        "head_rank": 0,
    }
    run_dir = paths.run_dir(config, config.export.run)
    model = run_dir / "checkpoints" / "7" / "model"
    if not model.exists():
        variables = random_variables(models.create(**fields), SIZE)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(model.resolve(), variables)
    data = {"name": "train", "kind": "data", "licences": ["CC-BY-4.0", "CC0-1.0"]}
    info = {
        "name": config.export.run,
        "step": 7,
        "epoch": 1,
        "model": fields,
        "input": {"resize": RESIZE, "mean": MEAN, "std": STD},
        "region": "",
        "metrics": {"top1_accuracy": 0.5},
        "label_map": label_map().fingerprint,
        "provenance": [data],
        "checkpoint": model.relative_to(run_dir).as_posix(),
        "sha256": files.sha256_tree(model),
    }
    files.write_json(paths.best(run_dir), {**info, **changes})


def write_calibration(config: Any, **changes: Any) -> None:
    """The run's calibration.json; `changes` replace its fields."""
    found = {
        "label_map": label_map().fingerprint,
        "temperature": 1.0,
        "threshold": 0.2,
        "genus_threshold": 0.3,
        "ece_before": 0.1,
        "ece_after": 0.05,
        "coverage": 0.8,
        "accuracy": 0.95,
    }
    path = paths.calibration(paths.run_dir(config, config.export.run))
    files.write_json(path, {**found, **changes})


def _write_photos(config: Any, count: int) -> None:
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    splits: dict[str, list[records.Photo]] = {"train": [], "val": [], "test": []}
    for seed in range(count + 5):
        split = "train" if seed >= count else ("test", "val")[seed % 4 == 0]
        found = photo(seed, seed % 12)
        splits[split].append(found)
        width, height = 40 + 7 * (seed % 9), 36 + 5 * (seed % 11)
        image = picture(seed, width, height)
        cache.put(found.image_id, jpeg(image, orientation=1 + seed % 8))
    cache.close()
    for split, photos in splits.items():
        photos.sort(key=lambda p: p.image_id)
        records.write_photos(paths.split_file(config, split), photos)


def needs_browser() -> None:
    """Skips a test where there is no browser or no TensorFlow.js; in CI it fails."""
    try:
        browser.find_chromium()
        list(web_files.vendor_files())
    except UserError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@functools.cache
def exported(base: Path) -> Any:
    """A configuration whose `export_model` has run, once a session; not to be changed.

    `base` is the session's temporary directory, `tmp_path_factory.getbasetemp()`.
    """
    from aplantida_jax.export import export_model

    config = workspace(base / "exported")
    export_model.run(config, Path(config.runs_dir))
    return config


@functools.cache
def validated(base: Path) -> Any:
    """The same, when `validate_export` has run too."""
    from aplantida_jax.export import validate_export

    config = exported(base)
    validate_export.run(config, Path(config.runs_dir))
    return config
