"""Mixup and CutMix on the device: images [b, h, w, 3] and target rows [b, c].

Mixup: Zhang et al. 2018. CutMix: Yun et al. 2019. One partner and one weight a batch,
as the papers' reference code does; any number of target matrices is mixed alike.
"""

from typing import Any

import jax
import jax.numpy as jnp

Targets = tuple[jax.Array, ...]


def mix(
    rng: jax.Array, images: jax.Array, targets: Targets, *, augment: Any
) -> tuple[jax.Array, Targets]:
    """Applies neither, mixup or cutmix.

    Args:
        rng: key.
        images: float [b, h, w, 3].
        targets: matrices [b, c] whose rows are mixed with the images' weights.
        augment: `config.augment`; `mixup_probability` of mixing at all, `cutmix_share`
            of it by cutmix (the one whose alpha is 0 never).

    Returns:
        The mixed images and targets.
    """
    cutmix_share = _cutmix_share(augment)
    if augment.mixup_probability == 0 or cutmix_share is None:
        return images, targets
    rng_kind, rng_mix = jax.random.split(rng)
    draw = jax.random.uniform(rng_kind)
    kind = jnp.where(
        draw >= augment.mixup_probability,
        0,
        jnp.where(draw < augment.mixup_probability * (1 - cutmix_share), 1, 2),
    )
    mixup_alpha = augment.mixup_alpha or 1.0
    cutmix_alpha = augment.cutmix_alpha or 1.0
    return jax.lax.switch(
        kind,
        [
            lambda: (images, targets),
            lambda: _mixup(rng_mix, images, targets, mixup_alpha),
            lambda: _cutmix(rng_mix, images, targets, cutmix_alpha),
        ],
    )


def _cutmix_share(augment: Any) -> float | None:
    """Of the batches that are mixed; None when both alphas are 0."""
    if augment.mixup_alpha > 0 and augment.cutmix_alpha > 0:
        return augment.cutmix_share
    if augment.mixup_alpha > 0 or augment.cutmix_alpha > 0:
        return float(augment.cutmix_alpha > 0)
    return None


def _mixup(
    rng: jax.Array, images: jax.Array, targets: Targets, alpha: float
) -> tuple[jax.Array, Targets]:
    weight = jax.random.beta(rng, alpha, alpha)
    mixed = weight * images + (1 - weight) * images[::-1]
    return mixed, _mix_targets(targets, weight)


def _cutmix(
    rng: jax.Array, images: jax.Array, targets: Targets, alpha: float
) -> tuple[jax.Array, Targets]:
    height, width = images.shape[1:3]
    rng_weight, rng_y, rng_x = jax.random.split(rng, 3)
    side = jnp.sqrt(1 - jax.random.beta(rng_weight, alpha, alpha))
    inside = _inside(rng_y, height, side)[:, None] & _inside(rng_x, width, side)
    mixed = jnp.where(inside[None, :, :, None], images[::-1], images)
    # The box is clipped at the border: the weight is what was really kept.
    return mixed, _mix_targets(targets, 1 - jnp.mean(inside))


def _inside(rng: jax.Array, length: int, side: jax.Array) -> jax.Array:
    """bool [length]: within half of `side * length` of a random centre."""
    centre = jax.random.uniform(rng) * length
    return jnp.abs(jnp.arange(length) + 0.5 - centre) < side * length / 2


def _mix_targets(targets: Targets, weight: jax.Array) -> Targets:
    return tuple(weight * t + (1 - weight) * t[::-1] for t in targets)
