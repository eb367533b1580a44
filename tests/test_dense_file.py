"""A dense `.npz` that does not fit, is damaged or is malicious: refused in one line."""

import os
import pickle
import zipfile

import numpy as np
import pytest
from dense_answers import PHOTOS, TAXA, answers, configuration, give, imported

from aplantida_jax import paths
from aplantida_jax.errors import UserError


@pytest.fixture
def config(tmp_path):
    return configuration(tmp_path)


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
