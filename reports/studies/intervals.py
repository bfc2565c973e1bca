"""Intervals for shares of independent cases, right also where a share is none or all."""

from __future__ import annotations

import numpy as np
from scipy import stats


def wilson(share: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share of n independent cases (Wilson 1927, *JASA* 22:209-212)."""
    z2 = stats.norm.ppf((1 + confidence) / 2) ** 2
    middle, half = share + z2 / (2 * n), np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n)
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return float(max(0, low)), float(min(1, high))  # beyond by rounding alone


def wilson_of_means(shares: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of S independent shares with Wilson's interval for `cases` independent cases."""
    mean = float(shares.mean())
    return mean, *wilson(mean, cases(shares), confidence)


def cases(shares: np.ndarray) -> float:
    """How many independent cases have the standard error of the mean of S independent shares.

    Few shares that are nearly equal say little of their own spread. One more is added to it, of a single case: its variance
    is mean (1 - mean), the largest that a share can have.
    """
    S, mean = len(shares), float(shares.mean())
    one = mean * (1 - mean)
    return float(S * one / ((shares.var() * S + one) / S)) if one > 0 else float(S)


def median_interval(values: np.ndarray, alpha: float) -> tuple[float, float, float]:
    """The median of values and an interval between two of them that holds the true one with at least 1 - alpha.

    By the binomial distribution of how many lie below it (David & Nagaraja 2003, *Order Statistics*, section 7.1), whatever
    their distribution; values may be infinite, and with too few of them the ends are.
    """
    x, n = np.sort(values), len(values)
    middle = x[(n - 1) // 2], x[n // 2]
    with np.errstate(invalid="ignore"):  # of minus and plus infinity none
        median = middle[0] if middle[0] == middle[1] else (middle[0] + middle[1]) / 2
    j = int(stats.binom.ppf(alpha / 2, n, 0.5))
    return float(median), *((float(x[j - 1]), float(x[n - j])) if j else (-np.inf, np.inf))
