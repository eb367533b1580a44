import json
import os

import numpy as np
import pytest
import scipy.special

from aplantida_jax import files
from aplantida_jax.data import labels
from aplantida_jax.data.view_record import RECORD
from aplantida_jax.distill import rows, store, store_file
from aplantida_jax.errors import UserError

CLASSES, K = 12, 5
SHARD_ROWS = 24  # two blocks of `write`, one of `write_views`


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "_SHARD_ROWS", SHARD_ROWS)


def label_map(last="Thymus vulgaris"):
    names = [f"Mentha {letter}" for letter in "abcdefghijk"] + [last]
    return labels.LabelMap(
        tuple(
            labels.Taxon(i, name, "", "", name.split()[0], "", (), ())
            for i, name in enumerate(names)
        )
    )


def rows_of(count, seed=0, classes=CLASSES):
    """Ids uint64 [n], not sorted, some beyond 2^63; probabilities float64 [n, c]."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(count).astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    return ids, scipy.special.softmax(rng.normal(0, 2, (count, classes)), axis=1)


VIEWS = {"count": 3, "seed": 42, "augment": {"scale": [0.6, 1.0]}}


def writer(directory, key="key", k=K, last="Thymus vulgaris", views=None):
    return store.Writer(
        directory,
        k=k,
        label_map=label_map(last),
        made_by="predict",
        key=key,
        provenance=[{"name": "teacher_x", "kind": "teacher", "licences": []}],
        views=views,
    )


def read(directory, last="Thymus vulgaris"):
    return store.SoftLabels(directory, label_map=label_map(last), made_by="predict")


def packed(ids, probability, k=K):
    layout = rows.Layout(k, CLASSES)
    return rows.pack(ids, *rows.top(probability, k), layout)


def write(directory, ids, probability, block=10, k=K):
    out = writer(directory, k=k)
    for start in range(0, len(ids), block):
        part = slice(start, start + block)
        out.append(packed(ids[part], probability[part], k))
    return out


def write_views(directory, count=20, block=8):
    """Images in blocks of `block`, each in three views; what was packed, in order."""
    ids, _ = rows_of(count)
    every = np.repeat(ids, 3)
    records = np.frombuffer(np.random.default_rng(9).bytes(16 * 3 * count), RECORD)
    records = records.copy()
    records["view"] = np.tile(np.arange(3), count)
    layout = rows.Layout(K, CLASSES, with_views=True)
    top = rows.top(rows_of(3 * count, seed=1)[1], K)
    content = rows.pack(every, *top, layout, records)
    out = writer(directory, views=VIEWS)
    for start in range(0, 3 * count, 3 * block):
        out.append(content[start : start + 3 * block])
    return ids, content, records


@pytest.mark.parametrize("k", [1, 5, CLASSES, 20])
def test_what_is_looked_up_is_what_was_packed(tmp_path, k):
    ids, probability = rows_of(57)
    write(tmp_path, ids, probability, k=k)
    asked = np.random.default_rng(1).permutation(57)[:40]
    found = read(tmp_path).look_up(ids[asked])
    layout = rows.Layout(k, CLASSES)
    expected = rows.unpack(packed(ids, probability, k)[asked], layout)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_shard_is_the_bytes_of_its_rows(tmp_path):
    ids, probability = rows_of(1000)
    out = write(tmp_path, ids, probability)
    size = out.layout.row_type.itemsize
    shards = sorted(tmp_path.glob("shard-*"))
    assert {path.stat().st_size for path in shards} == {20 * size}
    content = b"".join(path.read_bytes() for path in shards)
    assert content == packed(ids, probability).tobytes()
    said = out.metrics()
    assert (said["rows"], said["views"], said["bytes_per_row"]) == (1000, 0, size)
    assert said["dense_over_packed"] == 4 * CLASSES / size


def test_ids_are_found_wherever_they_are(tmp_path):
    ids, probability = rows_of(25)
    write(tmp_path, ids[:20], probability[:20])
    found = read(tmp_path)
    assert len(found) == 20
    np.testing.assert_array_equal(found.image_id, np.sort(ids[:20]))
    np.testing.assert_array_equal(found.contains(ids), np.arange(25) < 20)
    beyond = np.array([0xFFFF_FFFF_FFFF_FFFF], np.uint64)
    assert not found.contains(beyond).any()
    found.require(ids[:20])
    for ask in (found.require, found.look_up):
        with pytest.raises(UserError, match=r"lacks 5 of the 25 images.*'predict'"):
            ask(ids)


def test_views_are_looked_up_one_by_one(tmp_path):
    ids, content, records = write_views(tmp_path)
    found = read(tmp_path)
    assert (len(found), found.rows_an_image, found.views) == (60, 3, VIEWS)
    np.testing.assert_array_equal(found.image_id, np.sort(ids))
    rng = np.random.default_rng(2)
    image, view = rng.integers(0, 20, 100), rng.integers(0, 3, 100).astype(np.uint8)
    wanted = content[image * 3 + view]
    assert found.packed(ids[image], view).tobytes() == wanted.tobytes()
    shown = found.view_records(ids[image], view)
    assert shown.tobytes() == records[image * 3 + view].tobytes()
    expected = rows.unpack(wanted, found.layout)
    for name, value in found.look_up(ids[image], view).items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_view_is_asked_for_where_there_are_some_and_only_there(tmp_path):
    ids, *_ = write_views(tmp_path / "views")
    with pytest.raises(ValueError, match="a view is asked for"):
        read(tmp_path / "views").look_up(ids)
    with pytest.raises(ValueError, match="beyond the 3"):
        read(tmp_path / "views").look_up(ids, np.full(20, 3, np.uint8))
    write(tmp_path / "plain", *rows_of(20))
    with pytest.raises(ValueError, match="a view is asked for"):
        read(tmp_path / "plain").look_up(ids, np.zeros(20, np.uint8))


def test_only_whole_images_are_appended(tmp_path):
    _, content, _ = write_views(tmp_path / "whole")
    out = writer(tmp_path / "other", views=VIEWS)
    for wrong in (content[:0], content[:4], content[[0, 2, 1]], content[[0, 1, 5]]):
        with pytest.raises(ValueError, match="3 views of each image"):
            out.append(wrong)
    with pytest.raises(ValueError, match="rows of"):
        out.append(packed(*rows_of(3)))
    assert out.rows_written == 0


def test_an_index_holds_an_id_and_a_position_an_image(tmp_path):
    write_views(tmp_path)
    found = read(tmp_path)
    assert found.image_id.nbytes + found._position.nbytes == 20 * (8 + 4)
    assert all(isinstance(shard, np.memmap) for shard in found._shards)


def test_an_image_that_is_there_twice_is_refused(tmp_path):
    ids, probability = rows_of(30)
    write(tmp_path, np.concatenate([ids[:20], ids[5:15]]), probability)
    with pytest.raises(UserError, match="an image twice.*'predict' again"):
        read(tmp_path)


def test_rows_of_another_layout_are_refused(tmp_path):
    ids, probability = rows_of(20)
    write(tmp_path, ids, probability)
    described = store_file.read(tmp_path, "predict")
    for other in ({"k": K + 1}, {"views": VIEWS}):
        store_file.write(tmp_path, described | other)
        with pytest.raises(UserError, match="shard-00000.rows is damaged"):
            read(tmp_path)


def test_a_store_of_the_format_before_is_refused_and_written_anew(tmp_path):
    write(tmp_path, *rows_of(20))
    described = store_file.read(tmp_path, "predict")
    described["format"] = 2
    sealed = {**described, "sha256": store_file._digest(described)}
    files.write_json(tmp_path / "store.json", sealed)
    (tmp_path / "shard-00000.npy").write_bytes(b"as they were called")
    with pytest.raises(UserError, match="another version.*run stage 'predict' again"):
        read(tmp_path)
    assert writer(tmp_path).rows_written == 0
    assert os.listdir(tmp_path) == []


def test_what_was_measured_is_kept_with_the_rows(tmp_path):
    """And read again by whoever goes on; the sum's error is the greatest of any."""
    ids, probability = rows_of(30)
    content = packed(ids, probability)
    for start, error in ((0, 3e-7), (10, 8e-7), (20, 5e-7)):
        out = writer(tmp_path)
        measured = {"sum_error": [error], "divergence": [start / 8, 0.25]}
        out.append(content[start : start + 10], measured)
    assert out.measured("divergence").tolist() == [0, 0.25, 1.25, 0.25, 2.5, 0.25]
    assert read(tmp_path).sum_error() == 8e-7
    write(tmp_path / "unmeasured", ids, probability)
    assert read(tmp_path / "unmeasured").sum_error() is None


def test_a_reopened_writer_appends_after_what_is_there(tmp_path):
    ids, probability = rows_of(30)
    write(tmp_path / "whole", ids, probability)
    for start in range(0, 30, 10):
        out = writer(tmp_path / "pieces")
        assert out.rows_written == out.images_written == start
        part = slice(start, start + 10)
        out.append(packed(ids[part], probability[part]))
    assert files.sha256_tree(tmp_path / "pieces") == files.sha256_tree(
        tmp_path / "whole"
    )
    names = {path.name for path in out.outputs}
    assert names == set(os.listdir(tmp_path / "pieces"))


def test_a_reopened_writer_of_views_goes_on_at_a_whole_image(tmp_path):
    _, content, _ = write_views(tmp_path)
    whole = files.sha256_tree(tmp_path)
    (tmp_path / "shard-00001.rows").unlink()
    out = writer(tmp_path, views=VIEWS)
    assert (out.rows_written, out.images_written) == (24, 8)
    for start in (24, 48):
        out.append(content[start : start + 24])
    assert files.sha256_tree(tmp_path) == whole


def test_starting_over_leaves_nothing(tmp_path):
    out = write(tmp_path, *rows_of(30))
    out.start_over()
    assert (out.rows_written, os.listdir(tmp_path)) == (0, [])
    out.append(packed(*rows_of(10)))
    assert len(read(tmp_path)) == 10


def test_other_inputs_start_a_new_store(tmp_path):
    ids, probability = rows_of(30)
    write(tmp_path, ids, probability)
    out = writer(tmp_path, key="other")
    assert out.rows_written == 0
    assert os.listdir(tmp_path) == []


def test_another_label_map_is_refused(tmp_path):
    write(tmp_path, *rows_of(30))
    with pytest.raises(UserError, match="was made for label map"):
        read(tmp_path, last="Thymus serpyllum")


def test_the_description_tells_what_the_store_is_of(tmp_path):
    write(tmp_path, *rows_of(25))
    described = json.loads((tmp_path / "store.json").read_text())
    assert described["k"] == K
    assert described["label_map"] == label_map().fingerprint
    counts = [[b["rows"] for b in shard["blocks"]] for shard in described["shards"]]
    assert counts == [[10, 10], [5]]
    assert read(tmp_path).provenance == [
        {"name": "teacher_x", "kind": "teacher", "licences": []}
    ]


def test_a_store_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="stage 'predict' makes it"):
        read(tmp_path)
    writer(tmp_path)._describe()
    with pytest.raises(UserError, match="is empty: run stage 'predict' again"):
        read(tmp_path)
