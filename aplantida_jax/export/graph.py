"""A trained MobileNetV2 -> the TensorFlow graph that TensorFlow.js runs fast.

In: the flax module and its variables. Out: a TensorFlow function from one picture,
float32 RGB 0-255 [1, size, size, 3], to logits float32 [1, classes]; or that function
as a SavedModel. Normalisation and folded BatchNorm are inside.

The graph is written for the converter of tensorflowjs, which fuses convolution, bias
and activation only when it meets TensorFlow's own ops (jax2tf spells `clip` as Maximum
and Minimum, and a bias as a rank-4 addition that crashes the browser's kernels). Hence:

- BatchNorm is folded into the convolution before it (Jacob et al. 2018, section 3.2);
- bias, ReLU6, mean and the dense layers are TensorFlow ops, through `jax2tf.call_tf`;
- the batch is one: a polymorphic one leaves Assert and Switch in the graph;
- `with_gradient=True`: without it every output passes through a PreventGradient.

The mean is subtracted by an op of its own. Folded into the stem's bias it would be
wrong along the borders, where padding adds zeros to the *normalised* picture.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aplantida_jax import quiet
from aplantida_jax.errors import UserError
from aplantida_jax.models.mobilenet_v2 import MobileNetV2, block_specs

INPUT, OUTPUT = "image", "logits"
LAST_JAX = (0, 7, 1)  # later jax2tf emits one XlaCallModule, which no browser runs

Weights = dict[str, Any]  # the names of mobilenet_v2.py, each unit as {kernel, bias}


def check_jax(version: tuple[int, ...] = jax.__version_info__) -> None:
    """Raises UserError under a JAX whose jax2tf can't write TensorFlow ops."""
    if tuple(version) > LAST_JAX:
        found, wanted = (".".join(map(str, v)) for v in (version, LAST_JAX))
        raise UserError(
            f"stage 'export_model' can't run under jax {found}: its jax2tf no longer "
            f"writes TensorFlow ops. Install jax=={wanted} and jaxlib=={wanted} (in "
            "another environment if you train with a newer one) and run the stage there"
        )


def check_model(module: Any) -> MobileNetV2:
    """The module itself, or a UserError when there is no graph for its kind."""
    if not isinstance(module, MobileNetV2):
        raise UserError(
            f"stage 'export_model' has no browser graph for {type(module).__name__}: "
            "it exports MobileNetV2 students. Point config.export.run at one"
        )
    return module


def import_tensorflow() -> Any:
    """TensorFlow on the CPU only: it would take all of a GPU's memory from JAX."""
    with quiet.native_stderr():
        import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    return tf


def fold_batch_norm(variables: Mapping[str, Any], *, epsilon: float) -> Weights:
    """Every {conv, bn} pair as one {kernel, bias}; other parameters as they are.

    y = (conv(x) - mean) * scale / sqrt(var + epsilon) + bias, and conv is linear.

    Args:
        variables: {"params", "batch_stats"} of the model.
        epsilon: of its BatchNorm.

    Returns:
        float32 numpy arrays, folded in float64.
    """
    return _fold(variables["params"], variables["batch_stats"], epsilon)


def _fold(params: Any, stats: Any, epsilon: float) -> Any:
    if not isinstance(params, Mapping):
        return np.asarray(params, np.float32)
    if set(params) == {"conv", "bn"}:
        scale, shift, mean, variance = (
            np.asarray(values, np.float64)
            for values in (
                params["bn"]["scale"],
                params["bn"]["bias"],
                stats["bn"]["mean"],
                stats["bn"]["var"],
            )
        )
        factor = scale / np.sqrt(variance + epsilon)  # [c]
        kernel = np.asarray(params["conv"]["kernel"], np.float64) * factor
        bias = shift - mean * factor
        return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return {
        name: _fold(value, stats.get(name, {}), epsilon)
        for name, value in params.items()
    }


class InferenceGraph:
    """The network on folded weights; calling it under jax2tf writes the graph."""

    def __init__(
        self,
        module: MobileNetV2,
        variables: Mapping[str, Any],
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        """`mean` and `std` are those of RGB in 0..1 that the model was trained with."""
        self._module = module
        self._weights = fold_batch_norm(variables, epsilon=module.bn_eps)
        self._mean = np.asarray(mean, np.float32) * 255.0
        self._inverse_std = 1.0 / (np.asarray(std, np.float32) * 255.0)
        self._tf = import_tensorflow()

    def __call__(self, image: jax.Array) -> jax.Array:
        """RGB 0-255 [1, size, size, 3] -> logits [1, classes]."""
        weights, width = self._weights, self._module.width
        x = (image - self._mean) * self._inverse_std
        x = self._unit(weights["stem"], x, stride=2)
        for index, spec in enumerate(block_specs(width)):
            block = weights[f"blocks_{index}"]
            y = self._unit(block["expand"], x) if spec.expansion > 1 else x
            y = self._unit(block["depthwise"], y, stride=spec.stride, depthwise=True)
            y = self._unit(block["project"], y, activate=False)
            x = x + y if spec.residual else y
        x = self._unit(weights["last"], x)
        x = self._call(lambda x: self._tf.reduce_mean(x, axis=[1, 2]), x)
        if "head_in" in weights:
            x = self._call(self._tf.matmul, x, weights["head_in"]["kernel"])
        return self._call(self._dense, x, *_kernel_and_bias(weights["head"]))

    def _unit(
        self,
        weights: Weights,
        x: jax.Array,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activate: bool = True,
    ) -> jax.Array:
        kernel, bias = _kernel_and_bias(weights)
        padding = "SAME"
        if stride == 2 and self._module.padding == "torch":
            # TensorFlow's oneDNN kernels abort the process on a fused depthwise
            # convolution with explicit padding, so that is an op of its own.
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            padding = "VALID"
        x = lax.conv_general_dilated(
            x,
            jnp.asarray(kernel),
            window_strides=(stride, stride),
            padding=padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=kernel.shape[-1] if depthwise else 1,
        )
        x = self._call(self._tf.nn.bias_add, x, bias)
        return self._call(self._tf.nn.relu6, x) if activate else x

    def _dense(self, x: Any, kernel: Any, bias: Any) -> Any:
        return self._tf.nn.bias_add(self._tf.matmul(x, kernel), bias)

    def _call(self, function: Callable[..., Any], *arrays: Any) -> jax.Array:
        from jax.experimental import jax2tf

        return jax2tf.call_tf(function)(*arrays)


def _kernel_and_bias(weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    return weights["kernel"], weights["bias"]


def to_tensorflow(graph: InferenceGraph, image_size: int) -> Any:
    """The graph as a `tf.function` of one signature, {image} -> {logits}."""
    tf = import_tensorflow()
    shape = tf.TensorSpec((1, image_size, image_size, 3), tf.float32, name=INPUT)
    frozen = _freeze(graph, shape)
    source, result = frozen.inputs[0].name, frozen.outputs[0].name
    nodes = frozen.graph.as_graph_def()
    for node in nodes.node:
        # Nobody differentiates this graph, and the gradient functions that the mark
        # refers to are not part of it: loading it would warn about each of them.
        node.attr.pop("_gradient_op_type", None)

    @tf.function(autograph=False, input_signature=[shape])
    def serve(image: Any) -> dict[str, Any]:
        (logits,) = tf.graph_util.import_graph_def(
            nodes, input_map={source: image}, return_elements=[result], name=""
        )
        return {OUTPUT: logits}

    return serve


def _freeze(graph: InferenceGraph, shape: Any) -> Any:
    """Traces the graph into a concrete function that calls no other function."""
    from jax.experimental import jax2tf
    from tensorflow.python.framework import convert_to_constants

    tf = import_tensorflow()
    with warnings.catch_warnings():
        # jax2tf announces that this mode ends with 0.7.1; `check_jax` is our answer.
        warnings.simplefilter("ignore", DeprecationWarning)
        converted = jax2tf.convert(
            graph, with_gradient=True, native_serialization=False, enable_xla=False
        )
        traced = tf.function(converted, autograph=False).get_concrete_function(shape)
        with quiet.native_stderr():
            return convert_to_constants.convert_variables_to_constants_v2(traced)


def write_saved_model(graph: InferenceGraph, image_size: int, directory: Path) -> None:
    """Writes a SavedModel with the signature `serving_default`."""
    tf = import_tensorflow()
    # The function hangs on the signature only: on the module too, it would be stored
    # twice, weights included.
    signature = to_tensorflow(graph, image_size).get_concrete_function()
    tf.saved_model.save(
        tf.Module(), str(directory), signatures={"serving_default": signature}
    )
