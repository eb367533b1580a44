"""What a training step makes of a batch: augmented images and the rows to learn.

A function of the state's step and the run's seed alone, so that what TensorBoard and
`preview` show of a batch is what the network saw.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from aplantida_jax.train import device_augment, losses, mixup
from aplantida_jax.train.teachers import Mesh, Teachers, resize

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Constants:
    """Arrays that a run's steps share; arguments, not compiled in.

    Attributes:
        class_mask: bool [c], the classes that the model answers with.
        log_prior: float32 [c], log of the frequencies at which classes are drawn (for
            logit adjustment).
        class_weight: float32 [c], of the cross-entropy of an image of the class; None
            is 1 for all.
        teachers: of an online distillation, else None.
        covers: bool [t, c], the classes that each teacher of the soft labels covers;
            None without soft labels.
    """

    class_mask: jax.Array
    log_prior: jax.Array
    class_weight: jax.Array | None = None
    teachers: Teachers | None = None
    covers: jax.Array | None = None


jax.tree_util.register_dataclass(
    Constants,
    data_fields=["class_mask", "log_prior", "class_weight", "teachers", "covers"],
    meta_fields=[],
)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A batch as the step uses it.

    Attributes:
        images: float32 [b, h, w, 3] in 0..1, as the student sees them.
        targets: float32 [b, c], rows with sum 1.
        weighted: the same with each image's share times its class weight.
        teacher: float32 [b, c], rows with sum 1; None without any, or if they are
            still to be asked.
        rendered: float32 [b, s, s, 3], the images as large as they were rendered.
        applies: float32 [b, t], how much each of the teachers that are to be asked
            applies to an image; None when they are not.
    """

    images: jax.Array
    targets: jax.Array
    weighted: jax.Array
    teacher: jax.Array | None
    rendered: jax.Array
    applies: jax.Array | None = None


def keys(seed: int, step: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """The random keys of a step: for its images, for the network's dropout."""
    rng = jax.random.fold_in(jax.random.key(seed), step)
    rng_images, rng_dropout = jax.random.split(rng)
    return rng_images, rng_dropout


def prepare(rng: jax.Array, batch: Batch, constants: Constants, config: Any) -> Inputs:
    """Colour, erasing and mixup or cutmix of a batch's images and targets.

    Args:
        rng: the first of `keys`.
        batch: image uint8 [b, h, w, 3], label int [b], teachers' rows if distilling;
            `seed` uint32 [b] of the colours where recorded views are replayed.
        constants: of the run.
        config: the whole configuration.
    """
    rng_colour, rng_mix = jax.random.split(rng)
    images = _coloured(rng_colour, batch, config.augment)
    rows = _rows(batch, constants, config)
    rendered, mixed = mixup.mix(
        rng_mix, images, tuple(rows.values()), augment=config.augment
    )
    found = dict(zip(rows, mixed, strict=True))
    images = rendered
    if config.distill.mode == "online":
        images = resize(rendered, config.model.image_size)
    return Inputs(
        images=images,
        targets=found["targets"],
        weighted=found.get("weighted", found["targets"]),
        teacher=found.get("teacher"),
        rendered=rendered,
        applies=found.get("applies"),
    )


def _rows(batch: Batch, constants: Constants, config: Any) -> dict[str, jax.Array]:
    """What is mixed with the images' weights: fields of Inputs [b, ...], by name."""
    targets = losses.smoothed_targets(
        batch["label"], constants.class_mask, smoothing=config.train.label_smoothing
    )
    rows = {"targets": targets}
    if constants.class_weight is not None:
        # Before the mixing: each image brings its own weight into the mixture.
        rows["weighted"] = targets * constants.class_weight[batch["label"]][:, None]
    if config.distill.mode == "online":
        assert constants.teachers is not None
        rows["applies"] = constants.teachers.applies(batch["label"])
    if config.distill.mode == "precomputed":
        assert constants.covers is not None
        rows["teacher"] = losses.expand_soft_labels(
            batch["teacher_class"],
            batch["teacher_logprob"],
            batch["teacher_tail"],
            constants.covers,
            constants.class_mask,
        )
    return rows


def _coloured(rng: jax.Array, batch: Batch, augment: Any) -> jax.Array:
    """The images in 0..1, in colours of their recorded views if they have such."""
    images = device_augment.to_unit(batch["image"])
    if "seed" in batch:
        return device_augment.replay(batch["seed"], images, augment=augment)
    return device_augment.augment(rng, images, augment=augment)


def ask_teachers(
    inputs: Inputs,
    constants: Constants,
    config: Any,
    mesh: Mesh | None = None,
) -> Inputs:
    """The inputs with the answers of the teachers that are to be asked, if any are.

    `mesh` is of the devices that share the batch; None is one.
    """
    if inputs.applies is None or constants.teachers is None:
        return inputs
    rows = constants.teachers.answer(
        *(inputs.rendered, inputs.applies),
        at_a_time=config.distill.teacher_batch_size,
        mesh=mesh,
    )
    rows = losses.renormalise(rows, constants.class_mask)
    return dataclasses.replace(inputs, teacher=rows)


def make_view(
    config: Any, sharding: jax.sharding.Sharding | None = None
) -> Callable[[ArrayLike, Batch, Constants], jax.Array]:
    """(step, batch, constants) -> uint8 [b, h, w, 3], what the network sees of a batch.

    The images after all augmentation, mixup and cutmix included, but for the
    normalisation with the dataset's constants; placed as `sharding` says.
    """

    def view(step: ArrayLike, batch: Batch, constants: Constants) -> jax.Array:
        rng, _ = keys(config.seed, step)
        images = prepare(rng, batch, constants, config).images
        return jnp.round(images * 255).astype(jnp.uint8)

    return jax.jit(view, out_shardings=sharding)
