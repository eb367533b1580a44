import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.train import mixup
from configs import common

BATCH = 4
UNIQUE, REPEATED = 995, 5
KEYS = jax.random.split(jax.random.key(0), UNIQUE)
KEYS = jnp.concatenate([KEYS, KEYS[:REPEATED]])
# Image i is i everywhere, target row i is one-hot at i: both tell the weight.
IMAGES = jnp.broadcast_to(jnp.arange(4.0)[:, None, None, None], (BATCH, 20, 24, 3))
TARGETS = jnp.eye(BATCH)
TEACHER = jnp.array([[0.7, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [1, 0, 0, 0]])


def augment(**changes):
    config = common.base("x", "train").augment
    config.update(changes)
    return config


@functools.cache
def mixed(**changes):
    """Images [n, b, h, w, 3] and both target matrices [n, b, c], for every key."""
    config = augment(**changes)
    one = jax.jit(
        lambda key: mixup.mix(key, IMAGES, (TARGETS, TEACHER), augment=config)
    )
    return jax.tree.map(np.asarray, jax.lax.map(one, KEYS))


def mixup_only():
    return mixed(mixup_probability=1.0, mixup_alpha=0.2, cutmix_alpha=0.0)


def cutmix_only():
    return mixed(mixup_probability=1.0, mixup_alpha=0.0, cutmix_alpha=1.2)


def either():
    return mixed(mixup_probability=0.4, cutmix_share=0.25)


def own_weight(targets):
    """Weight of each batch's own images [n], read from its first target row."""
    return targets[:, 0, 0]


@pytest.mark.parametrize(
    "off",
    [{"mixup_probability": 0.0}, {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}],
)
def test_switched_off_nothing_is_touched(off):
    config = augment(**{"mixup_probability": 1.0, **off})
    for key in KEYS[:8]:
        images, (targets,) = mixup.mix(key, IMAGES, (TARGETS,), augment=config)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(targets, TARGETS)


def test_mixup_weighs_images_and_targets_alike():
    images, (targets, _) = mixup_only()
    weight = own_weight(targets)[:, None]
    values = np.arange(BATCH)
    expected = weight * values + (1 - weight) * values[::-1]  # [n, b]
    expected = np.broadcast_to(expected[..., None, None, None], images.shape)
    np.testing.assert_allclose(images, expected, atol=1e-5)


def test_the_weights_of_mixup_have_the_beta_distribution():
    weight = own_weight(mixup_only()[1][0])
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert weight.mean() == pytest.approx(0.5, abs=0.05)
    # Beta(a, a) has variance 1 / (8 a + 4).
    assert weight.var() == pytest.approx(1 / 5.6, rel=0.1)


def test_cutmix_takes_a_box_of_the_partner_and_its_share_of_the_target():
    images, (targets, _) = cutmix_only()
    assert set(np.unique(images[:, 0])) == {0, BATCH - 1}
    from_partner = images[:, 0, :, :, 0] == BATCH - 1  # [n, h, w]
    share = from_partner.mean(axis=(1, 2))
    np.testing.assert_allclose(share, 1 - own_weight(targets), atol=1e-6)
    assert share.min() < 0.05
    assert share.max() > 0.8
    # A box: what is inside is every row crossed with every column that it touches.
    rows, columns = from_partner.any(axis=2), from_partner.any(axis=1)
    np.testing.assert_array_equal(from_partner, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):
        changes = np.diff(np.pad(line, ((0, 0), (1, 1))).astype(int), axis=1)
        assert ((changes == 1).sum(axis=1) <= 1).all()  # in one piece
    # Every image of the batch gets the same box of its own partner.
    np.testing.assert_array_equal(images[:, 1, :, :, 0] == 2, from_partner)


def test_mixing_happens_as_often_as_asked_and_by_cutmix_as_often():
    images, _ = either()
    blended = (images != np.round(images)).any(axis=(1, 2, 3, 4))
    cut = ~blended & (images != np.asarray(IMAGES)).any(axis=(1, 2, 3, 4))
    # A box may fall between pixels and cut nothing: few do.
    assert blended.mean() == pytest.approx(0.3, abs=0.05)
    assert cut.mean() == pytest.approx(0.1, abs=0.04)


def test_target_rows_keep_their_sum_and_all_matrices_their_weight():
    for images, (targets, teacher) in (mixup_only(), cutmix_only(), either()):
        assert images.shape == (len(KEYS), *IMAGES.shape)
        np.testing.assert_allclose(targets.sum(axis=2), 1, rtol=1e-5)
        np.testing.assert_allclose(teacher.sum(axis=2), 1, rtol=1e-5)
        weight = own_weight(targets)[:, None, None]
        expected = weight * TEACHER + (1 - weight) * TEACHER[::-1]
        np.testing.assert_allclose(teacher, expected, atol=1e-6)


def test_the_key_decides():
    images, (targets, _) = mixup_only()
    np.testing.assert_array_equal(images[:REPEATED], images[UNIQUE:])
    np.testing.assert_array_equal(targets[:REPEATED], targets[UNIQUE:])
    assert len(np.unique(own_weight(targets))) > 900
