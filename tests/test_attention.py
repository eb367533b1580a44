"""Which attention runs where, and that cuDNN's is what a GPU would be given."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.errors import UserError
from aplantida_jax.models import attention, vit

AMPERE = attention.Device("gpu", 8.6)  # an RTX 3060
TOKENS = 37  # odd, as a ViT's always are


def heads(seed, dtype="float32", tokens=TOKENS):
    keys = jax.random.split(jax.random.key(seed), 3)
    return [jax.random.normal(key, (2, tokens, 3, 16)).astype(dtype) for key in keys]


@pytest.mark.parametrize(
    ("device", "dtype", "head_width", "expected"),
    [
        (AMPERE, "bfloat16", 64, "cudnn"),
        (AMPERE, "float16", 64, "cudnn"),
        (attention.Device("gpu", 8.0), "bfloat16", 128, "cudnn"),
        (attention.Device("gpu", 12.0), "bfloat16", 32, "cudnn"),
        (AMPERE, "float32", 64, "xla"),
        (AMPERE, "bfloat16", 12, "xla"),  # not a multiple of 8
        (AMPERE, "bfloat16", 136, "xla"),  # too wide
        (attention.Device("gpu", 7.5), "bfloat16", 64, "xla"),  # Turing
        (attention.Device("gpu", 0.0), "bfloat16", 64, "xla"),  # not NVIDIA's
        (attention.Device("cpu", 0.0), "bfloat16", 64, "xla"),
        (attention.Device("tpu", 0.0), "bfloat16", 64, "xla"),
    ],
)
def test_auto_is_cudnn_where_it_can_run(device, dtype, head_width, expected):
    what = {"dtype": dtype, "head_width": head_width}
    assert attention.choose("auto", device, **what) == expected
    assert attention.choose("xla", device, **what) == "xla"
    if expected == "cudnn":
        assert attention.choose("cudnn", device, **what) == "cudnn"
        return
    with pytest.raises(UserError, match="attention=cudnn is not possible") as caught:
        attention.choose("cudnn", device, **what)
    assert caught.value.exit_code == 2


def test_this_machine_is_asked_what_it_is():
    found = attention.Device.current()
    assert found.platform == jax.default_backend()
    assert (found.capability > 0) == (found.platform == "gpu")


def test_a_masked_token_changes_neither_values_nor_gradients():
    inputs, cotangent = heads(0), heads(1)[0]
    results = []
    for form in (attention.attend, attention.attend_padded):

        def mixed(query, key, value, form=form):
            return form(query, key, value, implementation="xla")

        @jax.jit
        def both(*inputs, mixed=mixed):
            value, vjp = jax.vjp(mixed, *inputs)
            return value, *vjp(cotangent)

        results.append(both(*inputs))
    for plain, padded in zip(*results, strict=True):
        np.testing.assert_allclose(padded, plain, atol=1e-5)


def test_attention_is_the_formula():
    query, key, value = heads(2)
    scores = np.einsum("bqhd,bkhd->bhqk", query, key, dtype=np.float64) / 4
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bhqk,bkhd->bqhd", weights, value)
    actual = attention.attend(query, key, value, implementation="xla")
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_bfloat16_is_close_to_float32():
    rounded = heads(3, "bfloat16")
    exact = attention.attend(
        *(x.astype(jnp.float32) for x in rounded), implementation="xla"
    )
    actual = attention.attend(*rounded, implementation="xla")
    assert actual.dtype == jnp.bfloat16
    # Numbers of size 1, to 8 bits, after a softmax in float32.
    np.testing.assert_allclose(actual.astype(jnp.float32), exact, atol=0.02)


def lowered_for_a_gpu(implementation):
    """The gradient of a ViT's block as it would be compiled for CUDA."""
    block = vit.Block(4, 64, "tanh", 0.0, "bfloat16", implementation)
    x = jax.ShapeDtypeStruct((2, TOKENS, 32), jnp.bfloat16)
    variables = jax.eval_shape(
        lambda x: vit.Block(4, 64, "tanh", 0.0, "bfloat16", "xla").init(
            jax.random.key(0), x, False
        ),
        x,
    )

    def loss(variables, x):
        return block.apply(variables, x, False).astype(jnp.float32).sum()

    gradient = jax.jit(jax.grad(loss))
    return gradient.trace(variables, x).lower(lowering_platforms=("cuda",)).as_text()


def test_for_a_gpu_the_block_is_lowered_to_cudnn_without_any_scores(monkeypatch):
    # JAX asks the CUDA libraries, which are not here, for their version.
    kernels = importlib.import_module("jax._src.cudnn.fused_attention_stablehlo")
    if not hasattr(kernels, "check_cudnn_version"):
        pytest.skip("this JAX asks for cuDNN's version in another way")
    monkeypatch.setattr(kernels, "check_cudnn_version", lambda: 90800)
    fused, plain = lowered_for_a_gpu("cudnn"), lowered_for_a_gpu("xla")
    for side in (TOKENS, TOKENS + 1):
        assert f"{side}x{side}x" not in fused
    assert f"{TOKENS}x{TOKENS}x" in plain
    for kernel in ("@__cudnn$fmhaSoftmax(", "@__cudnn$fmhaSoftmaxBackward("):
        assert kernel in fused
        assert kernel not in plain
