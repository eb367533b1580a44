"""What training adds to the network that best.json describes."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax.errors import UserError
from aplantida_jax.train import initial_model, state, training_module

VIT = {"name": "vit_mini_patch8_64", "num_classes": 6, "image_size": 32}
MOBILENET = {"name": "mobilenet_v2_0.35", "num_classes": 6, "image_size": 32}
PROJECTION = "blocks_3/project/bn/"


@pytest.fixture
def config(dataset: Dataset):
    return dataset.teacher()


def frozen(module):
    """Of two norms, those that the module's expression freezes."""
    names = ("stem/bn/", PROJECTION)
    return {name for name in names if re.search(module.frozen_norms, name + "scale")}


def test_a_vit_gets_its_attention_and_stochastic_depth(config):
    config.model.update({"attention": "xla", "drop_path": 0.2})
    module = training_module.create(config, VIT)
    assert (module.attention, module.drop_path) == ("xla", 0.2)


def test_best_json_does_not_say_how_training_ran(config):
    config.model.update({"attention": "xla", "drop_path": 0.2, "frozen_norms": "stem"})
    assert not {"attention", "drop_path", "frozen_norms"} & set(
        initial_model.fields(config, 6, origin=None)
    )


@pytest.mark.parametrize(
    ("fields", "changes", "said"),
    [
        (MOBILENET, {"drop_path": 0.1}, "drop_path=0.1: mobilenet_v2_0.35 has no such"),
        (VIT, {"frozen_norms": "."}, "frozen_norms='.': vit_mini_patch8_64 has no"),
        (
            MOBILENET,
            {"frozen_norms": "block_0"},
            "frozen_norms='block_0' matches none of the 52 norms",
        ),
        (VIT, {"attention": "cudnn"}, "attention=cudnn is not possible"),
    ],
)
def test_what_the_model_has_not_is_refused_in_one_line(config, fields, changes, said):
    config.model.update({**changes, "dtype": "float32"})
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        state.variable_shapes(training_module.create(config, fields), image_size=32)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "train", "expected"),
    [
        ({}, {}, set()),
        ({"frozen_norms": "."}, {}, {"stem/bn/", PROJECTION}),
        ({"frozen_norms": "^stem"}, {}, {"stem/bn/"}),
        ({}, {"freeze": "^(?!head)"}, {"stem/bn/", PROJECTION}),
        ({}, {"freeze": "stem/conv|project/bn/scale"}, set()),
        ({"frozen_norms": "^stem"}, {"freeze": "project"}, {"stem/bn/", PROJECTION}),
        # The first pair that matches counts: the projection trains.
        ({}, {"lr_multipliers": (("project", 2), ("bn", 0))}, {"stem/bn/"}),
    ],
)
def test_norms_that_do_not_train_do_not_count_either(config, model, train, expected):
    config.model.update(model)
    config.train.update(train)
    module = training_module.create(config, MOBILENET)
    assert bool(module.frozen_norms) == bool(expected)
    assert (frozen(module) if expected else set()) == expected


def test_a_network_without_statistics_keeps_its_norms_frozen(config, caplog):
    config.train.freeze = "^stem"
    with caplog.at_level("INFO", logger="absl"):
        module = training_module.create(config, {**MOBILENET, "frozen_norms": "."})
    assert module.frozen_norms == "."
    assert "no BatchNorm statistics" in caplog.text


FOLDED = Path(__file__).resolve().parent.parent.parent / (
    "shared/data/weights/mobilenet_v2_1.0_224_imagenet_qat_dequant.npz"
)


@pytest.mark.skipif(not FOLDED.exists(), reason="no published weights beside the root")
def test_folded_weights_start_training_as_the_network_that_they_are(config, dataset):
    """Made-up statistics are neither replaced by a batch's nor moved towards them."""
    config.model.update(
        {"name": "mobilenet_v2_1.0", "image_size": 64, "pretrained": str(FOLDED)}
    )
    config.model.pretrained_licence = "Apache-2.0"
    module, variables, fields, _ = initial_model.make(config, dataset.label_map)
    assert fields["frozen_norms"] == "."
    images = jax.random.normal(jax.random.key(0), (4, 64, 64, 3))

    @jax.jit
    def features(variables):
        trained, changed = module.apply(
            variables, images, train=True, method="features", mutable=["batch_stats"]
        )
        evaluated = module.apply(variables, images, method="features")
        return trained, evaluated, changed["batch_stats"]

    trained, evaluated, statistics = features(variables)
    assert float(jnp.std(evaluated)) > 0.1
    np.testing.assert_allclose(trained, evaluated, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, statistics, variables["batch_stats"])
