"""The plan's dense `.npz`: left by stage predict, read by numpy, taken in again."""

import collections
import dataclasses
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import scipy.special
from conftest import CLASSES, PER_CLASS, Dataset

from aplantida_jax import manifest, paths
from aplantida_jax.data import labels, records
from aplantida_jax.distill import dense, dense_import, predict, rows, store
from aplantida_jax.errors import UserError
from configs import teacher_global

PHOTOS, TAXA, K = 40, 7, 3


def shards(directory):
    """The bytes of all rows of a store."""
    return np.concatenate(
        [np.fromfile(p, "u1") for p in sorted(directory.glob("shard-*"))]
    )


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


def taxa():
    names = [f"Mentha {i}" for i in range(TAXA)]
    return labels.LabelMap(
        tuple(
            labels.Taxon(i, name, "", "", "Mentha", "", (), ())
            for i, name in enumerate(names)
        )
    )


def photo(image_id, class_id):
    return records.Photo(
        image_id=image_id,
        plant_id="",
        latin_name=f"Mentha {class_id}",
        class_id=class_id,
        url=image_id,
        source="",
        licence="CC0-1.0",
        licence_raw="",
        attribution="",
        countries=(),
        regions=(),
    )


@pytest.fixture
def config(tmp_path):
    """A split of `PHOTOS` photos, and a configuration that imports `given.npz`."""
    config = teacher_global.get_config()
    config.data_dir = str(tmp_path)
    config.predict.update({"import_npz": str(tmp_path / "given.npz"), "top_k": K})
    labels.write(paths.classes(config), taxa())
    photos = [photo(f"{i * 0x1234567890ABCD:016x}", i % TAXA) for i in range(PHOTOS)]
    records.write_photos(paths.split_file(config, "train"), photos)
    return config


def answers(seed=0, count=PHOTOS):
    """What a teacher might say of the split, in its order."""
    rng = np.random.default_rng(seed)
    return {
        "logits": rng.normal(0, 2, (count, TAXA)).astype(np.float32),
        "indices": np.arange(count) % TAXA,
        "confidences": np.zeros(count, np.float32),
        "image_id": np.arange(count, dtype=np.uint64) * np.uint64(0x1234567890ABCD),
    }


def give(config, content, save=np.savez):
    save(config.predict.import_npz, **content)


def imported(config):
    predict.run(config, paths.run_dir(config, "none"))
    return shards(paths.soft_labels(config, config.name, "train"))


def expected(content):
    layout = rows.Layout(K, TAXA)
    logits = content["logits"].astype(np.float64)
    top = rows.top(scipy.special.softmax(logits, axis=1), K)
    return rows.pack(content["image_id"], *top, layout)


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


def without(name):
    return {key: value for key, value in answers().items() if key != name}


def changed(**columns):
    return {**answers(), **columns}


OTHER_LABEL = np.where(np.arange(PHOTOS) >= 23, 0, np.arange(PHOTOS) % TAXA)
WRONG = {
    "no logits": (without("logits"), "no array 'logits'"),
    "no indices": (without("indices"), "no array 'indices'"),
    "other classes": (
        changed(logits=np.zeros((PHOTOS, 9), np.float32)),
        "logits of 9 classes, but classes.json has 7",
    ),
    "one axis": (changed(logits=np.zeros(PHOTOS, np.float32)), r"logits \(40,\)"),
    "whole numbers": (changed(logits=np.zeros((PHOTOS, TAXA), int)), "logits of int64"),
    "Fortran": (
        changed(logits=np.asfortranarray(answers()["logits"])),
        "logits of float32 in Fortran's order",
    ),
    "few indices": (changed(indices=np.arange(3)), r"indices \(3,\), but 40 rows"),
    "other labels": (
        changed(indices=OTHER_LABEL),
        r"says class 0 in row 23, but its photo is of class 2 .*\(15 rows differ\)",
    ),
    "ids twice": (changed(image_id=np.zeros(PHOTOS, np.uint64)), "image_id twice"),
    "other ids": (
        changed(image_id=answers()["image_id"] + np.uint64(1)),
        "lacks 40 of the 40 photos .* the first is 0000000000000000",
    ),
    "other count": (
        {k: v[:-1] for k, v in without("image_id").items()},
        "has 39 rows and no image_id.* has 40 photos",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(config, case):
    content, message = WRONG[case]
    give(config, content)
    with pytest.raises(UserError, match=f"import_npz: .*given.npz .*{message}") as said:
        imported(config)
    assert "\n" not in str(said.value)
    assert not paths.soft_labels(config, config.name, "train").exists()


def test_answers_that_are_not_numbers_are_refused(config):
    content = answers()
    content["logits"][5, 2] = np.nan
    give(config, content)
    with pytest.raises(UserError, match="not a number"):
        imported(config)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_nothing_is_ever_unpickled(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("logits", "indices"):
        evil = np.array([Malicious()] * PHOTOS, object)
        give(config, changed(**{name: evil}))
        with pytest.raises(UserError, match=f"{name} of object"):
            imported(config)
    with zipfile.ZipFile(config.predict.import_npz, "w") as archive:
        archive.writestr("logits.npy", pickle.dumps(Malicious()))
    with pytest.raises(UserError, match="is no whole .npz"):
        imported(config)
    assert not (tmp_path / "unpickled").exists()


def test_a_header_that_claims_more_than_there_is_is_refused(config):
    """Before anything is allocated by it: 2^60 rows would be 28 exabytes."""
    give(config, answers())
    claims = "{'descr': '<i8', 'fortran_order': False, 'shape': (40,), }"
    huge = claims.replace("<i8", "<f4").replace("(40,)", f"({2**60}, 7)")
    with zipfile.ZipFile(config.predict.import_npz, "w") as archive:
        for name, header in (("logits", huge), ("indices", claims)):
            size = len(header).to_bytes(2, "little")
            content = b"\x93NUMPY\x01\x00" + size + header.encode() + b"0" * 320
            archive.writestr(f"{name}.npy", content)
    with pytest.raises(UserError, match="logits is not as long as its header says"):
        imported(config)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_is_noticed_before_a_row_is_taken(config, save):
    give(config, answers(), save)
    path = config.predict.import_npz
    with open(path, "rb") as given:
        whole = given.read()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("logits.npy").header_offset + 400
    damaged = bytearray(whole)
    damaged[start] ^= 4
    for content in (bytes(damaged), whole[:-30], whole[: len(whole) // 2], b""):
        with open(path, "wb") as given:
            given.write(content)
        with pytest.raises(UserError, match="is no whole .npz"):
            imported(config)
        assert not paths.soft_labels(config, config.name, "train").exists()
    os.unlink(path)
    with pytest.raises(UserError, match="is no file"):
        imported(config)


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


def test_a_dry_run_imports_nothing(config, caplog):
    config.dry_run = True
    give(config, answers(count=PHOTOS + 9))
    with caplog.at_level("INFO", logger="absl"):
        predict.run(config, paths.run_dir(config, "none"))
    assert f"would import {PHOTOS} of {PHOTOS + 9} rows" in caplog.text
    assert not paths.soft_labels(config, config.name, "train").exists()
