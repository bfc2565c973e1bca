"""What a fitted mixture says of rows, in one compiled call: labels, responsibilities or log densities.

A component's log weight and density are, of z_n = U_k^T (x_n - m_k),

    c_k - |z_n|^2 / 2      or, of Student's t,      c_k - a_k log(1 + |z_n|^2)      or      c_k - a_k sum_d log(1 + z_nd^2)

so that five arrays say all; `mixtures.estimators.densities` makes them, and has the same in NumPy.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.softmax import BLOCK, EXACT, _larger, _log, softmax

# Stands for a log density below the range of numbers; and the largest number.
LOWEST, LARGEST = -1e308, float(np.finfo(float).max)


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _taken(square, power):
    """power log(1 + square) for square >= 0, with all digits where that is small."""
    finite = min(square, LARGEST)
    larger = 1.0 + finite
    return power * (_log(larger) + (finite - (larger - 1.0)) / larger) if square <= LARGEST else np.inf


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _joint(x, first, n, constant, means, roots, power, each, columns, z, rho):
    """Log weight and density of each component into rho (K, BLOCK) for rows first, first + 1, ...; the others are room."""
    K, D = means.shape
    for d in range(D):
        for b in range(n):
            columns[d, b] = x[first + b, d]
    for k in range(K):
        total, matrix = rho[k], roots.shape[1] == D and D > 1
        for b in range(n):
            total[b] = 0.0
        for d in range(D):
            if matrix:
                for b in range(n):
                    z[b] = 0.0
                for i in range(D):
                    u, m = roots[k, i, d], means[k, i]
                    for b in range(n):
                        z[b] += (columns[i, b] - m) * u
            else:
                u, m = roots[k, 0, d], means[k, d]
                for b in range(n):
                    z[b] = (columns[d, b] - m) * u
            if each:
                for b in range(n):
                    total[b] += _taken(z[b] * z[b], power[k])
            else:
                for b in range(n):
                    total[b] += z[b] * z[b]
        c = constant[k]
        if power.size == 0:
            for b in range(n):
                total[b] = _larger(c - total[b] / 2, LOWEST)
        elif each:
            for b in range(n):
                total[b] = _larger(c - total[b], LOWEST)
        else:
            for b in range(n):
                total[b] = _larger(c - _taken(total[b], power[k]), LOWEST)


@njit(nogil=True)
def answer(x, densities, labels, r, log_p):
    """Fill in the last three, of which two are empty.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    densities : tuple
        The constants (K,), means (K, D), roots U_k (K, D, D), or (K, 1, D) where they are diagonal, and powers a_k (K,), empty
        for Gaussian densities; and whether the features have a density each.
    labels : ndarray of int, shape (N,)
        The most probable component of every row.
    r : ndarray, shape (N, K)
        The probability of every component for every row.
    log_p : ndarray, shape (N,)
        The log density of every row in nats; minus infinity below the range of numbers.
    """
    constant, means, roots, power, each = densities
    (N, D), K = x.shape, len(means)
    columns, z, top, rho = np.empty((D, BLOCK)), np.empty(BLOCK), np.empty(BLOCK), np.empty((K, BLOCK))
    ones = np.ones(BLOCK)
    for first in range(0, N, BLOCK):
        n = min(BLOCK, N - first)
        _joint(x, first, n, constant, means, roots, power, each, columns, z, rho)
        if labels.size:
            for b in range(n):
                best = 0
                for k in range(1, K):
                    if rho[k, b] > rho[best, b]:
                        best = k
                labels[first + b] = best
            continue
        softmax(rho, ones, top, z, n)
        if r.size:
            for b in range(n):
                for k in range(K):
                    r[first + b, k] = rho[k, b]
        else:
            for b in range(n):
                log_p[first + b] = top[b] if top[b] > LOWEST else -np.inf
    return 0
