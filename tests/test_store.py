import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special

from aplantida_jax import files
from aplantida_jax.data import labels
from aplantida_jax.distill import store
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
CLASSES, K = 12, 5


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


def writer(directory, key="key", k=K, last="Thymus vulgaris"):
    return store.Writer(
        directory,
        k=k,
        label_map=label_map(last),
        made_by="predict",
        key=key,
        provenance=[{"name": "teacher_x", "kind": "teacher", "licences": []}],
    )


def read(directory, last="Thymus vulgaris"):
    return store.SoftLabels(directory, label_map=label_map(last), made_by="predict")


def write(directory, ids, probability, shard=10, k=K):
    out = writer(directory, k=k)
    for start in range(0, len(ids), shard):
        part = slice(start, start + shard)
        out.append(store.pack(ids[part], probability[part], k))
    return out


@pytest.mark.parametrize("k", [1, 5, CLASSES, 20])
def test_what_is_looked_up_is_what_was_packed(tmp_path, k):
    ids, probability = rows_of(57)
    write(tmp_path, ids, probability, k=k)
    found = read(tmp_path)
    asked = np.random.default_rng(1).permutation(57)[:40]
    rows = found.look_up(ids[asked])
    wanted = probability[asked]
    kept = min(k, CLASSES)
    order = np.argsort(-wanted, axis=1)[:, :kept]
    top = np.take_along_axis(wanted, order, axis=1)
    assert rows["teacher_class"].shape == (40, k)
    np.testing.assert_array_equal(rows["teacher_class"][:, :kept], order)
    np.testing.assert_array_equal(rows["teacher_class"][:, kept:], -1)
    np.testing.assert_allclose(
        np.exp(rows["teacher_logprob"][:, :kept].astype(np.float64)), top, rtol=5e-3
    )
    np.testing.assert_array_equal(rows["teacher_logprob"][:, kept:], -np.inf)
    np.testing.assert_allclose(rows["teacher_tail"], 1 - top.sum(axis=1), atol=5e-4)


def test_dense_rows_are_the_kept_part_of_the_packed(tmp_path):
    ids, probability = rows_of(30)
    write(tmp_path, ids, probability)
    dense = read(tmp_path).probabilities(ids, CLASSES)
    least_kept = -np.sort(-probability, axis=1)[:, K - 1 : K]
    expected = np.where(probability >= least_kept, probability, 0)
    np.testing.assert_allclose(dense, expected, rtol=5e-3)
    tail = read(tmp_path).look_up(ids)["teacher_tail"]
    np.testing.assert_allclose(dense.sum(axis=1) + tail, 1, atol=2e-3)


def test_the_divergence_from_dense_is_small(tmp_path):
    ids, probability = rows_of(200, classes=CLASSES)
    write(tmp_path, ids, probability, k=CLASSES)
    dense = read(tmp_path).probabilities(ids, CLASSES)
    dense /= dense.sum(axis=1, keepdims=True)
    divergence = (probability * np.log(probability / dense)).sum(axis=1)
    assert divergence.max() < 1e-6  # all that float16 costs


def test_a_packed_row_by_hand():
    row = store.pack(np.array([7], np.uint64), np.array([[0.25, 0, 0.5, 0.25, 0]]), 4)
    assert row["image_id"].tolist() == [7]
    # The tie goes to the lower class; what has no probability has no place.
    assert row["teacher_class"].tolist() == [[2, 0, 3, 0xFFFF]]
    expected = np.float16([np.log(0.5), np.log(0.25), np.log(0.25), -np.inf])
    np.testing.assert_array_equal(row["teacher_logprob"][0], expected)
    assert row["teacher_tail"].tolist() == [0]


def test_a_row_takes_138_bytes_at_k_32(tmp_path):
    assert store.row_type(32).itemsize == 8 + 32 * 2 + 32 * 2 + 2 == 138
    ids, probability = rows_of(1000, classes=50)
    packed = store.pack(ids, probability, 32)
    assert packed.nbytes == 138_000
    writer(tmp_path, k=32).append(packed)
    header = (tmp_path / "shard-00000.npy").stat().st_size - 138_000
    assert 0 < header <= 512


def test_more_classes_than_an_index_can_name_are_refused():
    with pytest.raises(UserError, match="65535 classes, not 65536"):
        store.pack(np.zeros(1, np.uint64), np.full((1, 65_536), 1 / 65_536), 2)
    last = store.pack(np.zeros(1, np.uint64), np.eye(1, 65_535, 65_534), 2)
    assert last["teacher_class"].tolist() == [[65_534, 0xFFFF]]


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
    with pytest.raises(UserError, match=r"lacks 5 of the 25 images.*stage 'predict'"):
        found.require(ids)


def test_a_reopened_writer_appends_after_what_is_there(tmp_path):
    ids, probability = rows_of(30)
    write(tmp_path / "whole", ids, probability)
    for start in range(0, 30, 10):
        out = writer(tmp_path / "pieces")
        assert out.rows_written == start
        part = slice(start, start + 10)
        out.append(store.pack(ids[part], probability[part], K))
    assert files.sha256_tree(tmp_path / "pieces") == files.sha256_tree(
        tmp_path / "whole"
    )


WRITE_ON = """
import sys
sys.path[:0] = ["tests", "."]
import pathlib
import test_store as t
ids, probability = t.rows_of(40)
out = t.writer(pathlib.Path(sys.argv[1]))
for row in range(out.rows_written, 40):
    out.append(t.store.pack(ids[row : row + 1], probability[row : row + 1], t.K))
    print("ready", flush=True)
"""


def test_a_writer_killed_at_any_moment_ends_with_the_same_bytes(tmp_path):
    ids, probability = rows_of(40)
    write(tmp_path / "whole", ids, probability, shard=1)
    broken = tmp_path / "broken"
    for appended in (1, 4, 9):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_ON, broken], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            for _ in range(appended):
                assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert len(read(broken)) >= appended
    subprocess.run(
        [sys.executable, "-c", WRITE_ON, broken],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    files.sweep_temporary(broken)
    assert files.sha256_tree(broken) == files.sha256_tree(tmp_path / "whole")


def test_a_shard_that_the_description_does_not_name_goes(tmp_path):
    ids, probability = rows_of(20)
    write(tmp_path, ids, probability)
    stray = tmp_path / "shard-00002.npy"  # killed before it was named
    stray.write_bytes((tmp_path / "shard-00001.npy").read_bytes())
    assert len(read(tmp_path)) == 20
    assert writer(tmp_path).rows_written == 20
    assert not stray.exists()


def test_other_inputs_start_a_new_store(tmp_path):
    ids, probability = rows_of(30)
    write(tmp_path, ids, probability)
    out = writer(tmp_path, key="other")
    assert out.rows_written == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_writer_does_again_what_is_damaged_and_what_follows(tmp_path, damage):
    ids, probability = rows_of(30)
    write(tmp_path, ids, probability)
    whole = files.sha256_tree(tmp_path)
    path = tmp_path / "shard-00001.npy"
    if damage == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    else:
        path.unlink()
    out = writer(tmp_path)
    assert out.rows_written == 10
    assert len(read(tmp_path)) == 10
    for part in (slice(10, 20), slice(20, 30)):
        out.append(store.pack(ids[part], probability[part], K))
    assert files.sha256_tree(tmp_path) == whole


@pytest.mark.parametrize("content", ["", "{}", "[]", "null"])
def test_a_writer_starts_anew_where_the_description_is_damaged(tmp_path, content):
    write(tmp_path, *rows_of(30))
    (tmp_path / "store.json").write_text(content)
    assert writer(tmp_path).rows_written == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["store.json", "shard-00000.npy", "shard-00002.npy"])
def test_every_flipped_bit_is_noticed(tmp_path, name):
    write(tmp_path, *rows_of(30))
    path = tmp_path / name
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    for bit in rng.choice(8 * len(whole), 200, replace=False).tolist():
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="run stage 'predict' again"):
            read(tmp_path)
    path.write_bytes(whole)
    assert len(read(tmp_path)) == 30


@pytest.mark.parametrize("name", ["store.json", "shard-00001.npy"])
def test_truncation_and_deletion_are_noticed(tmp_path, name):
    write(tmp_path, *rows_of(30))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="run stage 'predict' again"):
        read(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="stage 'predict'"):
        read(tmp_path)


def test_another_label_map_is_refused(tmp_path):
    write(tmp_path, *rows_of(30))
    with pytest.raises(UserError, match="was made for label map"):
        read(tmp_path, last="Thymus serpyllum")


def test_the_description_tells_what_the_store_is_of(tmp_path):
    write(tmp_path, *rows_of(25))
    described = json.loads((tmp_path / "store.json").read_text())
    assert described["k"] == K
    assert described["label_map"] == label_map().fingerprint
    assert [shard["rows"] for shard in described["shards"]] == [10, 10, 5]
    assert read(tmp_path).provenance == [
        {"name": "teacher_x", "kind": "teacher", "licences": []}
    ]


def test_a_store_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="stage 'predict' makes it"):
        read(tmp_path)
    writer(tmp_path)._describe()
    with pytest.raises(UserError, match="is empty: run stage 'predict' again"):
        read(tmp_path)
