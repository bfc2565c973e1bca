"""Coordinates of nearly dependent columns in compiled loops: `mixtures.substitution`, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from mixtures import substitution
from mixtures.substitution import SHARE

compiled = njit(
    nogil=True, error_model="numpy"
)  # without leave to reorder or fuse: the errors of rounding are what is computed
difference: Any = compiled(substitution.difference)
product: Any = compiled(substitution.product)


@compiled
def loses(L):
    """`mixtures.substitution.loses`, without room for an array."""
    for d in range(1, len(L)):
        squares = 0.0
        for i in range(d + 1):
            squares += L[d, i] * L[d, i]
        if L[d, d] * L[d, d] < SHARE * SHARE * squares:
            return True
    return False


@compiled
def accurate(x, origin, unit, z):
    """`mixtures.substitution.coordinates` of the points x (n, D) for a triangle (D, D), below the first row of z (D + 1, B)."""
    n, D = x.shape
    low, high, rest = np.zeros((D, n)), np.empty(n), np.empty(n)
    for d in range(D):
        for b in range(n):
            high[b], rest[b] = difference(x[b, d], origin[d])
        for i in range(d + 1):
            for b in range(n if i == d else 0):
                z[d + 1, b] = (high[b] + (rest[b] if np.isfinite(rest[b]) else 0.0)) / unit[d, d]
            known, left, factor = z[i + 1], low[i], unit[d, i]
            for b in range(n):
                taken, error = product(known[b], factor)
                high[b], own = difference(high[b], taken)
                rest[b] += own - (error + factor * left[b])
        for b in range(n):
            error = (high[b] + rest[b]) / unit[d, d]
            low[d, b] = error if np.isfinite(error) else 0.0
