"""The one pass over rows of many correlated features by a matrix product for each cluster: nothing is compiled or loaded.

With U_k the upper triangle of the coefficients of z_i z_j, a block Z of B points (B, D) is

    rho_k = eta_k0 + sum_i z_i (h_ki + (Z U_k)_i)        (B,)
    s_k  += (diag(r_k)^(1/2) Z)^T (diag(r_k)^(1/2) Z)    (D, D)

Of both products BLAS computes a triangle alone. `mixtures.engines.wide` takes a second and 110 MB to load.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.linalg.blas import dtrmm

from mixtures.engines.responsibilities import drawn, normalise
from mixtures.model import Family

BLOCK = 1024

# Features of which blocks are formed; where there are more, and few clusters, they are better left unformed.
FEATURES = 128


def in_rows(family: Family, K: int, P: int) -> bool:
    """Whether to leave the features unformed: they are all products z_i z_j, i <= j, and to form them twice costs more."""
    D = len(family.unit)
    return P > FEATURES and 2 * K <= D + 1 and np.array_equal(family.monomials[:, 1:], _products(D))


@cache
def parts_of_features(D: int, P: int, by_rows: bool) -> np.ndarray:
    """Where the parts of the features begin and the last one ends, shape (parts + 1,); by rows, part i is z_i z_j, j >= i."""
    left = np.arange(D + 1, -1, -1)
    return P - left * (left + 1) // 2 if by_rows else np.append(np.arange(0, P, FEATURES), P)


@cache
def _products(D: int) -> np.ndarray:
    return np.column_stack(np.triu_indices(D + 1))


def pass_(
    family: Family, x: np.ndarray, weights: np.ndarray | None, eta: np.ndarray, u: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log_z and the sufficient statistics, expected or of drawn labels; see `mixtures.engines.plain.pass_`."""
    runs = eta.reshape(-1, *eta.shape[-2:])
    u = None if u is None else u.reshape(len(runs), -1)
    log_z, s = np.zeros(len(runs)), np.zeros_like(runs)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        z = family.coordinates(x[rows])
        for run, own in enumerate(runs):
            own_log_z, r = normalise(log_rho(z, own))
            if u is not None:
                r = drawn(r, u[run, rows])
            if weights is not None:
                own_log_z, r = own_log_z * weights[rows], r * weights[rows, None]
            log_z[run] += own_log_z.sum()
            s[run] += sums(z, r)
    return log_z.reshape(eta.shape[:-2]), s.reshape(eta.shape)


def log_rho(z: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """t(z_n) . eta_k of points z (N, D) under eta (K, P), shape (N, K)."""
    D = z.shape[1]
    U, rho = np.zeros(D * D), np.empty((len(z), len(eta)))
    for k, own in enumerate(eta):
        U[upper(D)] = own[1 + D :]
        product = dtrmm(1.0, U.reshape(D, D).T, z.T, lower=True).T  # Z U, as (U^T Z^T)^T in Fortran's order
        product += own[1 : 1 + D]
        rho[:, k] = own[0] + np.einsum("nd,nd->n", product, z)
    return rho


def sums(z: np.ndarray, r: np.ndarray) -> np.ndarray:
    """sum_n r_nk t(z_n) of points z (N, D) and responsibilities r (N, K), shape (K, P)."""
    D = z.shape[1]
    s = np.empty((r.shape[1], 1 + D + D * (D + 1) // 2))
    for own, r_k in zip(s, r.T, strict=True):
        rows = np.flatnonzero(r_k)
        some, r_k = z[rows], r_k[rows]
        own[0], own[1 : 1 + D] = r_k.sum(), r_k @ some
        some *= np.sqrt(r_k)[:, None]
        own[1 + D :] = (some.T @ some).ravel()[upper(D)]  # of which numpy computes a triangle
    return s


@cache
def upper(D: int) -> np.ndarray:
    """Places of the entries i <= j in a flattened (D, D) matrix."""
    i, j = np.triu_indices(D)
    return D * i + j
