"""How far our networks' outputs are from those of the networks that weights come from.

    .venv/bin/python scripts/benchmark_parity.py [--shared=../shared]

One line `parity_<source> value goal` for each source: the largest difference of a logit
(of a pooled feature or a probability where only these are recorded, to four decimals).
Google's, timm's and folded weights lie with recorded outputs in the directory given;
Keras' networks, of random weights and statistics, are asked here and now, for both of
their kinds of file; a checkpoint of ours goes to the disk and back. Then how many
photos of ox-eye daisies the two real ImageNet networks call "daisy". All matrices are
multiplied in float32; on a GPU from Ampere on, JAX would do so in TF32.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import keras_network  # noqa: E402

from aplantida_jax import models  # noqa: E402
from aplantida_jax.models.pretrained import describe  # noqa: E402
from aplantida_jax.models.vit import VisionTransformer  # noqa: E402
from aplantida_jax.train import checkpoint, state  # noqa: E402

GOAL = 1e-4
DAISY = 986  # of the 1,001 ImageNet classes whose first is "background"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    shared = parser.parse_args().shared
    jax.config.update("jax_default_matmul_precision", "float32")
    # Keras 3 reads its TensorFlow variables in a way that NumPy 2 deprecates.
    warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
    with tempfile.TemporaryDirectory() as directory:
        for name, error in (
            *_recorded(shared / "parity"),
            *_recorded_on_photos(shared / "data"),
            *_keras(Path(directory)),
            _own(Path(directory)),
        ):
            print(f"parity_{name} {error:.2g} <={GOAL:g}", flush=True)
    for kind in ("qat", "ptq"):
        called, photos = _daisies(shared / "data", kind)
        print(f"daisies_called_daisy_{kind} {called}/{photos} >{photos // 2}")


def _load(path: Path, module: Any, side: int) -> Any:
    """The variables of a file in a module."""
    shapes = state.variable_shapes(module, image_size=side)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return models.load_pretrained(path, module, zeros)[0]


def _largest(actual: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(actual) - np.asarray(expected)).max())


def _recorded(directory: Path) -> Iterator[tuple[str, float]]:
    """Weights with the logits that the original code gave."""
    vit = {"image_size": 96, "width": 96, "depth": 3, "heads": 3, "mlp_dim": 384}
    for name in (
        "google_vit_b16_style.npz",
        "timm_vit_patch16_96.safetensors",
        "timm_mobilenetv2_035.safetensors",
    ):
        path = directory / name
        origin = describe(path)
        if "vit" in name:
            module = VisionTransformer(
                num_classes=origin.num_classes, **vit, **origin.settings
            )
        else:
            module = models.create(
                "mobilenet_v2_0.35", num_classes=origin.num_classes, **origin.settings
            )
        variables = _load(path, module, 96)
        with np.load(path.with_name(f"{path.stem}_io.npz")) as stored:
            logits = jax.jit(module.apply)(variables, stored["input_nhwc"])
            yield path.stem, _largest(logits, stored["logits"])


def _recorded_on_photos(data: Path) -> Iterator[tuple[str, float]]:
    """Real ImageNet weights with outputs recorded on real photos."""
    text = (data / "weights" / "reference_outputs.json").read_text()
    entries = json.loads(text)["images"]
    images = np.stack([_photo(data / "plants" / e["image"]) for e in entries])
    path = data / "weights" / "mobilenet_v2_0.35_224_imagenet_no_top.safetensors"
    module = models.create(
        "mobilenet_v2_0.35", num_classes=1, **describe(path).settings
    )
    features = jax.jit(lambda v, x: module.apply(v, x, method="features"))
    actual = features(_load(path, module, 224), images)[:, :8]
    yield (
        "mobilenet_v2_0.35_features",
        _largest(actual, [e["mnv2_0.35_pooled_first8"] for e in entries]),
    )
    for kind in ("qat", "ptq"):
        probability = jax.nn.softmax(_folded_logits(data, kind, images))
        top = np.array([[c for c, _, _ in e[f"{kind}_1.0_top3"]] for e in entries])
        expected = [[p for _, _, p in e[f"{kind}_1.0_top3"]] for e in entries]
        actual = np.take_along_axis(np.asarray(probability), top, axis=1)
        yield f"mobilenet_v2_1.0_{kind}_probabilities", _largest(actual, expected)


def _keras(directory: Path) -> Iterator[tuple[str, float]]:
    """Keras' networks and both of their kinds of file."""
    images = np.random.default_rng(1).uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32)
    for width in (0.35, 1.0):
        network = keras_network.build(width)
        expected = np.asarray(network(images, training=False))
        for file in ("network.h5", "network.weights.h5"):
            path = directory / file
            keras_network.save(network, path)
            module = models.create(
                f"mobilenet_v2_{width}", num_classes=11, **describe(path).settings
            )
            actual = jax.jit(module.apply)(_load(path, module, 64), images)
            kind = file.removeprefix("network.").replace(".", "_")
            yield f"keras_{width}_{kind}", _largest(actual, expected)


def _own(directory: Path) -> tuple[str, float]:
    """A checkpoint of ours, written as training does."""
    fields = {"name": "vit_mini_patch8_64", "num_classes": 11, "image_size": 64}
    module = models.create(**fields)
    variables = state.init_variables(module, image_size=64, seed=0)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.02, leaf.shape), variables
    )
    info = {"name": "run", "step": 1, "model": fields, "label_map": ""}
    info |= {"provenance": [], "input": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    with checkpoint.Checkpoints(directory / "run") as checkpoints:
        checkpoints.save(1, state.create(variables, optax.sgd(1.0), ema_decay=0.0), {})
        checkpoints.commit()
        checkpoint.write_best(directory / "run", info, checkpoints)
    images = rng.uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32)
    apply = jax.jit(module.apply)
    loaded = _load(directory / "run", module, 64)
    return "our_checkpoint", _largest(apply(loaded, images), apply(variables, images))


def _daisies(data: Path, kind: str) -> tuple[int, int]:
    """(photos called "daisy", photos of ox-eye daisies, seedlings among them)."""
    found = sorted((data / "plants" / "images").glob("leucanthemum-vulgare_*"))
    images = np.stack([_photo(path) for path in found])
    logits = _folded_logits(data, kind, images)
    return int((np.asarray(logits).argmax(axis=1) == DAISY).sum()), len(found)


def _folded_logits(data: Path, kind: str, images: np.ndarray) -> jax.Array:
    path = data / "weights" / f"mobilenet_v2_1.0_224_imagenet_{kind}_dequant.npz"
    module = models.create(
        "mobilenet_v2_1.0", num_classes=1001, **describe(path).settings
    )
    return jax.jit(module.apply)(_load(path, module, 224), images)


def _photo(path: Path) -> np.ndarray:
    """As the recorded outputs were made of it, float32 [224, 224, 3]."""
    photo = Image.open(path).convert("RGB").resize((224, 224), Image.BILINEAR)
    return np.asarray(photo, np.float32) / 127.5 - 1.0


if __name__ == "__main__":
    main()
