"""Special functions of differences, where those of numpy and scipy lose digits."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

# From here on three terms of Stirling's series have all digits (Abramowitz & Stegun 1972, 6.1.41): the next is 1 / (1680 a^7).
LARGE = 100.0


def log_rising(a: np.ndarray, n: np.ndarray) -> np.ndarray:
    """log Gamma(a + n) / Gamma(a), to a few units in its own last place however large a is.

    Examples
    --------
    >>> round(float(log_rising(np.array(1e12), np.array(3.0)) - 3 * np.log(1e12)), 9)  # log a^n
    0.0
    """
    a = np.asarray(a, dtype=float)
    if not (a >= LARGE).any():
        return gammaln(a + n) - gammaln(a)
    large, small = np.maximum(a, LARGE), np.minimum(a, LARGE)
    series = (large - 0.5) * np.log1p(n / large) + n * (np.log(large + n) - 1)
    series += _remainder(large + n) - _remainder(large)
    return np.where(a < LARGE, gammaln(small + n) - gammaln(small), series)


def _remainder(a: np.ndarray) -> np.ndarray:
    """What Stirling's series adds to (a - 1/2) log a - a + log(2 pi) / 2."""
    square = a**-2.0
    return (1 / 12 - square * (1 / 360 - square / 1260)) / a
