"""Triangular systems of a few equations in compiled loops: for matrices as small as these a library's call takes longer."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, error_model="numpy")
def cholesky(S, L):
    """L with L L^T = S, and whether S is positive definite."""
    n = len(S)
    for j in range(n):
        pivot = S[j, j]
        for k in range(j):
            pivot -= L[j, k] * L[j, k]
            L[k, j] = 0.0
        if not pivot > 0:
            return False
        L[j, j] = np.sqrt(pivot)
        for i in range(j + 1, n):
            total = S[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            L[i, j] = total / L[j, j]
    return True


@njit(nogil=True, error_model="numpy", forceinline=True)  # called for each cluster in each step
def invert(L, F):
    """The lower triangle of F = L^-1 for a lower triangular L."""
    for j in range(len(L)):
        F[j, j] = 1 / L[j, j]
        for i in range(j + 1, len(L)):
            total = 0.0
            for k in range(j, i):
                total -= L[i, k] * F[k, j]
            F[i, j] = total / L[i, i]


@njit(nogil=True, error_model="numpy")
def lower(L, B):
    """L^-1 b in the place of every row b of B."""
    for row in range(len(B)):
        for i in range(len(L)):
            for k in range(i):
                B[row, i] -= L[i, k] * B[row, k]
            B[row, i] /= L[i, i]


@njit(nogil=True, error_model="numpy")
def upper(L, B):
    """L^-T b in the place of every row b of B."""
    for row in range(len(B)):
        for i in range(len(L) - 1, -1, -1):
            for k in range(i + 1, len(L)):
                B[row, i] -= L[k, i] * B[row, k]
            B[row, i] /= L[i, i]


@njit(nogil=True, error_model="numpy")
def orthogonal(W, G):
    """Turn the rows of W (H, D) to an orthonormal basis and G (H, H), upper triangular, with old W^T = new W^T G.

    A row that depends on those before it becomes zero (Gram & Schmidt, twice for what rounding has left).
    """
    H, D = W.shape
    for j in range(H):
        before = 0.0
        for i in range(D):
            before += W[j, i] * W[j, i]
        for k in range(H):
            G[k, j] = 0.0
        for _ in range(2):
            for k in range(j):
                total = 0.0
                for i in range(D):
                    total += W[k, i] * W[j, i]
                G[k, j] += total
                for i in range(D):
                    W[j, i] -= total * W[k, i]
        size = 0.0
        for i in range(D):
            size += W[j, i] * W[j, i]
        size = np.sqrt(size)
        told = size > 1e-14 * np.sqrt(before)
        G[j, j] = size if told else 0.0
        for i in range(D):
            W[j, i] = W[j, i] / size if told else 0.0
