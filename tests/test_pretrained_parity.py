"""Foreign weights give the logits of the networks that they come from.

Google's, timm's and folded weights are compared with outputs recorded beside them in
../shared (not part of the repository); Keras' with Keras itself, here and now.
"""

import dataclasses
import json
from pathlib import Path

import jax
import keras_network
import numpy as np
import pytest
from PIL import Image
from tiny_vit import zeros_of

from aplantida_jax.models import create, fetch_weights, load_pretrained, published
from aplantida_jax.models.pretrained import describe
from aplantida_jax.models.vit import VisionTransformer

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
WEIGHTS = SHARED / "data" / "weights"
DAISY = 986  # of the 1,001 ImageNet classes whose first is "background"
needs_shared = pytest.mark.skipif(
    not (SHARED / "parity").is_dir(), reason=f"no reference weights in {SHARED}"
)


@needs_shared
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("timm_vit_patch16_96.safetensors", {"gelu": "exact"}),
        ("google_vit_b16_style.npz", {"gelu": "tanh"}),
    ],
)
def test_vit_gives_the_logits_of_the_original(name, settings):
    path = SHARED / "parity" / name
    origin = describe(path)
    assert origin.settings == settings
    assert (origin.image_size, origin.num_classes) == (96, 11)
    module = VisionTransformer(
        num_classes=11,
        image_size=96,
        width=96,
        depth=3,
        heads=3,
        mlp_dim=384,
        **origin.settings,
    )
    variables, report = load_pretrained(path, module, zeros_of(module, 96))
    assert not report.new
    images, logits = _recorded(path)
    np.testing.assert_allclose(module.apply(variables, images), logits, atol=1e-4)


def _recorded(path):
    with np.load(path.with_name(f"{path.stem}_io.npz")) as stored:
        return stored["input_nhwc"], stored["logits"]


@needs_shared
@pytest.mark.parametrize("depthwise", ["shifted", "convolution"])
def test_timm_mobilenet_gives_the_logits_of_the_original(depthwise):
    path = SHARED / "parity" / "timm_mobilenetv2_035.safetensors"
    origin = describe(path)
    assert origin.settings == {"padding": "torch", "bn_eps": 1e-5}
    module = create(
        "mobilenet_v2_0.35", num_classes=11, depthwise=depthwise, **origin.settings
    )
    variables, report = load_pretrained(path, module, zeros_of(module, 96))
    assert not report.new
    assert all(key.endswith("num_batches_tracked") for key in report.ignored)
    images, logits = _recorded(path)
    actual = jax.jit(module.apply)(variables, images)
    np.testing.assert_allclose(actual, logits, atol=1e-4)


@needs_shared
def test_timm_release_card_beside_the_file(tmp_path):
    source = SHARED / "parity" / "timm_mobilenetv2_035.safetensors"
    path = tmp_path / "model.safetensors"
    path.write_bytes(source.read_bytes())
    assert describe(path).mean == (0.485, 0.456, 0.406)
    card = {"mean": [0.5, 0.5, 0.5], "std": [0.25] * 3, "license": "apache-2.0"}
    config = json.dumps({"architecture": "any", "pretrained_cfg": card})
    (tmp_path / "config.json").write_text(config)
    origin = describe(path)
    assert (origin.mean, origin.std) == ((0.5,) * 3, (0.25,) * 3)
    # Among other files it says nothing of them: each has a card by its own name.
    other = path.with_name("timm_other.safetensors")
    path.rename(other)
    assert describe(other).mean == (0.485, 0.456, 0.406)
    (tmp_path / "timm_other.config.json").write_text(config)
    assert describe(other).mean == (0.5,) * 3
    assert origin.licence == "Apache-2.0"


def _references():
    """Recorded outputs on photos, and the photos as the networks saw them."""
    recorded = json.loads((WEIGHTS / "reference_outputs.json").read_text())["images"]
    recorded = recorded[::4]
    images = [_seen(SHARED / "data" / "plants" / e["image"]) for e in recorded]
    return recorded, np.stack(images)


def _seen(path):
    """A photo as the recorded outputs were made of it, float32 [224, 224, 3]."""
    photo = Image.open(path).convert("RGB").resize((224, 224), Image.BILINEAR)
    return np.asarray(photo, np.float32) / 127.5 - 1.0


@needs_shared
def test_published_035_backbone_gives_its_features():
    path = WEIGHTS / "mobilenet_v2_0.35_224_imagenet_no_top.safetensors"
    origin = describe(path)
    assert (origin.format, origin.num_classes) == ("keras_mobilenet_v2", 0)
    assert origin.licence.startswith("Apache-2.0")
    module = create("mobilenet_v2_0.35", num_classes=3, **origin.settings)
    variables, report = load_pretrained(path, module, zeros_of(module, 224))
    assert len(report.loaded) == 260
    fetch_weights.check(published.TABLE["keras/mobilenet_v2_0.35_no_top"], path)
    recorded, images = _references()
    features = jax.jit(lambda v, x: module.apply(v, x, method="features"))
    actual = features(variables, images)
    first = [entry["mnv2_0.35_pooled_first8"] for entry in recorded]
    mean = [entry["mnv2_0.35_pooled_mean"] for entry in recorded]
    np.testing.assert_allclose(actual[:, :8], first, atol=1e-4)  # recorded to 1e-4
    np.testing.assert_allclose(actual.mean(axis=1), mean, atol=2e-5)


def _folded(kind):
    """One of the two real networks with 1,001 ImageNet classes, and its variables."""
    path = WEIGHTS / f"mobilenet_v2_1.0_224_imagenet_{kind}_dequant.npz"
    origin = describe(path)
    assert (origin.format, origin.num_classes) == ("folded_mobilenet_v2", 1001)
    module = create("mobilenet_v2_1.0", num_classes=1001, **origin.settings)
    return module, load_pretrained(path, module, zeros_of(module, 224))[0]


@needs_shared
def test_folded_networks_name_the_plants():
    for kind in ("qat", "ptq"):
        module, variables = _folded(kind)
        recorded, images = _references()
        probabilities = jax.nn.softmax(jax.jit(module.apply)(variables, images))
        for row, entry in zip(probabilities, recorded, strict=True):
            classes, _, expected = zip(*entry[f"{kind}_1.0_top3"], strict=True)
            assert np.argsort(-row)[:3].tolist() == list(classes)
            np.testing.assert_allclose(row[np.array(classes)], expected, atol=1e-4)


@needs_shared
def test_most_daisies_are_daisies():
    """Ox-eye daisies, some of them seedlings, by the two real ImageNet networks."""
    module, variables = _folded("ptq")
    paths = sorted((SHARED / "data" / "plants" / "images").glob("leucanthemum-*"))
    images = np.stack([_seen(path) for path in paths[::4]])
    logits = jax.jit(module.apply)(variables, images)
    assert (logits.argmax(axis=1) == DAISY).mean() > 0.5


@pytest.fixture(scope="module")
def keras():
    return keras_network.build(0.35)


# Keras 3 reads its TensorFlow variables in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ["w.weights.h5", "legacy.h5"])
def test_keras_gives_the_same_logits(keras, tmp_path, name):
    path = tmp_path / name
    keras_network.save(keras, path)
    origin = describe(path)
    assert origin.settings == {"padding": "tf", "bn_eps": 1e-3}
    assert origin.num_classes == 11
    module = create("mobilenet_v2_0.35", num_classes=11, **origin.settings)
    variables, report = load_pretrained(path, module, zeros_of(module, 64))
    assert (len(report.loaded), report.new) == (262, ())
    images = np.random.default_rng(1).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    entry = published.TABLE["keras/mobilenet_v2_0.35"]
    fetch_weights.check(dataclasses.replace(entry, num_classes=11), path)
    expected = np.asarray(keras(images, training=False))
    actual = jax.jit(module.apply)(variables, images)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
