"""Foreign weights: where they arrive, what is new, and what is said of bad files."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tiny_vit import SIDE, WIDTH, google_arrays, google_file, tiny_vit, zeros_of

from aplantida_jax.errors import UserError
from aplantida_jax.models import create, load_pretrained
from aplantida_jax.models.positions import resample_positions
from aplantida_jax.models.pretrained import describe


def test_google_names_arrive_where_they_belong(tmp_path):
    path = google_file(tmp_path)
    module = tiny_vit()
    variables, report = load_pretrained(path, module, zeros_of(module))
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
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_describe(tmp_path):
    origin = describe(google_file(tmp_path))
    assert (origin.image_size, origin.num_classes) == (SIDE, 5)
    assert origin.settings == {"gelu": "tanh"}
    assert origin.licence == "unknown"


def test_head_of_other_classes_is_replaced(tmp_path):
    module = tiny_vit(num_classes=7)
    before = zeros_of(module)
    variables, report = load_pretrained(google_file(tmp_path), module, before)
    assert report.new == ("params/head/bias", "params/head/kernel")
    assert report.ignored == ("head/bias", "head/kernel")
    assert not variables["params"]["head"]["kernel"].any()
    assert variables["params"]["norm"]["scale"].any()


def test_half_a_head_is_unknown(tmp_path):
    arrays = google_arrays()
    del arrays["head/bias"]
    np.savez(tmp_path / "vit.npz", **arrays)
    _refused(
        tmp_path / "vit.npz", tiny_vit(), "holds, beside what is known, head/kernel"
    )


def test_a_factorised_head_is_made_of_a_dense_one_of_the_same_classes(tmp_path):
    module = tiny_vit(head_rank=2)
    _, report = load_pretrained(google_file(tmp_path), module, zeros_of(module))
    assert report.new == ()
    assert "params/head_in/kernel" in report.loaded
    module = tiny_vit(head_rank=2, num_classes=7)
    _, report = load_pretrained(google_file(tmp_path), module, zeros_of(module))
    assert len(report.new) == 3


def test_head_behind_a_layer_of_its_own_is_replaced(tmp_path):
    path = tmp_path / "vit.npz"
    extra = {f"pre_logits/{leaf}": np.ones(WIDTH) for leaf in ("kernel", "bias")}
    np.savez(path, **google_arrays(), **extra)
    module = tiny_vit()
    _, report = load_pretrained(path, module, zeros_of(module))
    assert report.new == ("params/head/bias", "params/head/kernel")
    assert "pre_logits/kernel" in report.ignored


def test_positions_are_resampled(tmp_path):
    path = google_file(tmp_path)
    module = tiny_vit(image_size=48)
    variables, report = load_pretrained(path, module, zeros_of(module, side=48))
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
    module = tiny_vit(num_classes=7)
    with caplog.at_level("INFO", logger="absl"):
        load_pretrained(google_file(tmp_path), module, zeros_of(module))
    assert "google_vit, licence unknown; 30 arrays loaded" in caplog.text
    assert "2 new: params/head/bias, params/head/kernel" in caplog.text


def test_ignored_names_are_logged_too(tmp_path, caplog):
    module = tiny_vit(num_classes=7)
    with caplog.at_level("INFO", logger="absl"):
        load_pretrained(google_file(tmp_path), module, zeros_of(module))
    assert "2 ignored: head/bias, head/kernel" in caplog.text


def test_the_head_of_other_classes_is_replaced_whatever_its_size(tmp_path):
    module = tiny_vit()
    path = google_file(tmp_path)
    _, report = load_pretrained(path, module, zeros_of(module), label_map="f" * 64)
    assert report.new == ("params/head/bias", "params/head/kernel")


@pytest.mark.parametrize(
    ("dtype", "container"),
    [
        (np.float16, "npz"),
        (np.float16, "safetensors"),
        (ml_dtypes.bfloat16, "npz"),
        (ml_dtypes.bfloat16, "safetensors"),
    ],
)
def test_half_precision_becomes_float32(tmp_path, dtype, container):
    arrays = {name: array.astype(dtype) for name, array in google_arrays().items()}
    path = tmp_path / "weights"
    if container == "safetensors":
        save_file(arrays, path)
    else:
        with open(path, "wb") as out:
            np.savez(out, **arrays)
    module = tiny_vit()
    variables, _ = load_pretrained(path, module, zeros_of(module))
    bias = variables["params"]["patch_embedding"]["bias"]
    assert bias.dtype == jnp.float32
    np.testing.assert_array_equal(bias, arrays["embedding/bias"].astype(np.float32))


def test_modules_numbered_by_kind_arrive_too(tmp_path):
    synonyms = {"LayerNorm_2/": "LayerNorm_1/", "MlpBlock_3/": "MlpBlock_0/"}
    synonyms["MultiHeadDotProductAttention_1/"] = "MultiHeadDotProductAttention_0/"
    arrays = google_arrays()
    for old, new in synonyms.items():
        arrays = {name.replace(old, new): array for name, array in arrays.items()}
    np.savez(tmp_path / "new.npz", **arrays)
    module = tiny_vit()
    old, _ = load_pretrained(google_file(tmp_path), module, zeros_of(module))
    new, _ = load_pretrained(tmp_path / "new.npz", module, zeros_of(module))
    jax.tree.map(np.testing.assert_array_equal, new, old)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("conv_root/kernel", "google_vit, but has a ResNet stem"),
        ("patch_embed.backbone.stem.conv.weight", "timm_vit, but has a ResNet stem"),
        ("fc_norm.weight", "another pooling"),
        ("norm_pre.weight", "a norm before its blocks"),
        ("reg_token", "register tokens"),
        ("head_dist.weight", "a distillation token"),
        ("dist_token", "a distillation token"),
        ("blocks.3.ls1.gamma", "scales in its blocks"),
        ("blocks.3.attn.q_norm.weight", "scales in its blocks"),
        ("blocks.0.attn.rel_pos.bias", "relative positions"),
    ],
)
def test_networks_alike_are_refused_by_name(tmp_path, key, what):
    arrays = {"patch_embed.proj.weight": np.ones((1, 3, 8, 8), "f4")}
    arrays["pos_embed"] = np.ones((1, 10, 1), "f4")
    if "/" in key:
        arrays = google_arrays()
    arrays[key] = np.ones(1, "f4")
    save_file(arrays, tmp_path / "weights")
    with pytest.raises(UserError, match=what) as caught:
        describe(tmp_path / "weights")
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("Apache-2.0 (of the weights)", "Apache-2.0"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("Apache-2.0 and others", "Apache-2.0 and others"),
        ("", "unknown"),
    ],
)
def test_a_licence_is_what_the_file_states(tmp_path, stated, licence):
    save_file(google_arrays(), tmp_path / "weights", metadata={"license": stated})
    assert describe(tmp_path / "weights").licence == licence


def _refused(path, module, message):
    with pytest.raises(UserError, match=message) as caught:
        load_pretrained(path, module, zeros_of(module))
    assert "\n" not in str(caught.value)


def test_unknown_key(tmp_path):
    path = tmp_path / "vit.npz"
    np.savez(path, **google_arrays(), surprise=np.ones(3))
    _refused(path, tiny_vit(), "holds, beside what is known, surprise")


def test_missing_key(tmp_path):
    arrays = google_arrays()
    del arrays["Transformer/encoderblock_1/LayerNorm_0/scale"]
    np.savez(tmp_path / "vit.npz", **arrays)
    _refused(
        tmp_path / "vit.npz", tiny_vit(), "lacks .*encoderblock_1/LayerNorm_0/scale"
    )


def test_shape_that_does_not_fit(tmp_path):
    message = r"blocks_0/mlp/down/bias|mlp/up/bias \[20\] instead of \[21\]"
    _refused(google_file(tmp_path), tiny_vit(mlp_dim=21), message)


@pytest.mark.parametrize(
    ("depth", "message"), [(3, "has nothing for .*blocks_2"), (1, "is for a larger")]
)
def test_depth_that_does_not_fit(tmp_path, depth, message):
    _refused(google_file(tmp_path), tiny_vit(depth=depth), message)


def test_nan(tmp_path):
    arrays = google_arrays()
    arrays["cls"][:] = np.nan
    np.savez(tmp_path / "vit.npz", **arrays)
    _refused(tmp_path / "vit.npz", tiny_vit(), "NaN or infinity in params/cls_token")


def test_module_with_other_settings(tmp_path):
    _refused(google_file(tmp_path), tiny_vit(gelu="exact"), "need gelu='tanh'")


def test_module_of_another_kind(tmp_path):
    module = create("mobilenet_v2_0.35", num_classes=2)
    with pytest.raises(UserError, match="for a VisionTransformer, but .* MobileNetV2"):
        load_pretrained(google_file(tmp_path), module, {})
