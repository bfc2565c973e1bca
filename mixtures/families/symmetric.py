"""Symmetric matrices of any batch axes: packed beside a vector and a number, factored and inverted."""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np
from scipy.linalg.lapack import dtrtri, dtrtrs

# Features from which triangular matrices are inverted one by one, in an eighth of the operations.
BY_ONE = 10

# Numbers in matrices beyond which their products are formed one by one, to hold few of them.
TOGETHER = 20_000


def symmetric(A: np.ndarray) -> np.ndarray:
    """(A + A^T) / 2 of each matrix, without the asymmetry of rounding."""
    return (A + A.swapaxes(-1, -2)) / 2


@cache
def triangle(D: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries i <= j of a (D, D) matrix."""
    return np.triu_indices(D)


@cache
def products(D: int) -> np.ndarray:
    """Rows (p, i, j) of the products z_i z_j for 0 <= i <= j <= D, shape (P, 3)."""
    first, second = np.triu_indices(D + 1)
    return np.column_stack([np.arange(len(first)), first, second])


@cache
def halves(D: int) -> np.ndarray:
    """What each product z_i z_j with i <= j stands for, -1/2 where i = j and twice as much elsewhere, shape (P - 1 - D,)."""
    i, j = triangle(D)
    return np.where(i == j, -0.5, -1.0)


@cache
def places(D: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the products i <= j, their places in a flattened (D, D) matrix; and for each entry of the matrix its place in s."""
    i, j = triangle(D)
    matrix = np.empty((D, D), int)
    matrix[i, j] = matrix[j, i] = 1 + D + np.arange(len(i))
    return D * i + j, matrix


def pack(constant: np.ndarray, linear: np.ndarray, Lambda: np.ndarray) -> np.ndarray:
    """Join the parts of eta; each product with i < j stands for two equal entries of -1/2 Lambda."""
    D = Lambda.shape[-1]
    eta = np.empty((*constant.shape, 1 + D + D * (D + 1) // 2))
    eta[..., 0], eta[..., 1 : 1 + D] = constant, linear
    if D < BY_ONE:
        eta[..., 1 + D :] = Lambda.reshape(*Lambda.shape[:-2], D * D).take(places(D)[0], axis=-1)
    else:
        for own, matrix in zip(eta.reshape(-1, eta.shape[-1]), Lambda.reshape(-1, D * D), strict=True):
            matrix.take(places(D)[0], out=own[1 + D :], mode="clip")
    eta[..., 1 + D :] *= halves(D)
    return eta


def unpack(s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split s into counts (...), sums (..., D) and full second moments (..., D, D)."""
    D = (isqrt(8 * s.shape[-1] + 1) - 3) // 2
    return s[..., 0], s[..., 1 : 1 + D], s.take(places(D)[1], axis=-1)


def substitute(L: np.ndarray, b: np.ndarray, transposed: bool = False) -> np.ndarray:
    """L^-1 b, or L^-T b, of a lower triangular matrix (D, D) and columns (D, ...), by substitution."""
    if not b.size:
        return np.array(b, dtype=float)
    z, info = dtrtrs(
        L.T, b, lower=0, trans=not transposed
    )  # the transposed matrix is an upper triangle in Fortran's order
    if info > 0:
        raise np.linalg.LinAlgError(f"the triangular matrix is singular: its entry {info} on the diagonal is zero")
    return z.reshape(b.shape)


def log_det(A: np.ndarray) -> np.ndarray:
    """Log of the absolute determinant of each matrix."""
    return np.linalg.slogdet(A)[1]


def inverse_root(A: np.ndarray) -> np.ndarray:
    """The lower triangular F with F^T F = A^-1 of each symmetric positive definite matrix: it keeps every digit there is."""
    if A.shape[-1] == 1:
        if not (A > 0).all():
            raise np.linalg.LinAlgError("a variance is not positive")
        return 1 / np.sqrt(A)
    L = np.linalg.cholesky(A)
    if A.shape[-1] < BY_ONE:
        return np.linalg.inv(L)
    for own in L.reshape(-1, *L.shape[-2:]):
        dtrtri(own.T, lower=0, overwrite_c=1)  # the transposed matrix is an upper triangle in Fortran's order: in place
    return L


def precision(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A^-1 and its log determinant of each symmetric positive definite matrix; see `TOGETHER`."""
    if A.shape[-1] == 1:
        F = inverse_root(A)
        return F * F, 2 * np.log(F[..., 0, 0])
    if A.shape[-1] < BY_ONE or A.size <= TOGETHER:
        F = inverse_root(A)
        return F.swapaxes(-1, -2) @ F, 2 * log_diagonal(F)
    inverse, log_dets = np.empty_like(A), np.empty(A.shape[:-2])
    for i in np.ndindex(log_dets.shape):
        F = inverse_root(A[i])
        np.matmul(F.T, F, out=inverse[i])
        log_dets[i] = 2 * log_diagonal(F)
    return inverse, log_dets


def log_diagonal(F: np.ndarray) -> np.ndarray:
    """Log determinant of each triangular matrix with a positive diagonal."""
    return np.log(F.diagonal(axis1=-2, axis2=-1)).sum(-1)


def outer(a: np.ndarray) -> np.ndarray:
    """a a^T of each vector."""
    return a[..., :, None] * a[..., None, :]


def times(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A b of each matrix and vector."""
    return (A @ b[..., None])[..., 0]
