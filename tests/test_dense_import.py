"""The plan's dense `.npz` taken in as a store of packed rows."""

import dataclasses
import shutil

import numpy as np
import pytest
from dense_answers import (
    PHOTOS,
    TAXA,
    answers,
    configuration,
    expected,
    give,
    imported,
    photo,
    taxa,
)

from aplantida_jax import paths
from aplantida_jax.data import labels, records
from aplantida_jax.distill import dense_import, predict, store
from aplantida_jax.errors import UserError


@pytest.fixture
def config(tmp_path):
    return configuration(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f4", "<f2", ">f8"])
def test_the_plans_file_goes_by_the_order_of_the_split(config, save, dtype):
    content = answers()
    content["logits"] = content["logits"].astype(dtype)
    without = {name: content[name] for name in ("logits", "indices", "confidences")}
    give(config, without, save)
    assert imported(config).tobytes() == expected(content).tobytes()


def test_of_a_region_only_its_classes_are_taken(config):
    config.region = "EU_SW"
    there = np.arange(TAXA) < 4
    label_map = labels.LabelMap(
        tuple(
            dataclasses.replace(taxon, regions=("EU_SW",) if here else ())
            for taxon, here in zip(taxa().taxa, there, strict=True)
        )
    )
    labels.write(paths.classes(config), label_map)
    photos = [photo(f"{i * 0x1234567890ABCD:016x}", i % 4) for i in range(PHOTOS)]
    records.write_photos(paths.split_file(config, "train", "EU_SW"), photos)
    content = answers() | {"indices": np.arange(PHOTOS) % 4}
    give(config, content)
    content["logits"] = np.where(there, content["logits"], -np.inf)
    assert imported(config).tobytes() == expected(content).tobytes()
    where = paths.soft_labels(config, config.name, "train")
    found = store.SoftLabels(where, label_map=label_map, made_by="predict")
    assert found.covers.tolist() == [there.tolist()]


def test_rows_are_found_by_their_image_id(config):
    """In another order, and among rows of other photos."""
    content = answers(count=PHOTOS + 9)
    order = np.random.default_rng(1).permutation(PHOTOS + 9)
    give(config, {name: values[order] for name, values in content.items()})
    of_split = order[order < PHOTOS]
    wanted = expected({name: values[of_split] for name, values in content.items()})
    assert imported(config).tobytes() == wanted.tobytes()


def test_an_import_goes_on_after_its_last_whole_shard(config, monkeypatch):
    monkeypatch.setattr(dense_import, "_BLOCK_ROWS", 10)
    monkeypatch.setattr(store, "_SHARD_ROWS", 10)
    monkeypatch.setattr(dense_import, "_CHUNK_BYTES", 4 * TAXA * 4)
    give(config, answers())
    whole = imported(config)
    out = paths.soft_labels(config, config.name, "train")
    (out / "manifest.json").unlink()
    (out / "shard-00002.rows").unlink()
    first = (out / "shard-00001.rows").stat()
    assert imported(config).tobytes() == whole.tobytes()
    assert (out / "shard-00001.rows").stat().st_mtime_ns == first.st_mtime_ns
    assert whole.tobytes() == expected(answers()).tobytes()


def test_a_second_import_has_nothing_to_do_wherever_the_file_lies(config, tmp_path):
    give(config, answers())
    imported(config)
    out = paths.soft_labels(config, config.name, "train")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(config.predict.import_npz, tmp_path / "elsewhere/given.npz")
    config.predict.import_npz = str(moved)
    imported(config)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.parametrize(("stated", "licence"), [("", "unknown"), ("MIT", "MIT")])
def test_the_licence_is_what_is_stated(config, stated, licence):
    config.model.pretrained_licence = stated
    give(config, answers())
    imported(config)
    out = paths.soft_labels(config, config.name, "train")
    found = store.SoftLabels(out, label_map=taxa(), made_by="predict")
    ancestor = {"name": "given.npz", "kind": "teacher", "licences": [licence]}
    assert found.provenance == [ancestor]


def test_answers_that_are_not_numbers_are_refused(config):
    content = answers()
    content["logits"][5, 2] = np.nan
    give(config, content)
    with pytest.raises(UserError, match="not a number"):
        imported(config)


def test_a_dry_run_imports_nothing(config, caplog):
    config.dry_run = True
    give(config, answers(count=PHOTOS + 9))
    with caplog.at_level("INFO", logger="absl"):
        predict.run(config, paths.run_dir(config, "none"))
    assert f"would import {PHOTOS} of {PHOTOS + 9} rows" in caplog.text
    assert not paths.soft_labels(config, config.name, "train").exists()
