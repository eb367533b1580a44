"""The Vision Transformer against golden counts and a NumPy transcription."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.models import create
from aplantida_jax.models.vit import VisionTransformer


def _tiny(**overrides):
    fields = {"image_size": 16, "patch": 4, "width": 12, "depth": 2, "heads": 3}
    return VisionTransformer(num_classes=5, mlp_dim=20, **{**fields, **overrides})


def _images(batch=2, side=16):
    return jax.random.normal(jax.random.key(1), (batch, side, side, 3))


def _random(module):
    """Variables of which none is a special case such as zero or one."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), _images())
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return structure.unflatten(
        [jnp.asarray(rng.normal(0.3, 0.5, leaf.shape), jnp.float32) for leaf in leaves]
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit_base_patch16_224", 86_567_656),
        ("vit_base_patch16_384", 86_859_496),
        ("vit_small_patch16_224", 22_050_664),
        # 380 positions more, as for the base.
        ("vit_small_patch16_384", 22_050_664 + (576 - 196) * 384),
        ("vit_tiny_patch16_224", 5_717_416),
        ("vit_tiny_patch16_384", 5_717_416 + (576 - 196) * 192),
    ],
)
def test_parameter_count(name, count):
    module = create(name, num_classes=1000)
    side = module.image_size
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def _dense(x, layer):
    axes = layer["kernel"].ndim - layer["bias"].ndim
    return np.tensordot(x, layer["kernel"], axes=axes) + layer["bias"]


def _norm(x, layer):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * layer["scale"] + layer["bias"]


def _gelu(x, form):
    if form == "tanh":
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _oracle(params, images, form):
    b, side = images.shape[:2]
    grid = side // 4
    patches = images.reshape(b, grid, 4, grid, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    x = _dense(patches, params["patch_embedding"]).reshape(b, grid * grid, -1)
    cls = np.broadcast_to(params["cls_token"], (b, 1, x.shape[-1]))
    x = np.concatenate([cls, x], axis=1) + params["pos_embedding"]
    for i in range(2):
        block = params[f"blocks_{i}"]
        qkv = _dense(_norm(x, block["norm1"]), block["attention"]["qkv"])
        query, key, value = np.moveaxis(qkv, 2, 0)  # [b, n, heads, d/heads]
        scores = np.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(key.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("bhqk,bkhd->bqhd", weights, value)
        x = x + _dense(mixed, block["attention"]["out"])
        hidden = _gelu(_dense(_norm(x, block["norm2"]), block["mlp"]["up"]), form)
        x = x + _dense(hidden, block["mlp"]["down"])
    return _dense(_norm(x, params["norm"])[:, 0], params["head"])


@pytest.mark.parametrize("gelu", ["tanh", "exact"])
def test_logits_are_those_of_a_transcription_in_numpy(gelu):
    module = _tiny(gelu=gelu)
    variables = _random(module)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    expected = _oracle(params["params"], np.asarray(_images(), np.float64), gelu)
    actual = jax.jit(module.apply)(variables, _images())
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_fresh_head_gives_equal_logits():
    module = _tiny()
    variables = jax.jit(module.init)(jax.random.key(0), _images())
    assert not module.apply(variables, _images()).any()
    features = module.apply(variables, _images(), method="features")
    assert features.shape == (2, 12)
    assert features.std() > 0.1


def test_fused_projection_starts_as_three():
    module = _tiny(width=96)
    params = jax.jit(module.init)(jax.random.key(0), _images())["params"]
    kernel = params["blocks_0"]["attention"]["qkv"]["kernel"]
    np.testing.assert_allclose(kernel.var(), 1 / 96, rtol=0.1)


def test_remat_changes_nothing():
    plain = _tiny(drop_path=0.5, dropout=0.2)
    variables = _random(plain)

    def gradient(module):
        def loss(params):
            logits = module.apply(
                {"params": params},
                _images(),
                train=True,
                rngs={"dropout": jax.random.key(2)},
            )
            return jnp.mean(logits**2)

        return jax.jit(jax.grad(loss))(variables["params"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        gradient(plain),
        gradient(plain.clone(remat=True)),
    )


def test_remat_stores_little_for_the_backward_pass():
    """What autodiff keeps between the passes, whatever a compiler makes of it."""

    def kept(remat):
        module = _tiny(image_size=32, width=48, depth=12, remat=remat)
        images = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)
        params = jax.eval_shape(module.init, jax.random.key(0), images)

        def backward(params, images):
            return jax.vjp(lambda p: module.apply(p, images, train=True), params)[1]

        leaves = jax.tree.leaves(jax.eval_shape(backward, params, images))
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        return sum(leaf.size for leaf in leaves) - weights

    assert kept(remat=True) < 0.2 * kept(remat=False)


@pytest.mark.parametrize("side", [96, 160, 512])
def test_other_image_sizes_are_a_matter_of_positions(side):
    module = create("vit_tiny_patch16_224", num_classes=5, image_size=side)
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    logits, variables = jax.eval_shape(
        module.init_with_output, jax.random.key(0), images
    )
    tokens = 1 + (side // 16) ** 2
    assert variables["params"]["pos_embedding"].shape == (1, tokens, 192)
    assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)


def test_the_key_alone_decides_what_is_dropped():
    module = _tiny(drop_path=0.5, dropout=0.5)
    variables = _random(module)

    @jax.jit
    def logits(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, _images(), train=True, rngs=rngs)

    np.testing.assert_array_equal(logits(1), logits(1))
    assert not np.allclose(logits(1), logits(2))


def test_bfloat16_keeps_parameters_and_results_in_float32():
    module = _tiny(dtype="bfloat16")
    variables = jax.jit(module.init)(jax.random.key(0), _images())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    features, exact = (
        jax.jit(lambda v, x, form=form: form.apply(v, x, method="features"))(
            variables, _images()
        )
        for form in (module, module.clone(dtype="float32"))
    )
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features, exact, atol=0.1)


def test_stochastic_depth_drops_whole_images():
    module = _tiny(depth=1, drop_path=0.0)
    variables = _random(module)
    # The rate grows from 0 at the first block to drop_path at the last.
    dropped = _tiny(depth=2, drop_path=0.999999)
    variables["params"]["blocks_1"] = variables["params"]["blocks_0"]
    actual = dropped.apply(
        variables, _images(), train=True, rngs={"dropout": jax.random.key(0)}
    )
    np.testing.assert_allclose(actual, module.apply(variables, _images()), rtol=1e-4)
    assert not np.allclose(actual, dropped.apply(variables, _images()), rtol=1e-2)


def test_images_of_another_size_are_refused():
    module = _tiny()
    variables = _random(module)
    with pytest.raises(ValueError, match="the model is for 16"):
        module.apply(variables, _images(side=32))
