"""Foreign weights: the original networks' outputs, and what is said about bad files.

Google's, timm's and folded weights are compared with outputs recorded beside them in
../shared (not part of the repository); Keras' with Keras itself, here and now.
"""

import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from aplantida_jax.errors import UserError
from aplantida_jax.models import create, load_pretrained
from aplantida_jax.models.positions import resample_positions
from aplantida_jax.models.pretrained import describe
from aplantida_jax.models.vit import VisionTransformer

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
WEIGHTS = SHARED / "data" / "weights"
needs_shared = pytest.mark.skipif(
    not (SHARED / "parity").is_dir(), reason=f"no reference weights in {SHARED}"
)

SIDE, PATCH, WIDTH, HEADS, MLP = 24, 8, 12, 3, 20


def _vit(**overrides):
    fields = {"num_classes": 5, "image_size": SIDE, "patch": PATCH, "width": WIDTH}
    fields |= {"depth": 2, "heads": HEADS, "mlp_dim": MLP}
    return VisionTransformer(**{**fields, **overrides})


def _variables(module, side=SIDE):
    """Zeros in the shape of the module's variables; what is loaded shows."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _google_arrays(tokens=10, classes=5, depth=2):
    """A small ViT in the naming of the public augreg checkpoints."""
    split = WIDTH // HEADS
    shapes = {
        "cls": (1, 1, WIDTH),
        "embedding/kernel": (PATCH, PATCH, 3, WIDTH),
        "embedding/bias": (WIDTH,),
        "head/kernel": (WIDTH, classes),
        "head/bias": (classes,),
        "Transformer/posembed_input/pos_embedding": (1, tokens, WIDTH),
        "Transformer/encoder_norm/scale": (WIDTH,),
        "Transformer/encoder_norm/bias": (WIDTH,),
    }
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (WIDTH, HEADS, split)
            shapes[f"{attention}/{part}/bias"] = (HEADS, split)
        shapes[f"{attention}/out/kernel"] = (HEADS, split, WIDTH)
        shapes[f"{attention}/out/bias"] = (WIDTH,)
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes[f"{block}/{norm}/scale"] = (WIDTH,)
            shapes[f"{block}/{norm}/bias"] = (WIDTH,)
        shapes[f"{block}/MlpBlock_3/Dense_0/kernel"] = (WIDTH, MLP)
        shapes[f"{block}/MlpBlock_3/Dense_0/bias"] = (MLP,)
        shapes[f"{block}/MlpBlock_3/Dense_1/kernel"] = (MLP, WIDTH)
        shapes[f"{block}/MlpBlock_3/Dense_1/bias"] = (WIDTH,)
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def _google_file(tmp_path, **changes):
    path = tmp_path / "vit.npz"
    np.savez(path, **_google_arrays(**changes))
    return path


def test_google_names_arrive_where_they_belong(tmp_path):
    path = _google_file(tmp_path)
    module = _vit()
    variables, report = load_pretrained(path, module, _variables(module))
    params, arrays = variables["params"], np.load(path)
    block = "Transformer/encoderblock_1"
    attention = f"{block}/MultiHeadDotProductAttention_1"
    qkv = params["blocks_1"]["attention"]["qkv"]
    for index, part in enumerate(("query", "key", "value")):
        kernel = arrays[f"{attention}/{part}/kernel"]
        np.testing.assert_allclose(qkv["kernel"][:, index], kernel, rtol=1e-6)
    for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
        np.testing.assert_allclose(
            params["blocks_1"][ours]["scale"],
            arrays[f"{block}/{theirs}/scale"],
            rtol=1e-6,
        )
    assert report.format == "google_vit"
    assert len(report.loaded) == 32
    assert (report.resampled, report.new, report.ignored) == ((), (), ())
    assert report.needs == {"gelu": "tanh", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_describe(tmp_path):
    origin = describe(_google_file(tmp_path))
    assert (origin.image_size, origin.num_classes) == (SIDE, 5)
    assert origin.settings == {"gelu": "tanh"}
    assert origin.licence == "unknown"


def test_head_of_other_classes_is_replaced(tmp_path):
    module = _vit(num_classes=7)
    before = _variables(module)
    variables, report = load_pretrained(_google_file(tmp_path), module, before)
    assert report.new == ("params/head/bias", "params/head/kernel")
    assert report.ignored == ("head/bias", "head/kernel")
    assert not variables["params"]["head"]["kernel"].any()
    assert variables["params"]["norm"]["scale"].any()


def test_half_a_head_is_unknown(tmp_path):
    arrays = _google_arrays()
    del arrays["head/bias"]
    np.savez(tmp_path / "vit.npz", **arrays)
    _refused(tmp_path / "vit.npz", _vit(), "holds, beside what is known, head/kernel")


def test_factorised_head_is_new(tmp_path):
    module = _vit(head_rank=2)
    _, report = load_pretrained(_google_file(tmp_path), module, _variables(module))
    assert len(report.new) == 3


def test_head_behind_a_layer_of_its_own_is_replaced(tmp_path):
    path = tmp_path / "vit.npz"
    extra = {f"pre_logits/{leaf}": np.ones(WIDTH) for leaf in ("kernel", "bias")}
    np.savez(path, **_google_arrays(), **extra)
    module = _vit()
    _, report = load_pretrained(path, module, _variables(module))
    assert report.new == ("params/head/bias", "params/head/kernel")
    assert "pre_logits/kernel" in report.ignored


def test_positions_are_resampled(tmp_path):
    path = _google_file(tmp_path)
    module = _vit(image_size=48)
    variables, report = load_pretrained(path, module, _variables(module, side=48))
    assert report.resampled == ("params/pos_embedding",)
    positions = variables["params"]["pos_embedding"]
    stored = np.load(path)["Transformer/posembed_input/pos_embedding"]
    assert positions.shape == (1, 37, WIDTH)
    np.testing.assert_allclose(positions[:, 0], stored[:, 0], rtol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(6, 9), (8, 4), (5, 5)])
def test_resampling_is_pillows_bicubic(old, new):
    grid = np.random.default_rng(0).normal(size=(old, old)).astype(np.float32)
    positions = np.concatenate([[7.0], grid.ravel()]).reshape(1, -1, 1)
    actual = resample_positions(positions, 1 + new * new)
    expected = np.asarray(Image.fromarray(grid).resize((new, new), Image.BICUBIC))
    assert actual[0, 0, 0] == 7.0
    np.testing.assert_allclose(actual[0, 1:, 0].reshape(new, new), expected, atol=1e-4)


def test_grid_that_is_not_square_is_refused():
    with pytest.raises(UserError, match="not square"):
        resample_positions(np.zeros((1, 1 + 6, 4)), 1 + 9)


def test_summary_is_logged(tmp_path, caplog):
    module = _vit(num_classes=7)
    with caplog.at_level("INFO", logger="absl"):
        load_pretrained(_google_file(tmp_path), module, _variables(module))
    assert "google_vit, licence unknown; 30 arrays loaded" in caplog.text
    assert "new: params/head/bias, params/head/kernel" in caplog.text


def _refused(path, module, message, **options):
    with pytest.raises(UserError, match=message) as caught:
        load_pretrained(path, module, _variables(module), **options)
    assert "\n" not in str(caught.value)


def test_unknown_key(tmp_path):
    path = tmp_path / "vit.npz"
    np.savez(path, **_google_arrays(), surprise=np.ones(3))
    _refused(path, _vit(), "holds, beside what is known, surprise")


def test_missing_key(tmp_path):
    arrays = _google_arrays()
    del arrays["Transformer/encoderblock_1/LayerNorm_0/scale"]
    np.savez(tmp_path / "vit.npz", **arrays)
    _refused(tmp_path / "vit.npz", _vit(), "lacks .*encoderblock_1/LayerNorm_0/scale")


def test_shape_that_does_not_fit(tmp_path):
    message = r"blocks_0/mlp/down/bias|mlp/up/bias \[20\] instead of \[21\]"
    _refused(_google_file(tmp_path), _vit(mlp_dim=21), message)


@pytest.mark.parametrize(
    ("depth", "message"), [(3, "has nothing for .*blocks_2"), (1, "is for a larger")]
)
def test_depth_that_does_not_fit(tmp_path, depth, message):
    _refused(_google_file(tmp_path), _vit(depth=depth), message)


def test_nan(tmp_path):
    arrays = _google_arrays()
    arrays["cls"][:] = np.nan
    np.savez(tmp_path / "vit.npz", **arrays)
    _refused(tmp_path / "vit.npz", _vit(), "NaN or infinity in params/cls_token")


def test_module_with_other_settings(tmp_path):
    _refused(_google_file(tmp_path), _vit(gelu="exact"), "need gelu='tanh'")


def test_module_of_another_kind(tmp_path):
    module = create("mobilenet_v2_0.35", num_classes=2)
    with pytest.raises(UserError, match="for a VisionTransformer, but .* MobileNetV2"):
        load_pretrained(_google_file(tmp_path), module, {})


def test_images_of_another_size(tmp_path):
    message = "the model is for 24 pixels, the images have 48"
    _refused(_google_file(tmp_path), _vit(), message, image_size=48)


def _torch_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")


def _truncated_npz(path):
    whole = path.with_suffix(".whole.npz")
    np.savez(whole, **_google_arrays())
    path.write_bytes(whole.read_bytes()[:-200])


def _flipped_npz(path):
    np.savez(path.with_suffix(".npz"), **_google_arrays())
    data = bytearray(path.with_suffix(".npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _objects_npz(path):
    with open(path, "wb") as out:
        np.savez(out, weights=np.array([{"a": 1}], dtype=object))


def _truncated_safetensors(path):
    save_file({"a": np.ones(100, np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-50])


def _truncated_hdf5(path):
    import h5py

    with h5py.File(path, "w") as out:
        out["a"] = np.ones(1000)
    path.write_bytes(path.read_bytes()[:-3000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_bytes(b""), "neither .npz nor .safetensors"),
        (lambda path: path.write_text("<html>Not found</html>"), "neither .npz nor"),
        (lambda path: path.write_bytes(b"\x80\x02}q\x00."), "never loaded"),
        (_torch_archive, "never loaded"),
        (_objects_npz, "damaged, or not what it seems: Object arrays"),
        (_truncated_npz, "damaged"),
        (_flipped_npz, "damaged"),
        (_truncated_safetensors, "damaged"),
        (_truncated_hdf5, "damaged"),
        (lambda path: save_file({"a": np.ones(3)}, path), "is none of google_vit"),
    ],
)
def test_bad_file_is_refused_in_one_line(tmp_path, write, message):
    path = tmp_path / "weights.bin"  # the name tells nothing
    write(path)
    with pytest.raises(UserError, match=message) as caught:
        describe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


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
    variables, report = load_pretrained(path, module, _variables(module, 96))
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
    variables, report = load_pretrained(path, module, _variables(module, 96))
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
    assert origin.licence == "apache-2.0"


def _references():
    """Recorded outputs on photos, and the photos as the networks saw them."""
    recorded = json.loads((WEIGHTS / "reference_outputs.json").read_text())["images"]
    recorded = recorded[::4]
    images = [
        Image.open(SHARED / "data" / "plants" / entry["image"])
        .convert("RGB")
        .resize((224, 224), Image.BILINEAR)
        for entry in recorded
    ]
    return recorded, np.stack(images).astype(np.float32) / 127.5 - 1.0


@needs_shared
def test_published_035_backbone_gives_its_features():
    path = WEIGHTS / "mobilenet_v2_0.35_224_imagenet_no_top.safetensors"
    origin = describe(path)
    assert (origin.format, origin.num_classes) == ("keras_mobilenet_v2", 0)
    assert origin.licence.startswith("Apache-2.0")
    module = create("mobilenet_v2_0.35", num_classes=3, **origin.settings)
    variables, report = load_pretrained(path, module, _variables(module, 224))
    assert len(report.loaded) == 260
    recorded, images = _references()
    features = jax.jit(lambda v, x: module.apply(v, x, method="features"))
    actual = features(variables, images)
    first = [entry["mnv2_0.35_pooled_first8"] for entry in recorded]
    mean = [entry["mnv2_0.35_pooled_mean"] for entry in recorded]
    np.testing.assert_allclose(actual[:, :8], first, atol=1e-4)  # recorded to 1e-4
    np.testing.assert_allclose(actual.mean(axis=1), mean, atol=2e-5)


@needs_shared
def test_folded_networks_name_the_plants():
    for kind in ("qat", "ptq"):
        path = WEIGHTS / f"mobilenet_v2_1.0_224_imagenet_{kind}_dequant.npz"
        origin = describe(path)
        assert (origin.format, origin.num_classes) == ("folded_mobilenet_v2", 1001)
        module = create("mobilenet_v2_1.0", num_classes=1001, **origin.settings)
        variables, _ = load_pretrained(path, module, _variables(module, 224))
        recorded, images = _references()
        probabilities = jax.nn.softmax(jax.jit(module.apply)(variables, images))
        for row, entry in zip(probabilities, recorded, strict=True):
            classes, _, expected = zip(*entry[f"{kind}_1.0_top3"], strict=True)
            assert np.argsort(-row)[:3].tolist() == list(classes)
            np.testing.assert_allclose(row[np.array(classes)], expected, atol=1e-4)


@pytest.fixture(scope="module")
def keras_network():
    """Keras' own MobileNetV2 0.35 with random weights and statistics."""
    import tensorflow as tf

    network = tf.keras.applications.MobileNetV2(
        input_shape=(64, 64, 3),
        alpha=0.35,
        weights=None,
        classes=11,
        classifier_activation=None,
    )
    rng = np.random.default_rng(0)
    network.set_weights(
        [
            rng.uniform(0.5, 1.5, value.shape)
            if value.ndim == 1
            else rng.normal(0, np.prod(value.shape[:-1]) ** -0.5, value.shape)
            for value in network.get_weights()
        ]
    )
    return network


# Keras 3 reads its TensorFlow variables in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ["w.weights.h5", "legacy.h5"])
def test_keras_gives_the_same_logits(keras_network, tmp_path, name):
    path = tmp_path / name
    if name == "w.weights.h5":
        keras_network.save_weights(path)
    else:
        _save_legacy(keras_network, path)
    origin = describe(path)
    assert origin.settings == {"padding": "tf", "bn_eps": 1e-3}
    assert origin.num_classes == 11
    module = create("mobilenet_v2_0.35", num_classes=11, **origin.settings)
    variables, report = load_pretrained(path, module, _variables(module, 64))
    assert (len(report.loaded), report.new) == (262, ())
    images = np.random.default_rng(1).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(keras_network(images, training=False))
    actual = jax.jit(module.apply)(variables, images)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def _save_legacy(network, path):
    """As Keras 2 did, and the files that its applications download."""
    import h5py

    with h5py.File(path, "w") as out:
        for layer in network.layers:
            for variable in layer.weights:
                name = variable.path.split("/")[-1]
                if name == "kernel" and "depthwise" in layer.name:
                    name = "depthwise_kernel"
                out[f"{layer.name}/{layer.name}/{name}:0"] = variable.numpy()
