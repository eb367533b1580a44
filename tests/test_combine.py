import numpy as np
import pytest
import scipy.special

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.distill import combine, store
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from configs import student_distill

IDS = np.array([3, 5, 8, 13], np.uint64)
WORLD = np.array(
    [
        [0.50, 0.25, 0.25, 0.00],
        [0.25, 0.25, 0.25, 0.25],
        [1.00, 0.00, 0.00, 0.00],
        [0.00, 0.00, 0.50, 0.50],
    ]
)
# Knows the second and the fourth image only, and no class but 1 and 2.
REGION = np.array([[0, 0.75, 0.25, 0], [0, 0.50, 0.50, 0]])


def taxa(count):
    return labels.LabelMap(
        tuple(
            labels.Taxon(i, f"Mentha {i}", "", "", "Mentha", "", (), ())
            for i in range(count)
        )
    )


def write(directory, ids, probability, label_map, name="teacher", k=4):
    store.Writer(
        directory,
        k=k,
        label_map=label_map,
        made_by="predict",
        key="key",
        provenance=[{"name": name, "kind": "teacher", "licences": []}],
    ).append(store.pack(ids, np.asarray(probability, np.float64), k))
    return SoftLabels(directory, label_map=label_map, made_by="predict")


@pytest.fixture
def teachers(tmp_path):
    world = write(tmp_path / "world", IDS, WORLD, taxa(4))
    region = write(tmp_path / "region", IDS[[1, 3]], REGION, taxa(4))
    return [world, region]


def test_rows_by_hand(teachers):
    mixed = combine.mix(teachers, np.array([0.6, 0.4]), IDS, 4)
    expected = [
        WORLD[0],  # the region's teacher does not know it: the weight is renormalised
        [0.15, 0.45, 0.25, 0.15],
        WORLD[2],
        [0.00, 0.20, 0.50, 0.30],
    ]
    np.testing.assert_allclose(mixed, expected, atol=3e-4)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=5e-4)


def test_only_the_proportion_of_the_weights_counts(teachers):
    one = combine.mix(teachers, np.array([0.6, 0.4]), IDS, 4)
    other = combine.mix(teachers, np.array([30.0, 20.0]), IDS, 4)
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_three_teachers_are_renormalised_over_those_there(teachers, tmp_path):
    third = write(tmp_path / "third", IDS[[1]], [[0, 0, 0, 1.0]], taxa(4))
    weights = np.array([0.4, 0.4, 0.2])
    mixed = combine.mix([*teachers, third], weights, IDS, 4)
    np.testing.assert_allclose(mixed[1], [0.1, 0.4, 0.2, 0.3], atol=3e-4)
    np.testing.assert_allclose(mixed[3], [0, 0.25, 0.5, 0.25], atol=3e-4)
    np.testing.assert_allclose(mixed[0], WORLD[0], atol=3e-4)


def test_the_tails_of_the_teachers_are_the_tail_of_the_mixture(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.arange(50, dtype=np.uint64)
    dense = scipy.special.softmax(rng.normal(0, 2, (2, 50, 9)), axis=2)
    pair = [
        write(tmp_path / str(i), ids, rows, taxa(9), k=3)
        for i, rows in enumerate(dense)
    ]
    mixed = combine.mix(pair, np.array([0.7, 0.3]), ids, 9)
    tails = [teacher.look_up(ids)["teacher_tail"].astype(float) for teacher in pair]
    expected = 1 - (0.7 * tails[0] + 0.3 * tails[1])
    np.testing.assert_allclose(mixed.sum(axis=1), expected, atol=2e-3)
    assert mixed.sum(axis=1).max() < 0.999


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
    rows = found.look_up(found.image_id)
    top = np.where(rows["teacher_class"] >= 0, np.exp(rows["teacher_logprob"]), 0)
    total = top.astype(np.float64).sum(axis=1) + rows["teacher_tail"]
    np.testing.assert_allclose(total, 1, atol=3e-3)
    assert [entry["name"] for entry in found.provenance] == [*config.combine.teachers]
    said = manifest.read(where, made_by="combine")
    assert said["metrics"]["rows"] == 2500
    assert said["label_map"] == taxa(6).fingerprint
    label_map = taxa(6)
    teachers = [
        SoftLabels(
            paths.soft_labels(config, name, "train"),
            label_map=label_map,
            made_by="predict",
        )
        for name in config.combine.teachers
    ]
    ids = found.image_id[:100]
    expected = combine.mix(teachers, np.array(config.combine.weights), ids, 6)
    dense = found.probabilities(ids, 6)
    kept = dense > 0
    np.testing.assert_allclose(dense[kept], expected[kept], rtol=2e-3)
    assert (kept.sum(axis=1) == 3).all()


def test_the_stage_has_nothing_to_do_twice_and_mends_what_is_damaged(config, tmp_path):
    combine.run(config, tmp_path)
    where, _ = combined(config)
    whole = {p: p.read_bytes() for p in where.iterdir() if p.name != "manifest.json"}
    before = {p: p.stat().st_mtime_ns for p in where.iterdir()}
    combine.run(config, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in where.iterdir()} == before
    shard = where / "shard-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="run stage 'combine' again"):
        combined(config)
    combine.run(config, tmp_path)
    assert {p: p.read_bytes() for p in whole} == whole
    assert len(combined(config)[1]) == 2500


def test_the_stage_goes_on_after_its_last_whole_shard(config, tmp_path, monkeypatch):
    monkeypatch.setattr(combine, "_SHARD_CHUNKS", 1)  # three small shards
    combine.run(config, tmp_path)
    where, found = combined(config)
    assert len(found) == 2500
    whole = {path.name: path.read_bytes() for path in where.glob("shard-*")}
    assert len(whole) == 3
    first = (where / "shard-00000.npy").stat()
    (where / "shard-00001.npy").unlink()
    (where / "manifest.json").unlink()
    combine.run(config, tmp_path)
    assert {path.name: path.read_bytes() for path in where.glob("shard-*")} == whole
    assert (where / "shard-00000.npy").stat().st_ino == first.st_ino  # left alone
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
