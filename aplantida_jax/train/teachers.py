"""The teachers of an online distillation: frozen networks that answer in the step.

Every teacher sees the very images that the student sees, crop, colour, mixup and CutMix
included, and answers for them: the "function matching" of Beyer et al. 2021, "Knowledge
distillation: A good teacher is patient and consistent". The answers are mixed as stage
combine mixes stored ones: probabilities, by weight, of those that apply to an image.

The variables are arguments of the compiled step, never constants in its program. Where
the networks come from: teacher_runs.py.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from aplantida_jax.train import device_augment, losses


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

    def answer(self, images: jax.Array, applies: jax.Array) -> jax.Array:
        """The weighted mixture of the probabilities of those that apply.

        Args:
            images: float32 [b, s, s, 3] in 0..1, at least as large as the networks'.
            applies: float32 [b, t]; of a mixed image, mixed with its weights. A row
                has one that is not 0.

        Returns:
            float32 [b, c], rows with sum 1; no gradient passes.
        """
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
        return jax.lax.stop_gradient(rows)


jax.tree_util.register_dataclass(
    Teachers,
    data_fields=["variables", "covers", "weight"],
    meta_fields=["networks"],
)


def resize(images: jax.Array, size: int) -> jax.Array:
    """Squares float32 [b, s, s, 3] at another size, antialiased, in their range."""
    if images.shape[1] == size:
        return images
    shape = (images.shape[0], size, size, images.shape[3])
    return jax.image.resize(images, shape, "linear", antialias=True)
