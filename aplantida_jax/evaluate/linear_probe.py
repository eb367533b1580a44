"""Logistic regression on frozen features: what a pretrained network knows of plants.

Multinomial, with an L2 penalty, as in Kornblith et al. 2019 ("Do better ImageNet models
transfer better?"): with features x [d] centred and scaled by one number, so that their
mean square is 1, it minimises

    1/n sum_i CE(W^T x_i + b, y_i) + l2/2 (||W||^2 + ||b||^2)

by L-BFGS over all images at once, in float32, from zero. The penalty makes the problem
strictly convex: there is one solution, whatever the order of the images. `choose` takes
the penalty with the least loss on val.

Features are scaled once, for all penalties, and logits made in chunks of rows, and made
again for the gradient, so that memory is for the features as they came, the same scaled
on the device, ten pairs of L-BFGS's vectors and one chunk: 0.5 + 0.5 + 0.9 + 0.8 GB for
94,000 photos, 1,280 features and 8,587 classes. A step is then about 8 TFLOP, seconds
on a GPU and minutes on two CPU cores, and a penalty takes a hundred steps or so. All
products are float32, also where a GPU left alone would take TF32.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from jax import lax

from aplantida_jax.progress import track

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)  # strongest first: each starts from the one before
_CHUNK = 1 << 26  # logits at a time
_BLOCK = 1 << 14  # rows scaled at a time
_TOLERANCE = 1e-4  # of the gradient's norm, against that at zero
_MOST_STEPS = 1000

Weights = dict[str, jax.Array]  # {"kernel" [d, classes], "bias" [classes]}


class Scaling(NamedTuple):
    """What centres features float32 [n, d], and makes their mean square 1."""

    centre: np.ndarray  # float32 [d]
    scale: np.float32

    @classmethod
    def of(cls, features: np.ndarray) -> "Scaling":
        centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        squares = sum(
            np.square(features[i : i + _BLOCK] - centre, dtype=np.float64).sum()
            for i in range(0, len(features), _BLOCK)
        )
        return cls(centre, np.float32(np.sqrt(squares / features.size) or 1.0))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.centre) / self.scale


class Rows(NamedTuple):
    """Scaled features in chunks of equal length, on the device; the last is padded."""

    x: jax.Array  # float32 [chunks, rows, d]
    y: jax.Array  # int32 [chunks, rows]
    present: jax.Array  # float32 [chunks, rows], 0 for padding

    @classmethod
    def of(
        cls, scaling: Scaling, features: np.ndarray, label: np.ndarray, *, classes: int
    ) -> "Rows":
        """From features float32 [n, d] and labels [n]."""
        count = len(label)
        rows = min(count, max(1, _CHUNK // classes))
        chunks = -(-count // rows)
        x = np.zeros((chunks * rows, features.shape[1]), np.float32)
        for i in range(0, count, _BLOCK):
            x[i : i + _BLOCK][: count - i] = scaling(features[i : i + _BLOCK])
        y = np.pad(label.astype(np.int32), (0, chunks * rows - count))
        present = (np.arange(chunks * rows) < count).astype(np.float32)
        return cls(
            *(
                jnp.asarray(a.reshape(chunks, rows, *a.shape[1:]))
                for a in (x, y, present)
            )
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted classifier of features.

    Attributes:
        scaling: of the features.
        weights: float32 {"kernel" [d, classes], "bias" [classes]}.
        l2: the penalty that it was fitted with.
        gradient_norm: of the objective at `weights`.
        converged: whether that is small enough.
    """

    scaling: Scaling
    weights: dict[str, np.ndarray]
    l2: float
    gradient_norm: float
    converged: bool

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, d] -> float32 [n, classes]."""
        return self.scaling(features) @ self.weights["kernel"] + self.weights["bias"]

    def summary(self) -> dict[str, Any]:
        """What an evaluation's JSON says of the fit."""
        return {
            "l2": self.l2,
            "gradient_norm": self.gradient_norm,
            "converged": self.converged,
        }


def choose(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    *,
    classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> LinearProbe:
    """The probe whose penalty gives the least loss on val.

    Args:
        train, val: features float32 [n, d] and labels int32 [n].
        classes: length of the logits.
        penalties: to try, strongest first; each above 0.
    """
    scaling = Scaling.of(train[0])
    rows, held_out = (
        Rows.of(scaling, features, label, classes=classes)
        for features, label in (train, val)
    )
    best, least = None, np.inf
    weights: Weights = {
        "kernel": jnp.zeros((rows.x.shape[-1], classes), jnp.float32),
        "bias": jnp.zeros((classes,), jnp.float32),
    }
    for l2 in penalties:
        weights, norm, converged = fit(rows, l2=l2, start=weights)
        loss = float(_objective(weights, held_out, 0.0))
        logging.info("linear probe: l2 %g, loss on val %.4f", l2, loss)
        if loss < least:
            kept = jax.tree.map(np.asarray, weights)
            best, least = LinearProbe(scaling, kept, l2, norm, converged), loss
    if best is None:
        raise ValueError("no penalty gives a finite loss")
    return best


def fit(rows: Rows, *, l2: float, start: Weights) -> tuple[Weights, float, bool]:
    """The minimum for one penalty, by L-BFGS.

    Args:
        rows: to learn.
        l2: above 0.
        start: where to begin.

    Returns:
        The weights, the gradient's norm there, and whether it is small enough.
    """
    zero = jax.tree.map(jnp.zeros_like, start)
    tolerance = _TOLERANCE * float(_gradient_norm(zero, rows, l2))
    weights, state, norm = start, _SOLVER.init(start), float("inf")
    what = f"linear probe, l2 {l2:g}"
    for _ in track(range(_MOST_STEPS), total=None, what=what, unit="steps"):
        stepped, state, gradient_norm = _step(weights, state, rows, l2)
        norm = float(gradient_norm)
        if norm <= tolerance:
            return weights, norm, True
        weights = stepped
    norm = float(_gradient_norm(weights, rows, l2))
    logging.warning(
        "linear probe: l2 %g: the gradient is still %.2g after %d steps, not %.2g",
        *(l2, norm, _MOST_STEPS, tolerance),
    )
    return weights, norm, norm <= tolerance


@jax.jit
def _objective(weights: Weights, rows: Rows, l2: float) -> jax.Array:
    @jax.checkpoint
    def add(total: jax.Array, chunk: Rows) -> tuple[jax.Array, None]:
        logits = jnp.matmul(
            chunk.x, weights["kernel"], precision=lax.Precision.HIGHEST
        )  # [rows, classes]
        loss = optax.softmax_cross_entropy_with_integer_labels(
            logits + weights["bias"], chunk.y
        )
        return total + (loss * chunk.present).sum(), None

    total, _ = jax.lax.scan(add, jnp.zeros((), jnp.float32), rows)
    squares = sum((leaf**2).sum() for leaf in jax.tree.leaves(weights))
    return total / rows.present.sum() + l2 / 2 * squares


_SOLVER = optax.lbfgs(memory_size=10)


@jax.jit
def _step(
    weights: Weights, state: Any, rows: Rows, l2: float
) -> tuple[Weights, Any, jax.Array]:
    """The weights after one L-BFGS step, and the gradient's norm at those before."""

    def objective(candidate: Weights) -> jax.Array:
        return _objective(candidate, rows, l2)

    # L-BFGS's own inner products too.
    with jax.default_matmul_precision("float32"):
        value, gradient = optax.value_and_grad_from_state(objective)(
            weights, state=state
        )
        updates, state = _SOLVER.update(
            gradient, state, weights, value=value, grad=gradient, value_fn=objective
        )
    return optax.apply_updates(weights, updates), state, optax.tree.norm(gradient)


@jax.jit
def _gradient_norm(weights: Weights, rows: Rows, l2: float) -> jax.Array:
    return optax.tree.norm(jax.grad(_objective)(weights, rows, l2))
