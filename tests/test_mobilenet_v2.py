"""MobileNetV2, and its two forms of depthwise convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.models import create, depthwise, mobilenet_v2


@pytest.fixture
def short(monkeypatch):
    """A network of three blocks, so that compiling it takes no time."""
    stages = ((1, 16, 1, 1), (6, 24, 2, 2))
    monkeypatch.setattr(mobilenet_v2, "_STAGES", stages)


def _images(batch=4, side=32):
    return jax.random.normal(jax.random.key(1), (batch, side, side, 3))


def _shapes(name, **overrides):
    module = create(name, **overrides)
    return jax.eval_shape(
        lambda: module.init(jax.random.key(0), _images(1), train=False)
    )


def _random(module):
    """Variables of which none is a special case such as zero or one."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), _images()))
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return structure.unflatten(
        [jnp.asarray(rng.uniform(0.1, 0.5, leaf.shape), jnp.float32) for leaf in leaves]
    )


def _count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "count"),
    # torchvision's and Keras' counts of trainable parameters, 1,000 classes.
    [
        ("mobilenet_v2_0.35", 1_677_128),
        ("mobilenet_v2_0.5", 1_968_680),
        ("mobilenet_v2_0.75", 2_636_424),
        ("mobilenet_v2_1.0", 3_504_872),
        ("mobilenet_v2_1.4", 6_108_776),
    ],
)
def test_parameter_count(name, count):
    assert _count(_shapes(name, num_classes=1000)["params"]) == count


def test_backbone_of_width_035_has_the_size_of_the_published_weights():
    shapes = _shapes("mobilenet_v2_0.35", num_classes=10)
    assert _count(shapes) - _count(shapes["params"]["head"]) == 410_208


def test_factorised_head():
    head = _shapes("mobilenet_v2_0.35", num_classes=50, head_rank=8)["params"]
    assert head["head_in"]["kernel"].shape == (1280, 8)
    assert set(head["head_in"]) == {"kernel"}
    assert head["head"]["kernel"].shape == (8, 50)


@pytest.mark.parametrize("width", [0.35, 1.4])
def test_block_specs_describe_the_parameters(width):
    params = _shapes(f"mobilenet_v2_{width}", num_classes=10)["params"]
    specs = mobilenet_v2.block_specs(width)
    assert len(specs) == 17
    assert sum(spec.residual for spec in specs) == 10
    assert [spec.stride for spec in specs if spec.stride > 1] == [2, 2, 2, 2]
    for i, spec in enumerate(specs):
        block = params[f"blocks_{i}"]
        assert ("expand" in block) == (spec.expansion > 1)
        depth = block["depthwise"]["conv"]["kernel"].shape
        assert depth == (3, 3, 1, spec.hidden)
        project = block["project"]["conv"]["kernel"].shape
        assert project == (1, 1, spec.hidden, spec.channels)


def test_channels_follow_keras():
    channels = [spec.channels for spec in mobilenet_v2.block_specs(0.35)]
    assert sorted(set(channels)) == [8, 16, 24, 32, 56, 112]
    assert mobilenet_v2.stem_channels(0.35) == 16
    assert mobilenet_v2.last_channels(0.35) == 1280
    assert mobilenet_v2.last_channels(1.4) == 1792


@pytest.mark.parametrize(
    ("size", "stride", "padding", "expected"),
    [
        (8, 2, "tf", (0, 1)),
        (7, 2, "tf", (1, 1)),
        (8, 2, "torch", (1, 1)),
        (8, 1, "tf", (1, 1)),
    ],
)
def test_spatial_padding(size, stride, padding, expected):
    pads = depthwise.spatial_padding((1, size, size, 1), stride, padding)
    assert pads == (expected, expected)


@pytest.mark.parametrize("padding", ["tf", "torch"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 2)])
def test_shifted_depthwise_is_the_convolution(size, stride, padding):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (3, *size, 5))
    kernel = jax.random.normal(keys[1], (3, 3, 1, 5))

    def convolution(x, kernel):
        return depthwise.convolution(
            x, kernel, stride=stride, padding=padding, groups=5
        )

    def shifted(x, kernel):
        return depthwise.shifted_depthwise(x, kernel, stride, padding)

    expected, expected_vjp = jax.vjp(convolution, x, kernel)
    actual, actual_vjp = jax.vjp(shifted, x, kernel)
    cotangent = jax.random.normal(keys[2], expected.shape)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    np.testing.assert_allclose(shifted(x, kernel), expected, atol=1e-5)
    for gradient, wanted in zip(
        actual_vjp(cotangent), expected_vjp(cotangent), strict=True
    ):
        np.testing.assert_allclose(gradient, wanted, atol=1e-4)


def test_forms_agree_in_a_network(short):
    logits, gradients = [], []
    for form in ("shifted", "convolution"):
        module = create("mobilenet_v2_0.35", num_classes=7, depthwise=form)
        variables = _random(module)
        logits.append(jax.jit(module.apply)(variables, _images()))
        gradients.append(_gradient(module, variables))
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)
    _assert_close(*gradients)


def _assert_close(actual, expected, *, tolerance=1e-3):
    """Leaves agree, relative to the largest number of each."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = float(jnp.max(jnp.abs(b))) + 1e-3
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def _gradient(module, variables):
    @jax.jit
    def gradient(params):
        def loss(params):
            logits, _ = module.apply(
                {**variables, "params": params},
                _images(),
                train=True,
                rngs={"dropout": jax.random.key(2)},
                mutable=["batch_stats"],
            )
            return jnp.mean(nn.log_softmax(logits)[:, 0])

        return jax.grad(loss)(params)

    return gradient(variables["params"])


def test_remat_changes_nothing(short):
    plain = create("mobilenet_v2_0.35", num_classes=7, dropout=0.2)
    variables = _random(plain)
    remat = plain.clone(remat=True)
    _assert_close(_gradient(remat, variables), _gradient(plain, variables))


def test_bfloat16_keeps_parameters_and_results_in_float32(short):
    module = create("mobilenet_v2_0.35", num_classes=7, dtype="bfloat16")
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), _images()))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    variables = _random(module)
    logits = jax.jit(module.apply)(variables, _images())
    assert logits.dtype == jnp.float32
    exact = jax.jit(module.clone(dtype="float32").apply)(variables, _images())
    np.testing.assert_allclose(logits, exact, rtol=0.05)


def test_training_draws_dropout_and_moves_statistics(short):
    module = create("mobilenet_v2_0.35", num_classes=7, dropout=0.5)
    variables = _random(module)

    @jax.jit
    def train(seed):
        return module.apply(
            variables,
            _images(),
            train=True,
            rngs={"dropout": jax.random.key(seed)},
            mutable=["batch_stats"],
        )

    (first, stats), (second, _) = train(0), train(1)
    assert not np.allclose(first, second)
    before = variables["batch_stats"]["stem"]["bn"]["mean"]
    assert np.all(stats["batch_stats"]["stem"]["bn"]["mean"] != before)
    features = jax.jit(lambda v, x: module.apply(v, x, method="features"))(
        variables, _images()
    )
    assert features.shape == (4, 1280)
    assert features.dtype == jnp.float32
    assert np.all((features >= 0) & (features <= 6))


def _trained(module, variables, frozen_norms):
    """Logits and new variables of training mode, and of evaluation."""
    module = module.clone(frozen_norms=frozen_norms)

    @jax.jit
    def both(variables):
        logits, changed = module.apply(
            variables, _images(), train=True, mutable=["batch_stats"]
        )
        return logits, changed["batch_stats"], module.apply(variables, _images())

    return both(variables)


def test_frozen_norms_evaluate_in_training_and_keep_their_statistics(short):
    # With remat, which wraps the modules whose paths the norms know.
    module = create("mobilenet_v2_0.35", num_classes=7, remat=True)
    variables = _random(module)
    logits, statistics, evaluated = _trained(module, variables, ".")
    np.testing.assert_allclose(logits, evaluated, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, statistics, variables["batch_stats"])
    usual, _, _ = _trained(module, variables, "")
    assert not np.allclose(usual, evaluated, rtol=0.01)


def test_only_norms_whose_parameters_all_match_are_frozen(short):
    module = create("mobilenet_v2_0.35", num_classes=7)
    variables = _random(module)
    pattern = r"^stem/|blocks_1/expand/bn/|project/bn/scale$"
    _, statistics, _ = _trained(module, variables, pattern)
    same = jax.tree.map(np.array_equal, statistics, variables["batch_stats"])
    frozen = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, is_same in jax.tree_util.tree_leaves_with_path(same)
        if is_same
    }
    expected = {"stem/bn", "blocks_1/expand/bn"}
    assert frozen == {f"{n}/{leaf}" for n in expected for leaf in ("mean", "var")}


def test_a_frozen_norm_passes_its_gradient_on_and_can_still_learn(short):
    module = create("mobilenet_v2_0.35", num_classes=7, frozen_norms=".")
    # Small enough that no ReLU6 is saturated.
    variables = jax.tree.map(lambda leaf: leaf / 4, _random(module))
    for leaf in jax.tree.leaves(_gradient(module, variables)):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
