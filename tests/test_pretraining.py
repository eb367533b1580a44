"""Which weights `model.pretrained` names, and under which licences."""

from pathlib import Path

import pytest
from conftest import Dataset
from safetensors.numpy import save_file
from tiny_vit import MINI, google_arrays

from aplantida_jax import files
from aplantida_jax.errors import UserError
from aplantida_jax.models import fetch_weights, published, weight_files
from aplantida_jax.models.pretrained import describe
from aplantida_jax.train import initial_model, pretraining, setup


@pytest.fixture
def config(dataset: Dataset):
    config = dataset.teacher()
    config.weights_dir = str(dataset.root / "weights")
    return config


def write(path, **metadata):
    path.parent.mkdir(exist_ok=True)
    arrays = {name: array.astype("f4") for name, array in google_arrays(**MINI).items()}
    save_file(arrays, path, metadata=metadata)
    return path


def licences(config):
    origin = describe(pretraining.path_of(config))
    (weights,) = pretraining.provenance(config, origin)
    assert weights["kind"] == "weights"
    return weights["licences"]


def test_a_file_has_the_licence_that_it_states(config, dataset):
    path = write(dataset.root / "own.safetensors", license="mit")
    config.model.pretrained = str(path)
    assert licences(config) == ["MIT"]


def test_a_published_name_has_the_tables(config):
    entry = published.TABLE["google/vit_tiny_patch16_224"]
    path = write(Path(config.weights_dir) / entry.file)
    record = {"sha256": files.sha256_file(path)}
    files.write_json(path.with_name(f"{path.name}.json"), record)
    config.model.pretrained = entry.name
    assert pretraining.input_of(config).path == path
    assert licences(config) == ["Apache-2.0"]


def test_published_weights_that_rot_are_noticed_before_they_are_used(config):
    entry = published.TABLE["google/vit_tiny_patch16_224"]
    path = write(Path(config.weights_dir) / entry.file)
    config.model.pretrained = entry.name
    record = {"sha256": files.sha256_file(path)}
    files.write_json(path.with_name(f"{path.name}.json"), record)
    assert setup.inputs(config)[-1].path == path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="remove that file and fetch it again"):
        setup.inputs(config)


def test_a_published_name_is_no_licence_for_a_file_that_nobody_verified(config):
    entry = published.TABLE["google/vit_tiny_patch16_224"]
    write(Path(config.weights_dir) / entry.file)
    config.model.pretrained = entry.name
    with pytest.raises(UserError, match="was put there by hand") as caught:
        setup.inputs(config)
    assert "--config.stage=fetch_weights" in str(caught.value)
    # The stage says why this one is not taken in.
    with pytest.raises(UserError, match="is not google/vit_tiny_patch16_224"):
        fetch_weights.fetch(entry, Path(config.weights_dir))
    with pytest.raises(UserError, match="was put there by hand"):
        setup.inputs(config)


def test_weights_are_read_once_for_a_start(config, dataset, monkeypatch):
    path = write(dataset.root / "w.safetensors", license="mit")
    config.model.pretrained = str(path)
    reads = []
    read = weight_files.read
    monkeypatch.setattr(weight_files, "read", lambda p: reads.append(p) or read(p))
    initial_model.make(config, dataset.label_map)
    assert reads == [path]


def test_what_the_user_states_counts_before_both(config, dataset):
    config.model.pretrained = str(write(dataset.root / "w.safetensors", license="mit"))
    config.model.pretrained_licence = "CC-BY-NC-4.0"
    assert licences(config) == ["CC-BY-NC-4.0"]


def test_weights_without_a_licence_are_refused_before_training(config, dataset):
    config.model.pretrained = str(write(dataset.root / "w.safetensors"))
    assert licences(config) == ["unknown"]
    with pytest.raises(UserError, match="'w.safetensors': unknown is not") as caught:
        initial_model.make(config, dataset.label_map)
    assert "--config.model.pretrained_licence" in str(caught.value)
    config.model.pretrained_licence = "Apache-2.0"
    _, variables, fields, ancestors = initial_model.make(config, dataset.label_map)
    assert ancestors[0]["licences"] == ["Apache-2.0"]
    assert fields["gelu"] == "tanh"
    assert not variables["params"]["head"]["kernel"].any()  # other classes: a new head


def test_weights_that_are_missing_are_one_line(config):
    config.model.pretrained = "nowhere.npz"
    with pytest.raises(UserError, match=r"nowhere.npz is missing: .* takes a file"):
        setup.inputs(config)
