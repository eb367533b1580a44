"""A trained head at another rank, dense or factorised: pure functions of numpy arrays.

Dense to rank R is by the singular value decomposition: with W = U S V^T, of a kernel
W [d, c], the head is

    head_in/kernel = U_R sqrt(S_R) [d, R]     head/kernel = sqrt(S_R) V_R^T [R, c]

Of all products of that rank it is the nearest to W, in the Frobenius norm and in the
spectral one (Eckart and Young 1936, "The approximation of one matrix by another of
lower rank"; Mirsky 1960). The root gives both kernels one scale, so that one learning
rate fits both. The bias stays.
"""

from collections.abc import Mapping

import numpy as np
from absl import logging

from aplantida_jax.errors import UserError

Arrays = dict[str, np.ndarray]

_IN, _OUT = "head_in/kernel", "head/kernel"


def factorise(kernel: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The best product of a rank in place of a matrix.

    Args:
        kernel: [d, c].
        rank: from 1 to min(d, c).

    Returns:
        float32 [d, rank], float32 [rank, c], and the share of the energy, the sum of
        the squared singular values, that they keep.

    Raises:
        UserError: no matrix of this size has the rank.
    """
    most = min(kernel.shape)
    if not 1 <= rank <= most:
        raise UserError(
            f"--config.model.head_rank={rank} is not possible for a head of "
            f"{kernel.shape[0]} features and {kernel.shape[1]} classes: it must be "
            f"from 1 to {most}, or 0 for a dense head",
            exit_code=2,
        )
    u, s, vt = np.linalg.svd(kernel.astype(np.float64), full_matrices=False)
    root = np.sqrt(s[:rank])
    energy = np.sum(s**2)
    kept = float(np.sum(s[:rank] ** 2) / energy) if energy else 1.0
    head_in, head = u[:, :rank] * root, root[:, None] * vt[:rank]
    return head_in.astype(np.float32), head.astype(np.float32), kept


def change(arrays: Mapping[str, np.ndarray], rank: int, *, under: str = "") -> Arrays:
    """Parameters with the head at another rank; as they are if it has that already.

    Args:
        arrays: by path; the head's kernels are those named above.
        rank: 0 is dense.
        under: what stands before "head" in the paths, e.g. "params/".

    Raises:
        UserError: see `factorise`.
    """
    inner, outer = under + _IN, under + _OUT
    before = arrays[inner].shape[1] if inner in arrays else 0
    if rank == before:
        return dict(arrays)
    others = {n: a for n, a in arrays.items() if n not in (inner, outer)}
    dense = arrays[outer]
    if before:
        dense = (arrays[inner].astype(np.float64) @ dense).astype(np.float32)
    if rank == 0:
        logging.info("the head is the dense product of one of rank %d", before)
        return {**others, outer: dense}
    head_in, head, kept = factorise(dense, rank)
    logging.info(
        "the head has rank %d of %d, by SVD of the trained one: it keeps %.2f %% of "
        "its energy in %.2f million weights",
        *(rank, min(dense.shape), 100 * kept, (head_in.size + head.size) / 1e6),
    )
    return {**others, inner: head_in, outer: head}
