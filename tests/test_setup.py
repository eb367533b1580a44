"""What a run is built from: schedule, ancestors, initialisation order, shardings."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import PER_CLASS, Dataset

from aplantida_jax import paths
from aplantida_jax.errors import UserError
from aplantida_jax.train import initial_model, setup, state


def test_epochs_become_steps_once(dataset: Dataset):
    config = dataset.teacher()
    config.train.update({"batch_size": 16, "epochs": 3, "accumulate": 4})
    schedule = setup.Schedule.of(config, examples=50)
    assert schedule == setup.Schedule(steps_per_epoch=4, total_steps=12, accumulate=4)


def test_fewer_images_than_a_batch_is_refused(dataset: Dataset):
    config = dataset.teacher()
    with pytest.raises(UserError, match="do not fill one batch"):
        setup.Schedule.of(config, examples=15)


def test_the_mask_is_the_regions_classes_and_the_prior_sums_to_one(dataset: Dataset):
    config = dataset.teacher()
    config.region = "EU_SW"
    data = setup.load_data(config)
    constants = setup.constants(config, data)
    expected = [
        bool({"ES", "PT", "FR"} & set(t.countries)) for t in dataset.label_map.taxa
    ]
    np.testing.assert_array_equal(constants.class_mask, expected)
    np.testing.assert_allclose(np.exp(constants.log_prior).sum(), 1, rtol=1e-5)


def test_the_prior_is_of_what_is_drawn(dataset: Dataset):
    config = dataset.teacher()
    data = setup.load_data(config)
    # The first class has three times the images of each other one.
    label = np.concatenate([data.train.label, np.zeros(2 * PER_CLASS["train"], int)])
    longer = dataclasses.replace(data.train, label=label)
    data = dataclasses.replace(data, train=longer)
    ratios = {}
    for sampling in ("uniform", "square_root", "class_balanced"):
        config.train.sampling = sampling
        prior = np.exp(setup.constants(config, data).log_prior)
        np.testing.assert_allclose(prior[1:], prior[1], rtol=1e-5)
        ratios[sampling] = prior[0] / prior[1]
    assert ratios["uniform"] == pytest.approx(3, rel=1e-5)
    assert ratios["uniform"] > ratios["square_root"] > ratios["class_balanced"]
    assert ratios["class_balanced"] == pytest.approx(1, rel=1e-5)


def test_the_prior_of_rare_classes_is_that_of_their_images(dataset: Dataset):
    config = dataset.teacher()
    data = setup.load_data(config)
    classes = len(data.label_map)
    counts = np.array([1000, 2, 1, 0] + [5] * (classes - 4))
    label = np.repeat(np.arange(classes), counts)
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, label=label))
    prior = np.asarray(setup.constants(config, data).log_prior)
    # Balanced softmax adds log n; a class without images counts as of one.
    np.testing.assert_allclose(
        prior - prior[2], np.log(np.maximum(counts, 1)), atol=1e-5
    )


def test_statistics_of_another_label_map_are_refused(dataset: Dataset):
    from aplantida_jax import files

    config = dataset.teacher()
    path = paths.split_stats(config)
    stats = files.read_json(path, made_by="split")
    files.write_json(path, {**stats, "label_map": "0" * 64})
    with pytest.raises(UserError, match="run stage 'split' again"):
        setup.load_data(config)


def test_init_from_takes_over_every_parameter_and_the_ancestors(trained: Dataset):
    config = trained.teacher()
    config.name = "child"
    config.model.init_from = "teacher_global"
    _, variables, _, ancestors = initial_model.make(config, trained.label_map)
    from aplantida_jax.train import checkpoint

    workdir = paths.run_dir(config, "teacher_global")
    parent = checkpoint.load_best(workdir, trained.label_map)
    jax.tree.map(
        np.testing.assert_array_equal, variables["params"], parent.variables["params"]
    )
    assert [entry["name"] for entry in ancestors] == [
        "teacher_global",
        "dataset_train.jsonl",
    ]


def test_init_from_another_network_names_the_differences(trained: Dataset):
    config = trained.teacher()
    config.model.init_from = "teacher_global"
    config.model.image_size = 64
    with pytest.raises(UserError, match="is another network: 1 parameters differ"):
        initial_model.make(config, trained.label_map)


def test_from_scratch_is_the_same_for_the_same_seed(dataset: Dataset):
    config = dataset.teacher()
    first = initial_model.make(config, dataset.label_map)[1]
    second = initial_model.make(config, dataset.label_map)[1]
    config.seed = 7
    other = initial_model.make(config, dataset.label_map)[1]
    jax.tree.map(np.testing.assert_array_equal, first, second)
    different = jax.tree.map(lambda a, b: not np.array_equal(a, b), first, other)
    assert any(jax.tree.leaves(different))


def test_shapes_need_no_computation(dataset: Dataset):
    config = dataset.teacher()
    module, variables, _, _ = initial_model.make(config, dataset.label_map)
    shapes = state.variable_shapes(module, image_size=32)
    jax.tree.map(
        lambda s, v: np.testing.assert_equal(s.shape, v.shape), shapes, variables
    )
