"""The teachers of an online distillation: frozen networks that answer in the step.

Every teacher sees the very images that the student sees, crop, colour, mixup and CutMix
included, and answers for them: the "function matching" of Beyer et al. 2021, "Knowledge
distillation: A good teacher is patient and consistent". The answers are mixed as stage
combine mixes stored ones: probabilities, by weight, of those that apply to an image.

The variables are arguments of the compiled step, never constants in its program. Where
the networks come from: teacher_runs.py.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aplantida_jax.train import device_augment, losses

Mesh = jax.sharding.Mesh | jax.sharding.AbstractMesh


@dataclasses.dataclass(frozen=True)
class Network:
    """What the program of a step knows of a teacher; hashable, without arrays.

    Attributes:
        module: flax module.
        image_size: side in pixels that it was trained with.
        mean, std: of RGB in 0..1, its normalisation.
    """

    module: Any
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Teachers:
    """A pytree of what the teachers' answers are made of.

    Attributes:
        variables: of each network.
        covers: bool [t, c], the classes of each one's region: it answers with these,
            and is asked about images of these.
        weight: float32 [t].
        networks: compiled in.
    """

    variables: tuple[Any, ...]
    covers: Any
    weight: Any
    networks: tuple[Network, ...]

    @property
    def image_size(self) -> int:
        """Side in pixels of the largest network's images."""
        return max(network.image_size for network in self.networks)

    def applies(self, label: jax.Array) -> jax.Array:
        """Which teachers are asked about images of classes int [b]: float32 [b, t]."""
        return jnp.asarray(self.covers, jnp.float32).T[label]

    def answer(
        self,
        images: jax.Array,
        applies: jax.Array,
        *,
        at_a_time: int = 0,
        mesh: Mesh | None = None,
    ) -> jax.Array:
        """The weighted mixture of the probabilities of those that apply.

        Args:
            images: float32 [b, s, s, 3] in 0..1, at least as large as the networks'.
            applies: float32 [b, t]; of a mixed image, mixed with its weights. A row
                has one that is not 0.
            at_a_time: images that each device asks about at once, which bounds the
                memory that this takes; 0 is all of its own.
            mesh: whose devices share the batch, along its first axis; None is one.

        Returns:
            float32 [b, c], rows with sum 1; no gradient passes.
        """

        def of_device(teachers: Teachers, *own: jax.Array) -> jax.Array:
            return _in_parts(teachers._mixture, at_a_time, *own)

        if at_a_time and mesh is not None:
            # By hand: a part of the whole batch would lie on some of the devices only.
            split = jax.sharding.PartitionSpec(mesh.axis_names)
            of_device = jax.shard_map(
                of_device,
                mesh=mesh,
                in_specs=(jax.sharding.PartitionSpec(), split, split),
                out_specs=split,
            )
        return jax.lax.stop_gradient(of_device(self, images, applies))

    def _mixture(self, images: jax.Array, applies: jax.Array) -> jax.Array:
        share = self.weight * applies
        share = share / share.sum(axis=1, keepdims=True)
        rows = jnp.zeros((images.shape[0], self.covers.shape[1]))
        for number, (network, variables) in enumerate(
            zip(self.networks, self.variables, strict=True)
        ):
            seen = device_augment.normalise(
                resize(images, network.image_size), mean=network.mean, std=network.std
            )
            logits = network.module.apply(variables, seen, train=False)
            logits = losses.mask_classes(logits, self.covers[number])
            rows += share[:, number, None] * jax.nn.softmax(logits)
        return rows


jax.tree_util.register_dataclass(
    Teachers,
    data_fields=["variables", "covers", "weight"],
    meta_fields=["networks"],
)


def _in_parts(
    function: Callable[..., jax.Array], size: int, *arrays: jax.Array
) -> jax.Array:
    """function(*arrays), at most `size` rows at a time, one part after the other."""
    count = len(arrays[0])
    if not 0 < size < count:
        return function(*arrays)
    whole = count - count % size
    parts = tuple(a[:whole].reshape(-1, size, *a.shape[1:]) for a in arrays)
    found = jax.lax.map(lambda part: function(*part), parts)
    found = found.reshape(whole, *found.shape[2:])
    if whole == count:
        return found
    return jnp.concatenate([found, function(*(a[whole:] for a in arrays))])


def resize(images: jax.Array, size: int) -> jax.Array:
    """Squares float32 [b, s, s, 3] in 0..1 at a smaller size, with as much detail.

    By Lanczos' filter of radius 3: a bilinear one leaves 0.7 of the detail that
    `transforms.render` gives a picture of the size, and that evaluation sees.
    """
    if images.shape[1] == size:
        return images
    shape = (images.shape[0], size, size, images.shape[3])
    found = jax.image.resize(images, shape, "lanczos3", antialias=True)
    return jnp.clip(found, 0.0, 1.0)  # its lobes overshoot at edges
