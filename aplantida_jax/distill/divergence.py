"""What packing costs: KL of dense rows against what the loss makes of packed ones.

At temperature 1, and as the loss counts it, T^2 KL of the softened rows. The two can
lie far apart: softening lifts the tail, of which a packed row knows the mass alone, see
`losses.expand_soft_labels`.
"""

from typing import Any

import jax
import numpy as np
import scipy.special

from aplantida_jax.distill.rows import Layout, unpack
from aplantida_jax.train import losses

_expand = jax.jit(losses.expand_soft_labels)


def divergence(
    probability: np.ndarray,
    rows: np.ndarray,
    layout: Layout,
    covers: np.ndarray,
    *,
    temperature: float = 1.0,
) -> np.ndarray:
    """T^2 KL(dense_T || packed_T) in nats, float64 [n].

    Args:
        probability: float [n, c], the rows before packing.
        rows: [n], what `rows.pack` made of them.
        layout: of the rows.
        covers: bool [t, c], the classes that each teacher covers.
        temperature: T, see `losses.distillation_loss`.
    """
    packed = read(rows, layout, covers)
    softened = [_softened(p, temperature) for p in (probability, packed)]
    return temperature**2 * scipy.special.rel_entr(*softened).sum(axis=1)


def read(rows: np.ndarray, layout: Layout, covers: np.ndarray) -> np.ndarray:
    """What a student of all classes reads in rows [n]: float64 [n, c], sum 1."""
    if not len(rows):
        return np.empty((0, layout.classes))
    # By powers of two, so that few shapes are compiled.
    padded = np.resize(rows, 1 << (len(rows) - 1).bit_length())
    every = np.ones(layout.classes, bool)
    dense = _expand(**unpack(padded, layout), covers=covers, class_mask=every)
    return np.asarray(dense[: len(rows)], np.float64)


def metrics(
    plain: np.ndarray, softened: np.ndarray, *, temperature: float
) -> dict[str, Any]:
    """Of divergences [n] at temperature 1 and at T, for a manifest; n may be 0."""
    if not len(plain):
        return {"kl_rows": 0}
    return {
        "kl_rows": len(plain),
        "kl_mean": float(np.mean(plain)),
        "kl_99th_percentile": float(np.percentile(plain, 99)),
        "kl_temperature": temperature,
        "kl_mean_at_temperature": float(np.mean(softened)),
        "kl_99th_percentile_at_temperature": float(np.percentile(softened, 99)),
    }


def in_words(measured: dict[str, Any]) -> str:
    """`metrics` of some rows."""
    return (
        "{kl_mean:.2g} nats of KL on average, at most {kl_99th_percentile:.2g} in 99 % "
        "of {kl_rows} rows; in the loss, at temperature {kl_temperature:g}, "
        "{kl_mean_at_temperature:.2g} and {kl_99th_percentile_at_temperature:.2g}"
    ).format(**measured)


def _softened(probability: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), renormalised; float64 [n, c]."""
    powers = np.asarray(probability, np.float64) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)
