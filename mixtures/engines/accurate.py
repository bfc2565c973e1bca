"""Coordinates of nearly dependent columns in compiled loops: `mixtures.substitution`, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from mixtures import substitution

compiled = njit(nogil=True)  # without leave to reorder or fuse: the errors of rounding are what is computed
loses: Any = compiled(substitution.loses)
difference: Any = compiled(substitution.difference)
product: Any = compiled(substitution.product)


@compiled
def accurate(x, origin, unit, z):
    """`mixtures.substitution.coordinates` of the points x (n, D) for a triangle (D, D), below the first row of z (D + 1, B)."""
    n, D = x.shape
    low = np.zeros((D, n))
    for d in range(D):
        for b in range(n):
            high, rest = difference(x[b, d], origin[d])
            for i in range(d + 1):
                if i == d:
                    z[d + 1, b] = (high + (rest if np.isfinite(rest) else 0.0)) / unit[d, d]
                taken, error = product(z[i + 1, b], unit[d, i])
                high, own = difference(high, taken)
                rest += own - (error + unit[d, i] * low[i, b])
            left = (high + rest) / unit[d, d]
            low[d, b] = left if np.isfinite(left) else 0.0
