"""The teachers of an online distillation: whom they answer for, and how mixed."""

import json
from functools import partial
from pathlib import Path

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tiny_vit import tiny_vit
from training_processes import run_script

from aplantida_jax.data.transforms import View, evaluation_view, render
from aplantida_jax.train import inputs, optimizer, state, step
from aplantida_jax.train.teachers import Network, Teachers, resize
from configs import common

CLASSES, SIDE = 5, 24
COVERS = np.array([[True] * 5, [False, True, True, False, True]])
LABEL = np.array([0, 1, 2, 3, 4, 1], np.int32)
ALL = jnp.ones(CLASSES, bool)


def random_variables(module, seed, side=SIDE):
    """A fresh head is all zeros, and answers every image alike."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0.1, 0.3, leaf.shape), jnp.float32),
        state.variable_shapes(module, image_size=side),
    )


def two_teachers(sides=(SIDE, 16)):
    """One for all classes and, with three times its weight, one for three of them."""
    modules = [tiny_vit(depth=1, image_size=side) for side in sides]
    variables = [random_variables(m, i, m.image_size) for i, m in enumerate(modules)]
    scales = ((0.5, 0.25), (0.4, 0.2))
    networks = tuple(
        Network(module, module.image_size, (mean,) * 3, (std,) * 3)
        for module, (mean, std) in zip(modules, scales, strict=True)
    )
    weight = np.array([0.25, 0.75], np.float32)
    return Teachers(tuple(variables), COVERS, weight, networks)


def random_batch(side=SIDE):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (len(LABEL), side, side, 3)).astype(np.uint8)
    return {"image": images, "label": LABEL}


def answers_of(teachers, number, images):
    """float64 [b, c]: of one teacher, over its classes, by numpy."""
    network = teachers.networks[number]
    images = (smaller(images, network.image_size) - network.mean[0]) / network.std[0]
    logits = network.module.apply(teachers.variables[number], images, train=False)
    odds = np.exp(np.asarray(logits, np.float64)) * COVERS[number]
    return odds / odds.sum(axis=1, keepdims=True)


def smaller(images, side):
    """Pillow's Lanczos resampling, which widens its filter with the step."""
    planes = [
        [
            np.asarray(Image.fromarray(plane).resize((side, side), Image.LANCZOS))
            for plane in np.moveaxis(np.asarray(image), 2, 0)
        ]
        for image in images
    ]
    return np.moveaxis(np.array(planes), 1, 3).clip(0, 1)


@pytest.mark.parametrize(("before", "after"), [(24, 16), (64, 24), (24, 24)])
def test_images_are_made_smaller_as_pillow_makes_them(before, after):
    images = random_batch(before)["image"].astype(np.float32) / 255
    made = resize(jnp.asarray(images), after)
    assert made.shape == (len(LABEL), after, after, 3)
    np.testing.assert_allclose(made, smaller(images, after), atol=5e-6)


@pytest.mark.parametrize("side", [512, 768, 1200])
def test_the_student_of_larger_teachers_sees_the_detail_that_evaluation_sees(side):
    """Pictures with the spectrum of photos, 1 / frequency; by the Laplacian."""
    rng = np.random.default_rng(0)
    there = np.fft.fft2(rng.normal(size=(side, side)))
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side)] * 2))
    frequency[0, 0] = 1
    grey = np.fft.ifft2(there / frequency).real
    grey = (128 + 40 * grey / grey.std()).clip(0, 255).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    view = View(0.5, 0.5, 0.85, angle=0.0, flip_x=False, flip_y=False, blur=0.0)
    rendered = render(picture, view, image_size=384)
    online = resize(jnp.asarray(rendered[None], jnp.float32) / 255, 224)[0] * 255
    resized = round(224 / 0.85)
    evaluated = evaluation_view(picture, image_size=224, resize=resized)
    seen, expected = (
        cv2.Laplacian(np.asarray(image, np.float32)[..., 0], cv2.CV_32F).std()
        for image in (online, evaluated)
    )
    assert seen == pytest.approx(expected, rel=0.07)


def test_rows_are_the_mixture_of_those_that_apply():
    teachers = two_teachers()
    images = jnp.asarray(random_batch()["image"], jnp.float32) / 255
    rows = jax.jit(lambda t, x, y: t.answer(x, t.applies(y)))(teachers, images, LABEL)
    alone, region = (answers_of(teachers, i, images) for i in range(2))
    both = 0.25 * alone + 0.75 * region
    grows_there = COVERS[1][LABEL][:, None]
    expected = np.where(grows_there, both, alone)
    np.testing.assert_allclose(rows, expected, atol=2e-6)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert np.abs(alone - both).max() > 0.05  # so that the weights show


class Linear(nn.Module):
    """A network that compiles at once."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        return nn.Dense(CLASSES)(images.reshape(len(images), -1))


def linear_teachers(count):
    """Two of them, random images float32 [count, 12, 12, 3], and who applies."""
    networks = (Network(Linear(), 8, (0.5,) * 3, (0.2,) * 3),) * 2
    variables = tuple(random_variables(Linear(), i, side=8) for i in range(2))
    weight = np.array([0.25, 0.75], np.float32)
    teachers = Teachers(variables, COVERS, weight, networks)
    rng = np.random.default_rng(3)
    images = jnp.asarray(rng.random((count, 12, 12, 3)), jnp.float32)
    return teachers, images, teachers.applies(rng.integers(0, CLASSES, count))


@pytest.mark.parametrize("at_a_time", [1, 3, 4, 6, 100])
def test_asked_in_parts_they_say_the_same(at_a_time):
    asked = linear_teachers(6)
    rows = jax.jit(partial(Teachers.answer, at_a_time=at_a_time))(*asked)
    np.testing.assert_allclose(rows, asked[0].answer(*asked[1:]), atol=1e-6)
    assert len(np.unique(rows, axis=0)) == 6


def test_asked_in_parts_they_need_less_memory():
    asked = linear_teachers(64)

    def temporary(at_a_time):
        asking = jax.jit(partial(Teachers.answer, at_a_time=at_a_time))
        return asking.lower(*asked).compile().memory_analysis().temp_size_in_bytes

    assert temporary(4) < temporary(0) / 4


def online(**augment):
    config = common.base("x", "train")
    config.distill.update({"mode": "online", "ce_weight": 0.0, "kl_weight": 1.0})
    config.model.image_size = SIDE
    config.augment.update({"mixup_probability": 0.0, **augment})
    config.train.update({"accumulate": 1, "label_smoothing": 0.0})
    return config


def constants(teachers):
    return inputs.Constants(ALL, jnp.zeros(CLASSES), teachers=teachers)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_of_a_mixed_batch_the_teachers_see_the_mixed_images(kind):
    config = online(mixup_probability=1.0, cutmix_share=float(kind == "cutmix"))
    teachers, batch = two_teachers(), random_batch()
    rng, _ = inputs.keys(config.seed, 3)
    seen = inputs.prepare(rng, batch, constants(teachers), config)
    rows = inputs.ask_teachers(seen, constants(teachers), config).teacher
    # How much of an image is of each class says how much each teacher applies to it.
    share = np.asarray(seen.targets, np.float64) @ COVERS.T * teachers.weight
    share /= share.sum(axis=1, keepdims=True)
    expected = sum(
        share[:, i, None] * answers_of(teachers, i, seen.images) for i in range(2)
    )
    np.testing.assert_allclose(rows, expected, atol=2e-6)
    between = (seen.targets.max(axis=1) < 0.999) & (seen.targets.max(axis=1) > 0.001)
    assert between.sum() >= 4
    assert len(np.unique(np.round(share[:, 1], 4))) > 2  # neither asked nor left out


def test_student_and_teacher_see_one_picture_at_their_own_sizes():
    config = online(mixup_probability=1.0)
    config.model.image_size = 16
    teachers = two_teachers((32, 16))
    batch, (rng, _) = random_batch(32), inputs.keys(0, 1)
    seen = inputs.prepare(rng, batch, constants(teachers), config)
    assert seen.rendered.shape[1:] == (32, 32, 3)
    np.testing.assert_allclose(seen.images, smaller(seen.rendered, 16), atol=2e-6)
    view = inputs.make_view(config)(0, batch, constants(teachers))
    assert view.shape == (len(LABEL), 16, 16, 3)
    assert teachers.image_size == 32


def test_classes_that_the_student_does_not_cover_are_left_out():
    config, teachers = online(), two_teachers()
    some = jnp.array([True, True, True, False, False])
    only = inputs.Constants(some, jnp.zeros(CLASSES), teachers=teachers)
    rng, _ = inputs.keys(0, 0)
    seen = inputs.prepare(rng, random_batch(), only, config)
    rows = inputs.ask_teachers(seen, only, config).teacher
    whole = teachers.answer(seen.rendered, seen.applies)
    np.testing.assert_allclose(
        rows[:, :3], whole[:, :3] / whole[:, :3].sum(axis=1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_array_equal(rows[:, 3:], 0)


@pytest.fixture(scope="module")
def stepper():
    """A compiled online step: (batch, constants) -> (state after, metrics)."""
    config, module = online(), tiny_vit(depth=1)
    variables = random_variables(module, 9)
    tx = optimizer.make(config.train, variables["params"])
    train_step = step.make_train_step(module, tx, config)

    def run(batch, given):
        fresh = state.create(jax.tree.map(jnp.copy, variables), tx, ema_decay=0.0)
        after = train_step(fresh, batch, np.float32(0.01), given)
        assert train_step._cache_size() == 1
        return after

    return run


def test_other_teachers_are_another_loss_of_the_same_program(stepper):
    teachers, batch = two_teachers((SIDE, SIDE)), random_batch()
    _, first = stepper(batch, constants(teachers))
    swapped = Teachers(
        teachers.variables[::-1], COVERS, teachers.weight, teachers.networks
    )
    _, second = stepper(batch, constants(swapped))
    assert abs(float(first["loss"]) - float(second["loss"])) > 1e-3


def test_without_a_hard_label_term_labels_do_not_count(stepper):
    """But for whom a regional teacher is asked about: here both are for all plants."""
    teachers = two_teachers((SIDE, SIDE))
    everywhere = Teachers(
        teachers.variables, np.ones_like(COVERS), teachers.weight, teachers.networks
    )
    batch = random_batch()
    shuffled = {**batch, "label": np.roll(LABEL, 2)}
    moments = []
    for given in (batch, shuffled):
        after, metrics = stepper(given, constants(everywhere))
        moments.append((after.params, after.opt_state.moments, metrics["loss"]))
    jax.tree.map(np.testing.assert_array_equal, *moments)
    regional, _ = stepper(shuffled, constants(teachers))
    same = jax.tree.map(np.array_equal, moments[0][0], regional.params)
    assert not all(jax.tree.leaves(same))


def test_on_four_devices_the_losses_are_those_of_one():
    script = Path(__file__).with_name("online_on_devices.py")
    code, out, said = run_script(script, devices=4)
    assert code == 0, said
    found = json.loads(out)
    np.testing.assert_allclose(found["four"], found["one"], rtol=2e-5)
    assert found["apart"] < 2e-3
    assert found["one"][-1] < 0.9 * found["one"][0]
    assert max(found["answers"]) < 1e-6
    assert found["moved"] == []
