"""The names and layouts of foreign weights, in terms of our own parameter paths.

Each function returns a table: for each of our paths (with the collection in front,
"params/blocks_0/norm1/scale") the foreign arrays that it is made of, and how. Together
they say all that a file of the format must hold, and all that it may.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from aplantida_jax.models.mobilenet_v2 import block_specs
from aplantida_jax.models.weight_files import Arrays


class Source(NamedTuple):
    """Where one of our arrays comes from: `convert(*arrays of keys)`."""

    keys: tuple[str, ...]
    convert: Callable[..., np.ndarray]


Table = dict[str, Source]


def own(names: Iterable[str]) -> Table:
    """A checkpoint of ours: every array under its own name."""
    return {name: Source((name,), _same) for name in names}


def google_vit(depth: int) -> Table:
    """vit_jax and augreg, with modules numbered by kind (see formats.normalise)."""
    table = _table(
        ("cls_token", "cls", _same),
        ("pos_embedding", "Transformer/posembed_input/pos_embedding", _same),
    )
    for leaf in ("kernel", "bias"):
        table |= _table((f"patch_embedding/{leaf}", f"embedding/{leaf}", _same))
        table |= _table((f"head/{leaf}", f"head/{leaf}", _same))
    for leaf in ("scale", "bias"):
        table |= _table((f"norm/{leaf}", f"Transformer/encoder_norm/{leaf}", _same))
    for i in range(depth):
        table |= _google_block(f"blocks_{i}", f"Transformer/encoderblock_{i}")
    return table


def _google_block(ours: str, theirs: str) -> Table:
    table: Table = {}
    attention = f"{theirs}/MultiHeadDotProductAttention_0"
    for leaf, axis in (("kernel", 1), ("bias", 0)):
        parts = tuple(f"{attention}/{p}/{leaf}" for p in ("query", "key", "value"))
        table[f"params/{ours}/attention/qkv/{leaf}"] = Source(
            parts, lambda *arrays, axis=axis: np.stack(arrays, axis=axis)
        )
        table |= _table(
            (f"{ours}/attention/out/{leaf}", f"{attention}/out/{leaf}", _same),
            (f"{ours}/mlp/up/{leaf}", f"{theirs}/MlpBlock_0/Dense_0/{leaf}", _same),
            (f"{ours}/mlp/down/{leaf}", f"{theirs}/MlpBlock_0/Dense_1/{leaf}", _same),
        )
    for leaf in ("scale", "bias"):
        table |= _table(
            (f"{ours}/norm1/{leaf}", f"{theirs}/LayerNorm_0/{leaf}", _same),
            (f"{ours}/norm2/{leaf}", f"{theirs}/LayerNorm_1/{leaf}", _same),
        )
    return table


def timm_vit(depth: int, heads: int) -> Table:
    """timm's VisionTransformer with class token and one head."""
    table = _table(
        ("patch_embedding/kernel", "patch_embed.proj.weight", _torch_convolution),
        ("patch_embedding/bias", "patch_embed.proj.bias", _same),
        ("cls_token", "cls_token", _same),
        ("pos_embedding", "pos_embed", _same),
        ("norm/scale", "norm.weight", _same),
        ("norm/bias", "norm.bias", _same),
        ("head/kernel", "head.weight", np.transpose),
        ("head/bias", "head.bias", _same),
    )
    for i in range(depth):
        table |= _timm_block(f"blocks_{i}", f"blocks.{i}", heads)
    return table


def _timm_block(ours: str, theirs: str, heads: int) -> Table:
    def split_in(
        weight: np.ndarray,
    ) -> np.ndarray:  # [3 d, d] -> [d, 3, heads, d/heads]
        return weight.T.reshape(weight.shape[1], 3, heads, -1)

    def split_bias(bias: np.ndarray) -> np.ndarray:  # [3 d] -> [3, heads, d/heads]
        return bias.reshape(3, heads, -1)

    def split_out(weight: np.ndarray) -> np.ndarray:  # [d, d] -> [heads, d/heads, d]
        return weight.T.reshape(heads, -1, weight.shape[0])

    return _table(
        (f"{ours}/norm1/scale", f"{theirs}.norm1.weight", _same),
        (f"{ours}/norm1/bias", f"{theirs}.norm1.bias", _same),
        (f"{ours}/attention/qkv/kernel", f"{theirs}.attn.qkv.weight", split_in),
        (f"{ours}/attention/qkv/bias", f"{theirs}.attn.qkv.bias", split_bias),
        (f"{ours}/attention/out/kernel", f"{theirs}.attn.proj.weight", split_out),
        (f"{ours}/attention/out/bias", f"{theirs}.attn.proj.bias", _same),
        (f"{ours}/norm2/scale", f"{theirs}.norm2.weight", _same),
        (f"{ours}/norm2/bias", f"{theirs}.norm2.bias", _same),
        (f"{ours}/mlp/up/kernel", f"{theirs}.mlp.fc1.weight", np.transpose),
        (f"{ours}/mlp/up/bias", f"{theirs}.mlp.fc1.bias", _same),
        (f"{ours}/mlp/down/kernel", f"{theirs}.mlp.fc2.weight", np.transpose),
        (f"{ours}/mlp/down/bias", f"{theirs}.mlp.fc2.bias", _same),
    )


def timm_mobilenet_v2() -> Table:
    """timm's mobilenetv2_*, whatever the width."""
    table = _table(
        ("head/kernel", "classifier.weight", np.transpose),
        ("head/bias", "classifier.bias", _same),
    )
    for ours, conv, bn in _timm_units():
        table |= _table(
            (f"{ours}/conv/kernel", f"{conv}.weight", _torch_convolution),
            (f"{ours}/bn/scale", f"{bn}.weight", _same),
            (f"{ours}/bn/bias", f"{bn}.bias", _same),
        )
        table[f"batch_stats/{ours}/bn/mean"] = Source((f"{bn}.running_mean",), _same)
        table[f"batch_stats/{ours}/bn/var"] = Source((f"{bn}.running_var",), _same)
    return table


def keras_mobilenet_v2() -> Table:
    """Keras applications' MobileNetV2, whatever the width."""
    table = _table(
        ("head/kernel", "predictions/kernel", _same),
        ("head/bias", "predictions/bias", _same),
    )
    for ours, conv, bn in keras_units():
        convert = _keras_depthwise if ours.endswith("/depthwise") else _same
        table |= _table(
            (f"{ours}/conv/kernel", f"{conv}/kernel", convert),
            (f"{ours}/bn/scale", f"{bn}/gamma", _same),
            (f"{ours}/bn/bias", f"{bn}/beta", _same),
        )
        table[f"batch_stats/{ours}/bn/mean"] = Source((f"{bn}/moving_mean",), _same)
        table[f"batch_stats/{ours}/bn/var"] = Source((f"{bn}/moving_variance",), _same)
    return table


def folded_mobilenet_v2(bn_eps: float) -> Table:
    """Biased convolutions: BatchNorm becomes the identity plus their bias."""

    def one_less_epsilon(bias: np.ndarray) -> np.ndarray:
        return np.full_like(bias, 1.0 - bn_eps)

    table = _table(
        ("head/kernel", "Logits/kernel", lambda kernel: kernel[0, 0]),
        ("head/bias", "Logits/bias", _same),
    )
    outer = {"stem": "Conv1", "last": "Conv_1"}
    for ours, _, _ in keras_units():
        theirs = outer.get(ours, ours.replace("blocks_", "block_"))
        bias = f"{theirs}/bias"
        table |= _table(
            (f"{ours}/conv/kernel", f"{theirs}/kernel", _same),
            (f"{ours}/bn/scale", bias, np.ones_like),
            (f"{ours}/bn/bias", bias, _same),
        )
        table[f"batch_stats/{ours}/bn/mean"] = Source((bias,), np.zeros_like)
        table[f"batch_stats/{ours}/bn/var"] = Source((bias,), one_less_epsilon)
    return table


def keras_units() -> Iterator[tuple[str, str, str]]:
    """In order: our unit, Keras' convolution layer, Keras' BatchNorm layer."""
    yield "stem", "Conv1", "bn_Conv1"
    for i, spec in enumerate(block_specs(1.0)):
        prefix = f"block_{i}" if i else "expanded_conv"
        for part in _parts(spec.expansion):
            layer = f"{prefix}_{part}"
            yield f"blocks_{i}/{part}", layer, f"{layer}_BN"
    yield "last", "Conv_1", "Conv_1_bn"


def keras3_names(arrays: Arrays) -> Arrays:
    """The arrays of a .weights.h5 under the layers' names.

    It numbers layers by kind, in the network's order, and a layer's variables in the
    order of their creation: "layers/conv2d_3/vars/0".
    """
    counts = {"conv2d": 0, "depthwise_conv2d": 0, "batch_normalization": 0}
    variables = ("gamma", "beta", "moving_mean", "moving_variance")
    names = {
        "layers/dense/vars/0": "predictions/kernel",
        "layers/dense/vars/1": "predictions/bias",
    }

    def numbered(kind: str) -> str:
        counts[kind] += 1
        return f"layers/{kind}_{counts[kind] - 1}".removesuffix("_0") + "/vars"

    for ours, conv, bn in keras_units():
        kind = "depthwise_conv2d" if ours.endswith("/depthwise") else "conv2d"
        names[f"{numbered(kind)}/0"] = f"{conv}/kernel"
        layer = numbered("batch_normalization")
        for index, variable in enumerate(variables):
            names[f"{layer}/{index}"] = f"{bn}/{variable}"
    return {names.get(name, name): array for name, array in arrays.items()}


def _timm_units() -> Iterator[tuple[str, str, str]]:
    """Our unit, timm's convolution, timm's BatchNorm."""
    yield "stem", "conv_stem", "bn1"
    stage, index = -1, 0
    previous = 0
    for i, spec in enumerate(block_specs(1.0)):
        # A stage is a run of blocks with the same number of channels.
        stage, index = (
            (stage, index + 1) if spec.channels == previous else (stage + 1, 0)
        )
        previous = spec.channels
        layers = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        if spec.expansion == 1:
            layers["project"] = "conv_pw"
        for number, part in enumerate(_parts(spec.expansion), start=1):
            block = f"blocks.{stage}.{index}"
            yield f"blocks_{i}/{part}", f"{block}.{layers[part]}", f"{block}.bn{number}"
    yield "last", "conv_head", "bn2"


def _parts(expansion: int) -> tuple[str, ...]:
    parts = ("expand", "depthwise", "project")
    return parts if expansion > 1 else parts[1:]


def _table(*rows: tuple[str, str, Callable[..., np.ndarray]]) -> Table:
    return {f"params/{ours}": Source((key,), convert) for ours, key, convert in rows}


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _torch_convolution(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(2, 3, 1, 0)  # [out, in, h, w] -> [h, w, in, out]


def _keras_depthwise(kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(0, 1, 3, 2)  # [3, 3, c, 1] -> [3, 3, 1, c]
