"""The table of published weights: possible entries, and what names and paths mean."""

import re

import pytest

from aplantida_jax.data import licences
from aplantida_jax.errors import UserError
from aplantida_jax.models import formats, published, registry

ENTRIES = list(published.TABLE.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_is_possible(entry):
    assert entry.model in registry.NAMES
    assert entry.format in {known.name for known in formats.FORMATS}
    assert entry.url.startswith("https://")
    assert entry.licence in licences.WEIGHT_LICENCES
    assert re.fullmatch(r"[0-9a-f]{64}|", entry.sha256)
    assert re.fullmatch(r"[\w.]+\.(npz|h5|safetensors)", entry.file)
    registry.create(entry.model, num_classes=2, image_size=entry.image_size)


def test_names_files_and_addresses_are_all_different():
    for field in ("name", "file", "url"):
        assert len({getattr(entry, field) for entry in ENTRIES}) == len(ENTRIES)


def test_every_size_of_the_plan_is_there():
    models = {entry.model for entry in ENTRIES}
    assert {f"vit_base_patch16_{size}" for size in (224, 384)} <= models
    for width in ("0.35", "0.5", "0.75", "1.0", "1.4"):
        assert f"keras/mobilenet_v2_{width}_no_top" in published.TABLE


def test_a_path_is_a_path(tmp_path):
    path = tmp_path / "weights.npz"
    path.touch()
    assert published.locate(str(path), tmp_path) == path


def test_a_name_is_its_file_once_it_is_there(tmp_path):
    name = "keras/mobilenet_v2_1.0"
    with pytest.raises(UserError, match="--config.stage=fetch_weights") as caught:
        published.locate(name, tmp_path)
    entry = published.TABLE[name]
    assert entry.url in str(caught.value)
    assert str(tmp_path / entry.file) in str(caught.value)
    (tmp_path / entry.file).touch()
    assert published.locate(name, tmp_path) == tmp_path / entry.file


def test_what_is_neither_gets_a_suggestion(tmp_path):
    with pytest.raises(UserError, match="mean 'keras/mobilenet_v2_1.0'"):
        published.locate("keras/mobilenetv2_1.0", tmp_path)
