"""The mixture of teachers' rows, by hand and against dense rows."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from aplantida_jax.data import labels
from aplantida_jax.data.view_record import RECORD
from aplantida_jax.distill import divergence, mixture, rows, store
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from aplantida_jax.train import losses

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


def taxa(count, south_west=()):
    """Classes, of which some grow in EU_SW, and the others nowhere."""
    return labels.LabelMap(
        tuple(
            labels.Taxon(
                *(i, f"Mentha {i}", "", "", "Mentha", "", ()),
                regions=("EU_SW",) if i in south_west else (),
            )
            for i in range(count)
        )
    )


def write(
    directory, ids, probability, label_map, name="teacher", k=4, views=None, region=""
):
    """A teacher's store; with views `ids` has an image for each of its rows."""
    writer = store.Writer(
        directory,
        k=k,
        label_map=label_map,
        made_by="predict",
        key="key",
        provenance=[{"name": name, "kind": "teacher", "licences": []}],
        regions=[region],
        views=None if views is None else VIEWS,
    )
    top = rows.top(np.asarray(probability, np.float64), k)
    writer.append(rows.pack(ids, *top, writer.layout, views))
    return SoftLabels(directory, label_map=label_map, made_by="predict")


def mix(stores, weights, ids, classes, k=4):
    """The dense mixture, float64 [n, classes], and its tails [n, t]."""
    teachers = [
        mixture.Teacher(f"teacher_{i}", weight, one)
        for i, (one, weight) in enumerate(zip(stores, weights, strict=True))
    ]
    with_views = stores[0].views is not None
    layout = rows.Layout(k, classes, with_views, len(stores))
    return dense(rows.unpack(mixture.mix(teachers, ids, layout)[0], layout), classes)


def dense(found, classes):
    """Of what `unpack` gives: the kept classes; and the teachers' tails [n, t]."""
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
    # Of 0.6: 0.15 for class 0 and 0.15 for 3, and 0.3 for 3; of 0.4: 0.2 for 1.
    tails = [[0.25, 0], [0.3, 0], [0, 0], [0, 0.2]]
    np.testing.assert_allclose(tail, tails, rtol=2e-3)


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
    total, tail = np.zeros((60, classes)), np.zeros((60, 3))
    own, weight = np.zeros((3, 60, classes)), np.zeros((60, 1))
    stores = []
    for i, (images, k) in enumerate(zip(known, kept, strict=True)):
        mask = (rng.random(classes) < 0.5) | (np.arange(classes) < 3) | (i == 0)
        logits = np.where(mask, rng.normal(0, 2, (len(images), classes)), -np.inf)
        probability = scipy.special.softmax(logits, axis=1)
        one = write(tmp_path / str(i), ids[images], probability, taxa(classes), k=k)
        found, its_tail = dense(one.look_up(ids[images]), classes)
        own[i, images] = weights[i] * found
        total[images] += weights[i] * found
        tail[images, i] = weights[i] * its_tail[:, 0]
        weight[images] += weights[i]
        stores.append(one)
    total, tail, own = total / weight, tail / weight, own / weight
    order = np.argsort(-total, axis=1, kind="stable")[:, :4]
    expected = np.zeros_like(total)
    np.put_along_axis(expected, order, np.take_along_axis(total, order, 1), 1)
    tail += np.where(expected > 0, 0, own).sum(axis=2).T
    mixed, mixed_tail = mix(stores, weights, ids, classes)
    np.testing.assert_array_equal(mixed > 0, expected > 0)
    np.testing.assert_allclose(mixed, expected, rtol=2 * GRID)
    np.testing.assert_allclose(mixed_tail, tail, rtol=4e-3, atol=1e-7)
    np.testing.assert_allclose(mixed.sum(1) + mixed_tail.sum(1), 1, atol=1e-6)
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
        mixture.Teacher(str(i), 0.5, one) for i, one in enumerate(reversed(stores))
    ]
    packed, _ = mixture.mix(teachers, IDS, rows.Layout(4, 4, with_views=True, tails=2))
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


def even_outside(kept, mass, covered):
    """A row [n, c] with `mass` [n, k] in classes `kept`, the rest even in others."""
    row = np.where(covered, 1.0, 0.0) * np.ones((len(mass), 1))
    row[:, kept] = 0
    row *= (1 - mass.sum(axis=1, keepdims=True)) / row.sum(axis=1, keepdims=True)
    row[:, kept] = mass
    return row


def test_a_regional_teachers_tail_stays_in_its_region(tmp_path):
    """What online teachers of the same answers would say, at 3 of 40 classes."""
    rng = np.random.default_rng(4)
    cover = np.zeros(40, bool)
    cover[rng.permutation(40)[:12]] = True
    kept = np.flatnonzero(cover)[:3]
    label_map = taxa(40, south_west=np.flatnonzero(cover))
    world, region = (
        even_outside(kept, rng.dirichlet([30, 20, 10, 20], 20)[:, :3], covered)
        for covered in (np.ones(40, bool), cover)
    )
    ids = np.arange(20, dtype=np.uint64)
    of_world, of_region = slice(0, 15), slice(5, 20)  # 5 each are of one alone
    teachers = [
        mixture.Teacher(
            name, weight, write(tmp_path / name, *what, label_map, k=3, **of)
        )
        for name, weight, what, of in (
            ("world", 0.6, (ids[of_world], world[of_world]), {}),
            ("region", 0.4, (ids[of_region], region[of_region]), {"region": "EU_SW"}),
        )
    ]
    online = 0.6 * world + 0.4 * region
    online[:5], online[15:] = world[:5], region[15:]
    layout = rows.Layout(3, 40, tails=2)
    packed, error = mixture.mix(teachers, ids, layout)
    covers = np.concatenate([t.soft_labels.covers for t in teachers])
    np.testing.assert_array_equal(covers, [np.ones(40, bool), cover])
    stored = divergence.read(packed, layout, covers)
    np.testing.assert_allclose(stored, online, rtol=2 * GRID, atol=1e-7)
    assert (stored[15:, ~cover] == 0).all()
    np.testing.assert_allclose(stored.sum(axis=1), 1, atol=1e-6)
    assert 0 < error.max() < 1e-6
    loss = [
        losses.distillation_loss(
            jnp.zeros((20, 40)), jnp.asarray(said), temperature=3.0
        )
        for said in (stored, online)
    ]
    assert loss[0] == pytest.approx(loss[1], rel=0.02)
