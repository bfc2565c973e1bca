"""Arrays of covariances and precisions as scikit-learn shapes them, by covariance structure, and the families behind them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.utils import check_array

from mixtures import COVARIANCES
from mixtures.allocations.dirichlet import Dirichlet
from mixtures.families.scaling import settled
from mixtures.families.symmetric import BY_ONE, inverse_root, outer, substitute
from mixtures.model import Family, Theta
from mixtures.rows.moments import Moments, root_of

MATRICES = ("full", "tied")


def family_of(structure: str, origin: np.ndarray, unit: np.ndarray, prior: Any, missing: bool = False) -> Family:
    """The family of this structure."""
    make: Any = COVARIANCES[structure]
    return make(origin, unit, prior, missing=missing)


def shape_of(structure: str, K: int, D: int) -> tuple[int, ...]:
    """The shape of ``covariances_``."""
    return {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[structure]


def as_array(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Finite numbers of this shape."""
    if shape == () and np.ndim(values) == 0:
        return values
    array = check_array(values, dtype=[np.float64, np.float32], ensure_2d=False, allow_nd=len(shape) == 3)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    return array


def as_weights(values: Any, K: int) -> np.ndarray:
    """Weights (K,) between 0 and 1 that sum to one."""
    pi = as_array(values, (K,), "weights")
    if np.any(pi < 0) or np.any(pi > 1):
        raise ValueError(  # scikit-learn's words, in which the smallest stands for the largest
            "The parameter 'weights' should be in the range [0, 1], "
            f"but got max value {pi.min():.5f}, min value {pi.max():.5f}"
        )
    if not abs(1 - pi.sum()) <= (1e-6 if pi.dtype == np.float32 else 1e-8):
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {pi.sum():.5f}")
    return pi


def check_positive(precision: np.ndarray, name: str) -> None:
    """Refuse precisions, or covariances, that are none; ``name`` is of the structure and of what it is."""
    if name.split()[0] not in MATRICES:
        if np.any(precision <= 0):
            raise ValueError(f"'{name}' should be positive")
        return
    variances = np.diagonal(precision, axis1=-2, axis2=-1)
    if np.all(variances > 0):
        scale = np.sqrt(variances.astype(np.float64))
        correlations = precision / scale[..., None] / scale[..., None, :]  # in which units do not matter
        if np.allclose(correlations, correlations.swapaxes(-1, -2)) and np.all(np.linalg.eigvalsh(correlations) > 0):
            return
    raise ValueError(f"'{name}' should be symmetric, positive-definite")


@lru_cache(100)
def uniform(K: int) -> Dirichlet:
    """Labels under the uniform density of their weights."""
    return Dirichlet.symmetric(K)


def blurred_root(data: Moments, reg_covar: float) -> np.ndarray:
    """The unit in which the rows with noise of this variance are white, (D, D)."""
    root = data.root
    assert root is not None
    if reg_covar > 0:
        root = root_of(np.concatenate([root.T, np.sqrt(float(reg_covar)) * np.eye(len(root))]))
    return settled(root)


def scale_of(unit: np.ndarray, structure: str) -> Any:
    """What a variance of one in the coordinates z is in the units of x."""
    return unit**2 if structure == "diag" else unit[0] ** 2


def in_data_units(family: Family, covariances: np.ndarray, structure: str) -> np.ndarray:
    """``covariances_`` from those of z, in the same shape."""
    if structure in MATRICES and covariances.ndim > 2 and covariances.shape[-1] >= BY_ONE:
        return _one_by_one(family.expand_matrix, covariances)
    if structure in MATRICES:
        return family.expand_matrix(covariances)
    return covariances * scale_of(family.unit, structure)


def precision_roots(family: Family, covariances: np.ndarray, structure: str) -> np.ndarray:
    """``precisions_cholesky_`` from the covariances of z: upper triangular U, or roots of inverse variances.

    Sigma = unit S unit^T and F^T F = S^-1 make U = unit^-T F^T, with all digits that F has.
    """
    if structure not in MATRICES:
        return 1 / np.sqrt(in_data_units(family, covariances, structure))
    if covariances.ndim > 2 and covariances.shape[-1] >= BY_ONE:
        return _one_by_one(lambda own: precision_roots(family, own, structure), covariances)
    sd = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    F = inverse_root(covariances / sd[..., None] / sd[..., None, :]) / sd[..., None, :]
    columns = F.reshape(-1, F.shape[-1]).T
    rows = substitute(family.unit, columns, transposed=True).T
    return np.triu(rows.reshape(F.shape).swapaxes(-1, -2))


def _one_by_one(change: Callable[[np.ndarray], np.ndarray], matrices: np.ndarray) -> np.ndarray:
    """What large matrices (K, D, D) become one after another, so that few are held beside them."""
    changed = np.empty_like(matrices)
    for own, matrix in zip(changed, matrices, strict=True):
        own[:] = change(matrix)
    return changed


def from_roots(family: Family, roots: np.ndarray, structure: str) -> np.ndarray:
    """Covariances of z from roots R of the precisions in the units of x, R R^T."""
    roots = np.asarray(roots, dtype=np.float64)
    if structure not in MATRICES:
        return 1 / roots**2 / scale_of(family.unit, structure)
    inverse = np.linalg.inv(family.unit.T @ roots)
    return inverse.swapaxes(-1, -2) @ inverse


def theta_of(family: Family, means: np.ndarray, roots: np.ndarray, structure: str) -> Theta:
    """Parameters in the family's coordinates from means and roots of precisions, with the shapes of the attributes."""
    covariances = from_roots(family, roots, structure)
    if structure == "tied":
        covariances = np.repeat(covariances[..., None, :, :], means.shape[-2], axis=-3)
    return {"means": family.coordinates(means), "covariances" if structure in MATRICES else "variances": covariances}


def squares(roots: np.ndarray, structure: str) -> np.ndarray:
    """The precisions with these roots."""
    return roots**2 if structure not in MATRICES else roots @ roots.swapaxes(-1, -2)


def expected_statistics(family: Any, counts: np.ndarray, theta: Theta) -> np.ndarray:
    """The state (..., K, P) whose maximum likelihood is theta: the expected statistics of so many points (..., K)."""
    mu, N = theta["means"], counts[..., None]
    return gather(family, counts, N * mu, N[..., None] * (family.covariances(theta) + outer(mu)))


def gather(
    family: Family, N: np.ndarray, first: np.ndarray, second: np.ndarray, seen: np.ndarray | None = None
) -> np.ndarray:
    """s (..., K, P) from the counts (..., K), sums (..., K, D) and second moments (..., K, D, D) of z.

    ``seen`` (..., K, D) counts the rows in which each feature was seen; by default all.
    """
    D = first.shape[-1]
    M = np.empty((*N.shape, D + 1, 2 * D + 1))
    M[..., 0, 0], M[..., 0, 1 : D + 1], M[..., 1:, 1 : D + 1] = N, first, second
    M[..., 0, D + 1 :] = N[..., None] if seen is None else seen
    p, i, j = family.monomials.T
    return np.add.reduceat(M[..., i, j], np.flatnonzero(np.diff(p, prepend=-1)), axis=-1)
