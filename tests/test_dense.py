"""The plan's dense `.npz`: left by stage predict, read by numpy, taken in again."""

import collections
import os
import shutil

import numpy as np
import pytest
import scipy.special
from conftest import CLASSES, PER_CLASS, Dataset
from dense_answers import PHOTOS, TAXA, K, answers, expected, shards, taxa

from aplantida_jax import manifest, paths
from aplantida_jax.data import records
from aplantida_jax.distill import dense, predict, store
from aplantida_jax.errors import UserError


def test_what_predict_leaves_comes_back_as_the_same_rows(trained, tmp_path):
    shutil.copytree(trained.root, tmp_path / "copy")
    config = Dataset(tmp_path / "copy", trained.label_map).teacher()
    config.predict.dense = True
    predict.run(config, paths.run_dir(config, config.name))
    out = paths.soft_labels(config, config.name, "train")
    split = paths.split_file(config, "train")
    photos = list(records.read_photos(split, made_by="split"))
    with np.load(out / "dense.npz", allow_pickle=False) as found:
        assert set(found) == {"logits", "indices", "confidences", "image_id"}
        kinds = {name: found[name].dtype.name for name in found}
        assert found["logits"].shape == (CLASSES * PER_CLASS["train"], CLASSES)
        assert found["indices"].tolist() == [photo.class_id for photo in photos]
        ids = [int(photo.image_id, 16) for photo in photos]
        assert found["image_id"].tolist() == ids
        probability = scipy.special.softmax(found["logits"], axis=1)
        most = probability.max(axis=1)
        np.testing.assert_allclose(found["confidences"], most, rtol=1e-6)
    assert kinds == {
        "logits": "float32",
        "indices": "int64",
        "confidences": "float32",
        "image_id": "uint64",
    }
    assert "dense.npz" in manifest.read(out, made_by="predict")["outputs"]

    config.name = "imported"
    config.predict.update({"dense": False, "import_npz": str(out / "dense.npz")})
    predict.run(config, paths.run_dir(config, "no teacher is there"))
    again = paths.soft_labels(config, "imported", "train")
    assert shards(again).tobytes() == shards(out).tobytes()


def writers(directory):
    out = store.Writer(
        directory, k=K, label_map=taxa(), made_by="predict", key="k", provenance=[]
    )
    return out, dense.DenseWriter(directory, out, images=PHOTOS)


def append(directory, content, start, stop):
    """Rows `start` to `stop` to both, as stage predict does."""
    out, beside = writers(directory)
    assert out.rows_written == start
    part = {name: values[start:stop] for name, values in content.items()}
    beside.append(part["image_id"], part["indices"], part["logits"])
    beside.commit()
    out.append(expected(part))
    return beside


def test_an_interrupted_export_ends_with_the_bytes_of_an_undisturbed_one(tmp_path):
    content = answers()
    whole = append(tmp_path / "whole", content, 0, PHOTOS).finish()[0].read_bytes()
    broken = tmp_path / "broken"
    beside = append(broken, content, 0, 15)
    # Killed when the store had not got these yet.
    beside.append(
        content["image_id"][:9], content["indices"][:9], content["logits"][:9]
    )
    beside = append(broken, content, 15, PHOTOS)
    assert beside.finish()[0].read_bytes() == whole
    # Killed before the manifest: there is nothing left to do but to say so.
    out, beside = writers(broken)
    assert out.rows_written == PHOTOS
    assert beside.finish()[0].read_bytes() == whole


@pytest.mark.parametrize("name", ["dense.npz", "dense.sha256"])
def test_a_damaged_npz_is_not_taken_for_what_was_made(tmp_path, name):
    """The job that goes on makes it again, and does not certify the damage."""
    whole = append(tmp_path, answers(), 0, PHOTOS).finish()[0].read_bytes()
    damaged = bytearray((tmp_path / name).read_bytes())
    damaged[len(damaged) // 2] ^= 8
    (tmp_path / name).write_bytes(damaged)
    out, _ = writers(tmp_path)
    assert (out.rows_written, os.listdir(tmp_path)) == (0, ["dense.rows"])
    assert append(tmp_path, answers(), 0, PHOTOS).finish()[0].read_bytes() == whole


def test_lost_rows_are_predicted_again(tmp_path):
    content = answers()
    append(tmp_path, content, 0, 15)
    os.truncate(tmp_path / "dense.rows", 14 * (8 + 8 + 4 * TAXA))
    out, _ = writers(tmp_path)
    assert out.rows_written == 0
    append(tmp_path, content, 0, PHOTOS).finish()
    with np.load(tmp_path / "dense.npz") as found:
        np.testing.assert_array_equal(found["logits"], content["logits"])


def test_another_job_leaves_no_dense_labels_of_the_one_before(tmp_path):
    append(tmp_path, answers(), 0, PHOTOS).finish()
    dense.discard(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["shard-00000.rows", "store.json"]


def test_a_disk_without_room_is_refused_at_once(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    needed = 2 * PHOTOS * (8 + 8 + 4 * TAXA)
    assert dense.bytes_needed(PHOTOS, TAXA) == needed
    for free in (needed, needed - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, f=free: usage(f, 0, f))
        if free == needed:
            writers(tmp_path)
            continue
        with pytest.raises(UserError, match=r"free: make room, or leave.*dense out"):
            writers(tmp_path)
