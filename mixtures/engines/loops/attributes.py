"""Means and covariances at a state, in the units of the data, in one compiled call for all clusters of any structure.

They are the formulas of the families, in whose files the equation numbers stand, and of `mixtures.estimators.structures`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.softmax import EXACT
from mixtures.engines.steps import DIAGONAL, EMPTY, FLOOR, FULL, TIED, cholesky, precision
from mixtures.engines.triangles import invert


@njit(nogil=True, error_model="numpy", fastmath=EXACT)
def _matrices(S, unit, W, L, F, covariance, root, inverse):
    """The covariance unit S unit^T, the upper triangular U with U U^T its inverse, and the inverse; W, L and F are room.

    With F^T F = S^-1, U = unit^-T F^T. Returns whether S is positive definite.
    """
    D = len(S)
    for i in range(D):
        F[i, i] = np.sqrt(max(S[i, i], FLOOR))
    for i in range(D):
        for j in range(i + 1):
            W[i, j] = S[i, j] / F[i, i] / F[j, j]
    if not cholesky(W, L):
        return False
    invert(L, F)
    for j in range(D):
        sd = np.sqrt(max(S[j, j], FLOOR))
        for i in range(j, D):
            W[i, j] = F[i, j] / sd
    for j in range(D):  # column j of U solves unit^T u = row j of F
        for i in range(j + 1, D):
            root[i, j] = 0.0
        for i in range(j, -1, -1):
            total = W[j, i]
            for k in range(i + 1, j + 1):
                total -= unit[k, i] * root[k, j]
            root[i, j] = total / unit[i, i]
    for i in range(D):
        for j in range(D):
            total = 0.0
            for k in range(j + 1):
                total += S[i, k] * unit[j, k]
            L[i, j] = total
    for i in range(D):
        for j in range(i + 1):
            total, own = 0.0, 0.0
            for k in range(i + 1):
                total += unit[i, k] * L[k, j]
            for k in range(i, D):
                own += root[i, k] * root[j, k]
            covariance[i, j] = covariance[j, i] = total
            inverse[i, j] = inverse[j, i] = own
    return True


@njit(nogil=True, error_model="numpy")
def describe(
    s,
    structure,
    bayes,
    m0,
    beta0,
    dof0,
    scale0,
    least,
    origin,
    unit,
    means,
    beta,
    dof,
    covariances,
    roots,
    inverses,
):
    """Fill in the last six from the state s (K, P); whether no cluster is empty or too tight for its digits.

    Parameters
    ----------
    s, structure, bayes, m0, beta0, dof0, scale0, least
        See `mixtures.engines.steps.step`.
    origin, unit : ndarray, shape (D,) and (D, D), or (1, D)
    means : ndarray, shape (K, D)
    beta, dof : ndarray, shape (K,)
        Of the posterior; of Gammas, twice their shape.
    covariances, roots, inverses : ndarray, shape (K, D, D), (1, D, D), (K, 1, D) or (K, 1, 1)
        W^-1 / dof, of maximum likelihood the covariance; the root U of its inverse U U^T; the inverse.
    """
    K, D = means.shape
    taken, A, W, L, F = np.zeros(D), np.zeros((D, D)), np.zeros((D, D)), np.zeros((D, D)), np.zeros((D, D))
    m, total = np.empty(D), dof0
    for k in range(K):
        N = s[k, 0]
        if not bayes and N < EMPTY:
            return False
        beta[k] = beta0 + N
        square, before = 0.0, 0.0
        for i in range(D):
            m[i] = (beta0 * m0[i] + s[k, 1 + i]) / beta[k]
            square += beta[k] * m[i] ** 2
            before += beta0 * m0[i] ** 2
        for i in range(D):
            if structure in (FULL, TIED):
                moved = 0.0
                for j in range(i + 1):
                    moved += unit[i, j] * m[j]
            else:
                moved = unit[0, i] * m[i]
            means[k, i] = origin[i] + moved
        if structure in (FULL, TIED):
            p = 1 + D
            for i in range(D):
                taken[i] = beta[k] * m[i] ** 2 + (taken[i] if structure == TIED else 0.0)
                for j in range(i, D):
                    own = s[k, p] + beta0 * m0[i] * m0[j] - beta[k] * m[i] * m[j]
                    A[j, i] = own + (A[j, i] if structure == TIED and k > 0 else scale0[i, j])
                    A[i, j] = A[j, i]
                    p += 1
            total = N + (dof0 if structure == FULL else total)
            dof[k] = total
            if structure == TIED and k < K - 1:
                continue
            if not np.isfinite(precision(A, taken, least, W, L, F)):
                return False
            for i in range(D):
                for j in range(D):
                    A[i, j] /= total
            at = k if structure == FULL else 0
            if not _matrices(A, unit, W, L, F, covariances[at], roots[at], inverses[at]):
                return False
            continue
        a = dof0 + (N if structure == DIAGONAL else N * D) / 2
        dof[k] = 2 * a
        for i in range(D if structure == DIAGONAL else 1):
            if structure == DIAGONAL:
                square = beta[k] * m[i] ** 2
                b = scale0[0, i] + (s[k, 1 + D + i] + beta0 * m0[i] ** 2 - square) / 2
            else:
                b = scale0[0, 0] + (s[k, 1 + D] + before - square) / 2
            if not b / max(b + square / 2, FLOOR) > least:
                return False
            covariances[k, 0, i] = b / a * unit[0, i] ** 2
            roots[k, 0, i] = 1 / np.sqrt(covariances[k, 0, i])
            inverses[k, 0, i] = roots[k, 0, i] ** 2
    return True
