import numpy as np
import pytest
import scipy.special

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.data.view_record import RECORD
from aplantida_jax.distill import combine, rows, store
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from configs import student_distill

GRID = 16 / 255  # nats: of two probabilities, what rounding may do to their ratio
VIEWS = {"count": 2, "seed": 42, "augment": {"scale": [0.6, 1.0]}}
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


def write(directory, ids, probability, label_map, name="teacher", k=4, views=None):
    """A teacher's store; with views `ids` has an image for each of its rows."""
    writer = store.Writer(
        directory,
        k=k,
        label_map=label_map,
        made_by="predict",
        key="key",
        provenance=[{"name": name, "kind": "teacher", "licences": []}],
        views=None if views is None else VIEWS,
    )
    top = rows.top(np.asarray(probability, np.float64), k)
    writer.append(rows.pack(ids, *top, writer.layout, views))
    return SoftLabels(directory, label_map=label_map, made_by="predict")


def mix(stores, weights, ids, classes, k=4):
    """The dense mixture, float64 [n, classes], and its tail [n]."""
    teachers = [
        combine.Teacher(f"teacher_{i}", weight, one)
        for i, (one, weight) in enumerate(zip(stores, weights, strict=True))
    ]
    with_views = stores[0].views is not None
    layout = rows.Layout(k, classes, with_views)
    return dense(rows.unpack(combine.mix(teachers, ids, layout), layout), classes)


def dense(found, classes):
    result = np.zeros((len(found["teacher_tail"]), classes))
    at, column = np.nonzero(found["teacher_class"] >= 0)
    kept = found["teacher_class"][at, column]
    result[at, kept] = np.exp(found["teacher_logprob"][at, column])
    return result, found["teacher_tail"]


@pytest.fixture
def teachers(tmp_path):
    world = write(tmp_path / "world", IDS, WORLD, taxa(4))
    region = write(tmp_path / "region", IDS[[1, 3]], REGION, taxa(4))
    return [world, region]


def test_rows_by_hand(teachers):
    mixed, tail = mix(teachers, [0.6, 0.4], IDS, 4)
    expected = [
        WORLD[0],  # the region's teacher does not know it: the weight is renormalised
        [0.15, 0.45, 0.25, 0.15],
        WORLD[2],
        [0.00, 0.20, 0.50, 0.30],
    ]
    np.testing.assert_allclose(mixed, expected, rtol=GRID)
    np.testing.assert_array_equal(tail, 0)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)


def test_what_is_cut_is_the_tail_by_hand(teachers):
    mixed, tail = mix(teachers, [0.6, 0.4], IDS, 4, k=2)
    expected = [
        [0.50, 0.25, 0.00, 0.00],  # of equal ones the lower class
        [0.00, 0.45, 0.25, 0.00],
        WORLD[2],
        [0.00, 0.00, 0.50, 0.30],
    ]
    np.testing.assert_allclose(mixed, expected, rtol=GRID)
    np.testing.assert_allclose(tail, [0.25, 0.3, 0, 0.2], rtol=2e-3)


def test_only_the_proportion_of_the_weights_counts(teachers):
    one = mix(teachers, [0.6, 0.4], IDS, 4)
    other = mix(teachers, [30.0, 20.0], IDS, 4)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_three_teachers_are_renormalised_over_those_there(teachers, tmp_path):
    third = write(tmp_path / "third", IDS[[1]], [[0, 0, 0, 1.0]], taxa(4))
    mixed, _ = mix([*teachers, third], [0.4, 0.4, 0.2], IDS, 4)
    np.testing.assert_allclose(mixed[1], [0.1, 0.4, 0.2, 0.3], rtol=GRID)
    np.testing.assert_allclose(mixed[3], [0, 0.25, 0.5, 0.25], rtol=GRID)
    np.testing.assert_allclose(mixed[0], WORLD[0], rtol=GRID)


@pytest.mark.parametrize("classes", [9, 300])
def test_the_mixture_is_that_of_dense_rows(tmp_path, classes):
    """Teachers of unequal k and with absent images, some with their classes only."""
    rng = np.random.default_rng(0)
    ids = np.arange(60, dtype=np.uint64)
    known = [np.arange(60), np.arange(0, 60, 2), np.arange(1, 60, 3)]
    weights, kept = [0.4, 0.4, 0.2], [3, 7, 5]
    total, tail, weight = np.zeros((60, classes)), np.zeros(60), np.zeros(60)
    stores = []
    for i, (images, k) in enumerate(zip(known, kept, strict=True)):
        mask = (rng.random(classes) < 0.5) | (np.arange(classes) < 3) | (i == 0)
        logits = np.where(mask, rng.normal(0, 2, (len(images), classes)), -np.inf)
        probability = scipy.special.softmax(logits, axis=1)
        one = write(tmp_path / str(i), ids[images], probability, taxa(classes), k=k)
        found, its_tail = dense(one.look_up(ids[images]), classes)
        total[images] += weights[i] * found
        tail[images] += weights[i] * its_tail
        weight[images] += weights[i]
        stores.append(one)
    total, tail = total / weight[:, None], tail / weight
    order = np.argsort(-total, axis=1, kind="stable")[:, :4]
    expected = np.zeros_like(total)
    np.put_along_axis(expected, order, np.take_along_axis(total, order, 1), 1)
    tail += (total - expected).sum(axis=1)
    mixed, mixed_tail = mix(stores, weights, ids, classes)
    np.testing.assert_array_equal(mixed > 0, expected > 0)
    np.testing.assert_allclose(mixed, expected, rtol=2 * GRID)
    np.testing.assert_allclose(mixed_tail, tail, rtol=4e-3, atol=1e-7)
    np.testing.assert_allclose(mixed.sum(axis=1) + mixed_tail, 1, atol=1e-6)
    assert set((expected > 0).sum(axis=1)) == {3, 4}  # a teacher alone has only 3


def shown(count, seed=0):
    """Records of `count` images in two views, uint64 ids with them."""
    records = np.frombuffer(np.random.default_rng(seed).bytes(32 * count), RECORD)
    records = records.copy()
    records["view"] = np.tile([0, 1], count)
    return records


def test_views_are_mixed_one_by_one(tmp_path):
    views = shown(4)
    rng = np.random.default_rng(1)
    every = np.repeat(IDS, 2)
    world = scipy.special.softmax(rng.normal(0, 1, (8, 4)), axis=1)
    region = scipy.special.softmax(rng.normal(0, 1, (4, 4)), axis=1)
    stores = [
        write(tmp_path / "world", every, world, taxa(4), views=views),
        write(tmp_path / "region", every[2:6], region, taxa(4), views=views[2:6]),
    ]
    mixed, _ = mix(stores, [0.6, 0.4], IDS, 4)
    expected = world.copy()
    expected[2:6] = 0.6 * world[2:6] + 0.4 * region
    np.testing.assert_allclose(mixed, expected, rtol=2 * GRID)
    teachers = [
        combine.Teacher(str(i), 0.5, one) for i, one in enumerate(reversed(stores))
    ]
    packed = combine.mix(teachers, IDS, rows.Layout(4, 4, with_views=True))
    assert packed["image_id"].tolist() == every.tolist()
    assert rows.records(packed).tobytes() == views.tobytes()


def test_another_view_under_the_same_key_is_refused(tmp_path):
    views = shown(4)
    other = views[2:6].copy()
    other["seed"][3] += 1
    every = np.repeat(IDS, 2)
    stores = [
        write(tmp_path / "world", every, np.repeat(WORLD, 2, 0), taxa(4), views=views),
        write(tmp_path / "eu", every[2:6], WORLD, taxa(4), views=other),
    ]
    with pytest.raises(UserError, match="teacher_1 are of other views.*teacher_0.*08"):
        mix(stores, [0.6, 0.4], IDS, 4)


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
    size = 8 + 1 + 1 + 3 + 2
    assert said["metrics"] == {
        "teachers": [*config.combine.teachers],
        "rows": 2500,
        "views": 0,
        "bytes_per_row": size,
        "bytes_of_dense_float32": 24,
        "dense_over_packed": 24 / size,
    }
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
    expected, tail = mix(stores, config.combine.weights, ids, 6, k=3)
    actual, actual_tail = dense(found.look_up(ids), 6)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(actual_tail, tail)
    assert ((actual > 0).sum(axis=1) == 3).all()


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
    monkeypatch.setattr(combine, "_SHARD_CHUNKS", 1)
    monkeypatch.setattr(combine, "_CHUNK", 1000)  # three small shards
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
