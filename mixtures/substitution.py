"""Coordinates z of rows x = origin + L z, with the digits that they have where columns are nearly dependent.

Substitution in the triangle L takes what earlier features tell of a feature from it. Where next to nothing is left, rounding of
what is taken is all that would be seen. There, differences and products are taken with their rounding errors (Dekker 1971;
Ogita, Rump & Oishi 2005, *SIAM J. Sci. Comput.* 26:1955-1988), as if in twice the digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# A feature whose residual on those before it is below this share of its spread costs plain substitution four digits.
SHARE = 1e-4

# 2^27 + 1, which splits a number of 53 bits into two halves (Veltkamp).
HALVES = 134217729.0


def loses(L: np.ndarray) -> bool:
    """Whether plain substitution in the triangle L (D, D) loses digits."""
    return bool((np.diag(L) ** 2 < SHARE**2 * (L * L).sum(axis=1)).any())


def difference(a: Any, b: Any) -> tuple[Any, Any]:
    """a - b and its rounding error: together they are exact (Knuth)."""
    high = a - b
    back = high - a
    return high, (a - (high - back)) - (b + back)


def product(a: Any, b: Any) -> tuple[Any, Any]:
    """a b and its rounding error: together they are exact where halves of the numbers are in range (Dekker)."""
    high = a * b
    a_high, b_high = HALVES * a, HALVES * b
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    return high, ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low


def coordinates(x: np.ndarray, origin: np.ndarray, L: np.ndarray) -> np.ndarray:
    """L^-1 (x - origin) of the rows x (..., D), as if in twice the digits and rounded once, in their shape."""
    rows = np.moveaxis(x.astype(np.float64, copy=False), -1, 0)
    z, low = np.empty(rows.shape), np.zeros(rows.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for d in range(len(L)):
            high, rest = difference(rows[d], origin[d])
            for i in range(d + 1):
                if i == d:
                    z[d] = (high + _finite(rest)) / L[d, d]
                taken, error = product(z[i], L[d, i])
                high, own = difference(high, taken)
                rest = rest + (own - (error + L[d, i] * low[i]))
            low[d] = _finite((high + rest) / L[d, d])
    return np.moveaxis(z, 0, -1)


def _finite(a: np.ndarray) -> np.ndarray:
    """Errors that are numbers; beside numbers out of range there are none."""
    return np.where(np.isfinite(a), a, 0.0)
