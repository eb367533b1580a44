"""SavedModel -> TensorFlow.js graph model, with weights in three precisions.

    <directory>/model.json                   topology, and where each weight is
    <directory>/group1-shard{i}of{n}.bin     weights, in files of at most 4 MB

"float32" is what the converter writes. The others store kernels of 1x1 convolutions and
dense layers, which are nearly all of the bytes, in fewer bits, and the rest (depthwise
kernels, the stem, biases: 2 % of the weights of a full student) in float32:

- "float16": all of those kernels.
- "uint8": those after the last block, where an error meets no further layer to grow in,
  as scale * q + min per tensor; those of the blocks in float16.

Measured on ImageNet weights, 112 photos: float16 depthwise kernels alone make the error
of the logits five times larger, and 8 bits per tensor in the blocks change the first
class of 17 % of the photos (quantisation-aware training) to 34 % (without).

All three share one topology: TensorFlow.js computes in float32 and widens weights as it
loads.
"""

import collections
import glob
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aplantida_jax import files, quiet
from aplantida_jax.export.graph import import_tensorflow

PRECISIONS = ("float32", "float16", "uint8")
MODEL = "model.json"

_DENSE_OPS = ("MatMul", "_FusedMatMul")
_CONVOLUTION_OPS = ("Conv2D", "_FusedConv2D")


def convert(saved_model: Path, directory: Path) -> None:
    """Writes the float32 graph model.

    In this process: the converter is a library, and TensorFlow, which takes longest to
    load, is here already.
    """
    import_tensorflow()
    # tensorflowjs imports TensorFlow Decision Forests, which greets and warns.
    os.environ.setdefault("TFDF_DISABLE_WELCOME_MESSAGE", "1")
    with warnings.catch_warnings(), quiet.native_stderr():
        warnings.simplefilter("ignore")
        from tensorflowjs.converters import tf_saved_model_conversion_v2

        tf_saved_model_conversion_v2.convert_tf_saved_model(
            str(saved_model), str(directory)
        )


def requantise(source: Path, directory: Path, precision: str) -> None:
    """Writes the float32 model of `source` again with weights in `precision`."""
    from tensorflowjs import read_weights, write_weights

    model = read_model(source)
    groups = read_weights.read_weights(model["weightsManifest"], str(source))
    directory.mkdir(parents=True, exist_ok=True)
    model["weightsManifest"] = write_weights.write_weights(
        groups,
        str(directory),
        write_manifest=False,
        quantization_dtype_map=_quantisation(model, groups, precision),
    )
    # Strict: a stray infinity would be written as such, and no browser could read it.
    text = json.dumps(model, separators=(",", ":"), allow_nan=False)
    files.write_text(directory / MODEL, text)


def read_model(directory: Path) -> dict[str, Any]:
    """`model.json`, parsed."""
    return files.read_json(directory / MODEL, made_by="export_model")


def operations(model: Mapping[str, Any]) -> collections.Counter[str]:
    """How many operations of each kind a browser runs for one picture."""
    nodes = model["modelTopology"]["node"]
    return collections.Counter(
        node["op"] for node in nodes if node["op"] not in ("Const", "Placeholder")
    )


def _quantisation(
    model: Mapping[str, Any], groups: list[list[dict[str, Any]]], precision: str
) -> dict[str, list[str]]:
    """Precision -> names of weights, as patterns that match nothing but themselves."""
    if precision == "float32":
        return {}
    shapes = {
        weight["name"]: weight["data"].shape for group in groups for weight in group
    }
    blocks, end = _large_kernels(model, shapes)
    eight_bits = end if precision == "uint8" else []
    sixteen_bits = blocks if precision == "uint8" else blocks + end
    return {
        "uint8": [glob.escape(name) for name in eight_bits],
        "float16": [glob.escape(name) for name in sixteen_bits],
    }


def _large_kernels(
    model: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[str], list[str]]:
    """Names of 1x1 and dense kernels: (in the blocks, after the last block)."""
    nodes = model["modelTopology"]["node"]
    pooled = {node["input"][0] for node in nodes if node["op"] == "Mean"}
    blocks: list[str] = []
    end: list[str] = []
    for node in nodes:
        if node["op"] in _DENSE_OPS:
            end.append(node["input"][1])
        if node["op"] in _CONVOLUTION_OPS and shapes[node["input"][1]][:2] == (1, 1):
            (end if node["name"] in pooled else blocks).append(node["input"][1])
    return blocks, end
