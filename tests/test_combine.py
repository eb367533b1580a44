"""Stage combine: what it reads, refuses, leaves and does again."""

import numpy as np
import pytest
import scipy.special
from test_mixture import IDS, dense, mix, shown, taxa, write

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.distill import combine, store
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from configs import student_distill


@pytest.fixture
def config(tmp_path):
    """Three teachers' stores on disk, as the stage finds them."""
    config = student_distill.get_config()
    config.data_dir = str(tmp_path)
    config.predict.top_k = 3
    label_map = taxa(6)
    labels.write(paths.classes(config), label_map)
    rng = np.random.default_rng(3)
    ids = np.sort(rng.integers(0, 2**63, 2500).astype(np.uint64))
    for name, known in zip(
        config.combine.teachers, (ids, ids[::2], ids[1::3]), strict=True
    ):
        probability = scipy.special.softmax(rng.normal(0, 2, (len(known), 6)), axis=1)
        where = paths.soft_labels(config, name, "train")
        write(where, known, probability, label_map, name=name, k=3)
        files.write_json(where / "manifest.json", {"outputs": {}})
    return config


def test_teachers_of_other_views_are_refused(config, tmp_path):
    where = paths.soft_labels(config, "teacher_eu_sw", "train")
    ids = np.repeat(IDS, 2)
    probability = np.full((8, 6), 1 / 6)
    write(where, ids, probability, taxa(6), views=shown(4), k=3)
    with pytest.raises(
        UserError, match=r"teacher_eu_sw are of other views than those of teacher_glob"
    ):
        combine.run(config, tmp_path)


def test_a_store_that_is_still_growing_is_refused(config, tmp_path):
    where = paths.soft_labels(config, "teacher_eu_sw", "train")
    (where / "manifest.json").unlink()
    with pytest.raises(UserError, match="is not finished: run stage 'predict'"):
        combine.run(config, tmp_path)


def combined(config):
    where = paths.soft_labels(config, "combined", "train")
    label_map = labels.read(paths.classes(config))
    return where, SoftLabels(where, label_map=label_map, made_by="combine")


def test_the_stage_combines_every_image_of_any_teacher(config, tmp_path):
    combine.run(config, tmp_path)
    where, found = combined(config)
    assert len(found) == 2500
    assert found.sum_error() < 1e-6
    assert [entry["name"] for entry in found.provenance] == [*config.combine.teachers]
    said = manifest.read(where, made_by="combine")
    size = 8 + 1 + 1 + 3 + 3 * 2  # a tail for each teacher
    expected = {
        "teachers": [*config.combine.teachers],
        "rows": 2500,
        "views": 0,
        "bytes_per_row": size,
        "bytes_of_dense_float32": 24,
        "dense_over_packed": 24 / size,
        "kl_rows": 1024,
        "kl_temperature": 3.0,
    }
    assert {name: said["metrics"][name] for name in expected} == expected
    assert said["label_map"] == taxa(6).fingerprint
    stores = [
        SoftLabels(
            paths.soft_labels(config, name, "train"),
            label_map=taxa(6),
            made_by="predict",
        )
        for name in config.combine.teachers
    ]
    ids = found.image_id
    weights = config.combine.weights
    expected, tail = mix(stores, weights, ids, 6, k=3)
    actual, actual_tail = dense(found.look_up(ids), 6)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(actual_tail, tail)
    assert ((actual > 0).sum(axis=1) == 3).all()
    by_hand = cost_of_the_cut(stores, weights, found)
    assert said["metrics"]["kl_mean"] == pytest.approx(by_hand, rel=0.1)


def cost_of_the_cut(stores, weights, combined):
    """KL of all rows from the mixture of what is read in the teachers' rows."""
    ids = combined.image_id
    total, weight = np.zeros((len(ids), 6)), np.zeros((len(ids), 1))
    for one, share in zip(stores, weights, strict=True):
        there = one.contains(ids)
        total[there] += share * even_rows(one.look_up(ids[there]))
        weight[there] += share
    packed = even_rows(combined.look_up(ids))
    return scipy.special.rel_entr(total / weight, packed).sum(axis=1).mean()


def even_rows(found):
    """Rows whose teachers cover all: their tails go evenly to what is not kept."""
    kept, tails = dense(found, 6)
    rest = kept == 0
    return kept + rest * (tails.sum(axis=1) / rest.sum(axis=1))[:, None]


def test_the_stage_has_nothing_to_do_twice_and_mends_what_is_damaged(config, tmp_path):
    combine.run(config, tmp_path)
    where, _ = combined(config)
    whole = {p: p.read_bytes() for p in where.iterdir() if p.name != "manifest.json"}
    before = {p: p.stat().st_mtime_ns for p in where.iterdir()}
    combine.run(config, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in where.iterdir()} == before
    shard = where / "shard-00000.rows"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="run stage 'combine' again"):
        combined(config)
    combine.run(config, tmp_path)
    assert {p: p.read_bytes() for p in whole} == whole
    assert len(combined(config)[1]) == 2500


def test_the_stage_goes_on_after_its_last_whole_shard(config, tmp_path, monkeypatch):
    monkeypatch.setattr(combine, "_BLOCK_CHUNKS", 1)
    monkeypatch.setattr(combine, "_CHUNK", 1000)
    monkeypatch.setattr(store, "_SHARD_ROWS", 1000)  # three small shards
    combine.run(config, tmp_path)
    where, found = combined(config)
    assert len(found) == 2500
    whole = {path.name: path.read_bytes() for path in where.glob("shard-*")}
    assert len(whole) == 3
    first = (where / "shard-00000.rows").stat()
    (where / "shard-00001.rows").unlink()
    (where / "manifest.json").unlink()
    combine.run(config, tmp_path)
    assert {path.name: path.read_bytes() for path in where.glob("shard-*")} == whole
    left = (where / "shard-00000.rows").stat()
    assert (left.st_ino, left.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert len(combined(config)[1]) == 2500


@pytest.mark.parametrize(
    ("teachers", "weights"),
    [
        (("teacher_global",), (0.5, 0.5)),
        (("teacher_global", "teacher_eu_sw"), (1.0, 0.0)),
        (("teacher_global", "teacher_eu_sw"), (1.0, -0.5)),
        ((), ()),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(config, tmp_path, teachers, weights):
    config.combine.update({"teachers": teachers, "weights": weights})
    with pytest.raises(UserError, match="--config.combine.weights") as caught:
        combine.run(config, tmp_path)
    assert caught.value.exit_code == 2


def test_a_teacher_that_has_not_predicted_is_named(config, tmp_path):
    where = paths.soft_labels(config, "teacher_eu_sw", "train")
    (where / "store.json").unlink()
    with pytest.raises(
        UserError, match=r"'predict' \(--config=configs/teacher_eu_sw.py"
    ):
        combine.run(config, tmp_path)


def test_a_teacher_of_another_label_map_is_refused(config, tmp_path):
    labels.write(paths.classes(config), taxa(7))
    with pytest.raises(UserError, match="was made for label map"):
        combine.run(config, tmp_path)


def test_a_dry_run_writes_nothing(config, tmp_path):
    config.dry_run = True
    combine.run(config, tmp_path)
    assert not paths.soft_labels(config, "combined", "train").exists()
