"""Inference over a split agrees with applying the model by hand."""

import numpy as np
import pytest
from conftest import CLASSES, PER_CLASS, Dataset

from aplantida_jax import paths
from aplantida_jax.data import decode
from aplantida_jax.data.image_source import open_images
from aplantida_jax.data.transforms import evaluation_view
from aplantida_jax.evaluate import inference
from aplantida_jax.train import checkpoint


@pytest.fixture
def ready(trained: Dataset):
    config = trained.teacher()
    workdir = paths.run_dir(config, config.name)
    best = checkpoint.load_best(workdir, trained.label_map)
    return config, best, paths.split_file(config, "test"), trained.label_map


def test_logits_are_those_of_one_image_at_a_time(ready):
    config, best, split, label_map = ready
    found = inference.run(config, best, split, label_map)
    assert found.logits.shape == (CLASSES * PER_CLASS["test"], CLASSES)
    cache = open_images(config)
    for row in (0, 7, 23):
        data = cache.get(f"{int(found.image_id[row]):016x}")
        image = decode.decode(data, max_pixels=10**8)
        view = evaluation_view(image, image_size=32, resize=36)
        unit = (view / 255.0 - np.array(config.input.mean)) / config.input.std
        expected = best.module.apply(
            best.variables, unit[None].astype(np.float32), train=False
        )
        np.testing.assert_allclose(found.logits[row], expected[0], atol=1e-4)


def test_skipping_starts_later_in_the_same_order(ready):
    config, best, split, label_map = ready
    everything = inference.run(config, best, split, label_map)
    chunks = list(inference.stream(config, best, split, label_map, skip=5))
    ids = np.concatenate([chunk.image_id for chunk in chunks])
    np.testing.assert_array_equal(ids, everything.image_id[5:])


def test_a_regional_model_gives_other_classes_no_probability(ready):
    config, best, split, label_map = ready
    regional = checkpoint.Best(
        best.module, best.variables, {**best.info, "region": "EU_SW"}
    )
    found = inference.run(config, regional, split, label_map)
    inside = np.array(label_map.in_regions(("EU_SW",)))
    assert not inside.all()
    assert (found.logits[:, ~inside] < -1e8).all()
    assert (found.logits[:, inside] > -1e8).all()


def test_features_are_pooled_activations(ready):
    config, best, split, _ = ready
    pooled = inference.make_features(config, best.module)
    found = inference.features(config, pooled, best.variables, split)
    assert found.features.shape == (len(found.image_id), 128)
    assert len(found.label) == len(found.image_id)
    assert np.isfinite(found.features).all()
