import jax
import numpy as np
import pytest
from tiny_export import MEAN, SIZE, STD, random_variables

from aplantida_jax import models
from aplantida_jax.errors import UserError
from aplantida_jax.export import graph


def test_fold_batch_norm_by_hand():
    variables = {
        "params": {
            "unit": {
                "conv": {"kernel": np.full((1, 1, 2, 2), 3.0)},
                "bn": {"scale": np.array([2.0, 1.0]), "bias": np.array([1.0, -1.0])},
            },
            "head": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)},
        },
        "batch_stats": {
            "unit": {"bn": {"mean": np.array([4.0, 0.5]), "var": np.array([3.0, 0.0])}}
        },
    }

    folded = graph.fold_batch_norm(variables, epsilon=1.0)

    # Channel 0: scale 2 / sqrt(3 + 1) = 1; channel 1: 1 / sqrt(0 + 1) = 1.
    np.testing.assert_array_equal(folded["unit"]["kernel"], np.full((1, 1, 2, 2), 3.0))
    np.testing.assert_array_equal(folded["unit"]["bias"], [1.0 - 4.0, -1.0 - 0.5])
    np.testing.assert_array_equal(folded["head"]["kernel"], np.ones((2, 3)))
    assert folded["unit"]["kernel"].dtype == np.float32


@pytest.mark.parametrize(
    "fields",
    [{}, {"head_rank": 8, "padding": "torch", "bn_eps": 1e-5}],
    ids=["tf-dense", "torch-factorised"],
)
def test_graph_gives_the_logits_of_the_unfolded_model(fields):
    module = models.create("mobilenet_v2_0.35", num_classes=12, **fields)
    variables = random_variables(module, SIZE)
    image = np.random.default_rng(1).uniform(0, 255, (1, SIZE, SIZE, 3))
    image = image.astype(np.float32)
    normalised = (image / 255 - np.float32(MEAN)) / np.float32(STD)
    expected = jax.jit(module.apply)(variables, normalised)

    network = graph.InferenceGraph(module, variables, mean=MEAN, std=STD)
    logits = graph.to_tensorflow(network, SIZE)(image)[graph.OUTPUT].numpy()

    assert logits.shape == (1, 12)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_newer_jax_is_refused_with_the_version_that_works():
    graph.check_jax((0, 7, 1))
    with pytest.raises(UserError, match=r"under jax 0\.7\.2.*jax==0\.7\.1"):
        graph.check_jax((0, 7, 2))


def test_other_kinds_of_models_are_refused():
    vit = models.create("vit_mini_patch8_64", num_classes=3)
    with pytest.raises(UserError, match="VisionTransformer.*MobileNetV2"):
        graph.check_model(vit)
