"""The validation step and its summary against counting by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax.data import labels
from aplantida_jax.train import step, validation

MASK = np.arange(16) < 11  # of a last batch that is not full


class Colour(nn.Module):
    """Logits that are a linear map of the image's mean colour."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(6, kernel_init=nn.initializers.normal(9.0))(
            images.mean(axis=(1, 2))
        )


@pytest.fixture
def parts(dataset: Dataset):
    config = dataset.teacher()
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (16, 1, 1, 3))
    batch = {
        "image": np.broadcast_to(colours, (16, 8, 8, 3)).astype(np.uint8),
        "label": rng.integers(0, 4, 16).astype(np.int32),
        "mask": MASK,
    }
    variables = Colour().init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    constants = step.Constants(jnp.array([True] * 4 + [False] * 2), jnp.zeros(6))
    return config, variables, batch, constants


def test_real_images_only_are_counted(parts):
    config, variables, batch, constants = parts
    sums = validation.make_step(Colour(), config)(variables, batch, constants)
    evaluate = step.make_evaluation_step(Colour(), config)
    logits = np.asarray(evaluate(variables, batch["image"], constants.class_mask))
    label = batch["label"]
    log_p = jax.nn.log_softmax(logits)[np.arange(16), label]
    assert float(sums["count"]) == 11
    np.testing.assert_allclose(float(sums["loss"]), -log_p[:11].sum(), rtol=1e-5)
    hits = (logits.argmax(1) == label) & MASK
    assert 0 < hits.sum() < 11
    assert float(sums["top1"]) == hits.sum()
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    assert float(sums["top5"]) == (order == label[:, None]).any(1)[:11].sum()
    for name, chosen in (("class_top1", hits), ("class_count", MASK)):
        expected = np.bincount(label[chosen], minlength=6)
        np.testing.assert_array_equal(sums[name], expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_is_not_finite_is_right_about_nothing(parts, bad):
    config, variables, batch, constants = parts
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, bad), variables)
    sums = validation.make_step(Colour(), config)(broken, batch, constants)
    assert not np.isfinite(sums["loss"])
    assert float(sums["count"]) == 11
    for name in ("top1", "top5", "class_top1"):
        assert not np.any(sums[name])


def label_map(*regions):
    """A class for each tuple of regions."""
    return labels.LabelMap(
        tuple(
            labels.Taxon(i, f"Planta {i}", "", "", "Planta", "", (), inside)
            for i, inside in enumerate(regions)
        )
    )


def test_the_summary_by_hand():
    north, both, south, none = ("EU_NORTH",), ("EU_NORTH", "EU_SW"), ("EU_SW",), ()
    found = validation.summary(
        {
            "loss": np.float32(30),
            "top1": np.float32(12),
            "top5": np.float32(18),
            "count": np.float32(20),
            "class_top1": np.array([6.0, 2.0, 4.0, 0.0, 0.0]),
            "class_count": np.array([8.0, 4.0, 5.0, 3.0, 0.0]),
        },
        label_map(north, both, south, none, ("EU_EAST",)),
    )
    assert found == pytest.approx(
        {
            "loss": 1.5,
            "top1_accuracy": 0.6,
            "top5_accuracy": 0.9,
            "macro_recall": (6 / 8 + 2 / 4 + 4 / 5 + 0 / 3) / 4,
            "top1_accuracy/EU_SW": 6 / 9,
            "top1_accuracy/EU_NORTH": 8 / 12,
            # No image of EU_EAST: nothing is said of it.
        }
    )
