"""BatchNorm and the sums that it is made of, against flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.models import channelwise


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_batch_norm_is_that_of_flax(monkeypatch, backend):
    # Only the form changes with the backend, and each form runs anywhere.
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (4, 5, 6, 7))
    ours = channelwise.BatchNorm(epsilon=1e-3, momentum=0.9)
    theirs = nn.BatchNorm(epsilon=1e-3, momentum=0.9)
    variables = ours.init(jax.random.key(1), x, train=False)
    variables["params"]["scale"] = jnp.linspace(0.5, 2.0, 7)
    variables["params"]["bias"] = jnp.linspace(-1.0, 1.0, 7)

    def loss(module, options, params, x):
        y, updated = module.apply(
            {**variables, "params": params}, x, **options, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.sin(y)), (y, updated)

    results = [
        jax.value_and_grad(loss, argnums=(2, 3), has_aux=True)(
            module, options, variables["params"], x
        )
        for module, options in (
            (ours, {"train": True}),
            (theirs, {"use_running_average": False}),
        )
    ]
    # Loss, outputs, statistics, and the gradients of parameters and images.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *results
    )
    np.testing.assert_allclose(
        ours.apply(variables, x, train=False),
        theirs.apply(variables, x, use_running_average=True),
        atol=1e-5,
    )


def test_channel_sum():
    x = jax.random.normal(jax.random.key(0), (3, 4, 5, 6))
    np.testing.assert_allclose(
        channelwise.channel_sum(x), x.sum(axis=(0, 1, 2)), atol=1e-4
    )
    assert channelwise.channel_sum(x.astype(jnp.bfloat16)).dtype == jnp.float32
