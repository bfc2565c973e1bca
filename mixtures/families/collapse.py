"""Clusters that maximum likelihood cannot have: without points, or too tight for the digits of their statistics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from mixtures.errors import CollapseError
from mixtures.families.symmetric import inverse_root

# E[zz^T] - E[z]E[z]^T keeps about -log10(eps / v) digits, v a cluster's variance over its mean square about the origin: at
# 1e-9, six or seven.
SMALLEST_VARIANCE = 1e-9

# The same where correlated values are integrated out, by an inverse of an inverse.
SMALLEST_OF_LINKED = 1e-7

# Stands for mean squares of zero, or less where a state was guessed.
FLOOR = 1e-200


def refuse_empty(N: np.ndarray) -> None:
    """Refuse clusters without points, where maximum likelihood has no answer; N has shape (..., K)."""
    empty = N < 1e-8
    if empty.any():
        raise CollapseError(
            f"cluster {int(np.argmin(N)) % N.shape[-1]} is empty; use fewer components, other starts, or a prior "
            "(by MAP or variational Bayes)",
            empty.any(-1),
        )


def refuse_collapse(variance: np.ndarray, least: float) -> None:
    """Refuse clusters too tight for their digits; ``variance`` (..., K) is what `least_variance` or `over` gives."""
    tight = ~(variance > least)
    if tight.any():
        raise CollapseError(
            f"cluster {int(np.argmin(variance)) % variance.shape[-1]} collapsed: its smallest variance is zero to rounding; "
            "use fewer components, other starts, a positive reg_covar, or a prior (by MAP or variational Bayes)",
            tight.any(-1),
        )


def refuse_tight(variances: np.ndarray, least: float) -> None:
    """Refuse clusters too tight beside the spread of all rows, which is 1; ``variances`` has shape (..., K, D).

    A cluster at the origin keeps its digits, but the bound, whose terms are as large as the precisions, does not: one of equal
    rows would shrink until it seems to have converged. ``least`` is the family's; a smaller one stands for clusters that have
    origins of their own (`mixtures.ascent.centred`).
    """
    if least >= SMALLEST_VARIANCE:
        refuse_collapse(variances.min(-1), SMALLEST_VARIANCE)


def least_variance(A: np.ndarray, taken: np.ndarray, lowest: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The smallest eigenvalue of each A in units of the mean squares of the features about the origin, shape (...).

    Parameters
    ----------
    A : ndarray, shape (..., D, D)
        What is left of second moments once those of the means were taken off.
    taken : ndarray, shape (..., D)
        The diagonals of what was taken off.
    lowest : callable
        From A to a bound below the eigenvalues of each. Where over the largest square it is enough for all, that is returned.
    """
    with suppress(np.linalg.LinAlgError):
        bound = lowest(A) / (A.max() + taken.max())
        if (bound > SMALLEST_VARIANCE).all():
            return bound
    scale = np.sqrt(np.maximum(np.diagonal(A, axis1=-2, axis2=-1) + taken, FLOOR))
    correlations = A / scale[..., :, None]
    correlations /= scale[..., None, :]
    return np.linalg.eigvalsh(correlations)[..., 0]


def smallest_eigenvalue(A: np.ndarray) -> np.ndarray:
    """That of each symmetric matrix, or where it takes less time the bound 1 / tr(A^-1) below it."""
    if A.shape[-1] == 1:
        return A[..., 0, 0]
    if A.shape[-1] <= 4:
        return np.linalg.eigvalsh(A)[..., 0]
    F = inverse_root(A)
    return 1 / np.einsum("...ij,...ij->...", F, F)


def over(variance: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Variances in units of the mean squares about the origin, from which the squared means ``taken`` were taken off."""
    return variance / np.maximum(variance + taken, FLOOR)
