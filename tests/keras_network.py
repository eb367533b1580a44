"""Keras' own MobileNetV2 with random weights and statistics, and its two kinds of file.

Keras 3 reads its TensorFlow variables in a way that NumPy 2 deprecates.
"""

import numpy as np


def build(alpha, *, side=64, classes=11):
    """The network with logits as its output."""
    import tensorflow as tf

    network = tf.keras.applications.MobileNetV2(
        input_shape=(side, side, 3),
        alpha=alpha,
        weights=None,
        classes=classes,
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


def save(network, path):
    """As Keras 3 writes a .weights.h5, and any other .h5 as Keras 2 did.

    The latter are the files that Keras' applications download.
    """
    if path.name.endswith(".weights.h5"):
        network.save_weights(path)
        return
    import h5py

    with h5py.File(path, "w") as out:
        for layer in network.layers:
            for variable in layer.weights:
                name = variable.path.split("/")[-1]
                if name == "kernel" and "depthwise" in layer.name:
                    name = "depthwise_kernel"
                out[f"{layer.name}/{layer.name}/{name}:0"] = variable.numpy()
