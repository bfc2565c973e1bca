"""Test statistics of levels and of counts, for predictive checks: none needs labels.

Of levels: how often each occurs, the association of every two columns, the total score of items that are coded alike, and how
many patterns there are. Of counts: mean, dispersion, zeros and the largest. Every function takes data sets (R, n, J) and
returns (R,) of each statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.special import xlogy

# Columns up to which every two are compared, every one with the others, and each has a share of its own.
MOST_PAIRED, MOST_COMPARED, MOST_SHARES = 12, 100, 100

# Items up to which every total score has a share of its own.
MOST_SCORES = 12


def nominal(y: np.ndarray, features: Sequence[str], levels: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Statistics of columns that hold codes of levels.

    Parameters
    ----------
    y : ndarray, shape (R, n, J)
    features : sequence of str
    levels : sequence of sequences of str
        The names of the levels of each column, in the order of their codes.
    """
    found = shares(y, features, levels)
    J = len(features)
    if 1 < J <= MOST_COMPARED:
        found |= associations(y, features, levels)
    if J > 1:
        if all(len(own) == 2 and list(own) == list(levels[0]) for own in levels):
            found |= total_scores(y.sum(-1), J)
        found["distinct patterns"] = (pattern_counts(y) > 0).sum(-1).astype(float)
    return found


def shares(y: np.ndarray, features: Sequence[str], levels: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The share of every level, of two levels that of the second; of many columns the least and the greatest of these."""
    found = {}
    for j, (feature, own) in enumerate(zip(features, levels, strict=True)):
        for c in range(1 if len(own) == 2 else 0, len(own)):
            found[f"share[{feature}, {own[c]}]"] = (y[..., j] == c).mean(-1)
    if len(found) <= MOST_SHARES:
        return found
    every = np.stack(list(found.values()))
    return {"smallest share of a level": every.min(0), "largest share of a level": every.max(0)}


def associations(y: np.ndarray, features: Sequence[str], levels: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The log odds ratio of every two columns of two levels, Cramér's V of others; of many columns their mean with the rest.

    Half a row is added to each of four cells (Haldane 1956, *Annals of Human Genetics* 20:309-311). For log odds ratios in
    predictive checks see Sinharay, Johnson & Stern (2006, *Applied Psychological Measurement* 30:298-321).
    """
    binary = all(len(own) == 2 for own in levels)
    matrix = _log_odds_ratios(y) if binary else _cramers_v(y, [len(own) for own in levels])
    name, J = "log odds ratio" if binary else "Cramér's V", len(features)
    if J <= MOST_PAIRED:
        return {f"{name}[{features[i]}, {features[j]}]": matrix[:, i, j] for i, j in combinations(range(J), 2)}
    of_each = (matrix.sum(-1) - np.einsum("rjj->rj", matrix)) / (J - 1)
    return {f"mean {name}[{feature}]": of_each[:, j] for j, feature in enumerate(features)}


def _log_odds_ratios(y: np.ndarray) -> np.ndarray:
    """Of every two binary columns, (R, J, J)."""
    y = y.astype(np.float64)
    n, both, ones = y.shape[1], y.mT @ y, y.sum(1)
    first, second = ones[:, :, None] - both, ones[:, None, :] - both
    neither = n - both - first - second
    return np.log((both + 0.5) * (neither + 0.5)) - np.log((first + 0.5) * (second + 0.5))


def _cramers_v(y: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Cramér's V of every two columns (R, J, J): sqrt(X² / (n min(C_i - 1, C_j - 1))) (Cramér 1946, section 21.9)."""
    R, n, _ = y.shape
    first = np.cumsum([0, *sizes[:-1]])
    z = np.zeros((R, n, sum(sizes)), dtype=np.float32)
    np.put_along_axis(z, y.astype(int) + first, 1, axis=-1)
    both = (z.mT @ z).astype(float)
    ones = np.einsum("rll->rl", both)
    expected = ones[:, :, None] * ones[:, None, :] / n
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(expected > 0, (both - expected) ** 2 / expected, 0.0)
    x2 = np.add.reduceat(np.add.reduceat(each, first, 1), first, 2)
    least = np.maximum(1, np.minimum.outer(sizes, sizes) - 1)
    return np.sqrt(x2 / (n * least))


def total_scores(score: np.ndarray, J: int) -> dict[str, np.ndarray]:
    """Of total scores (R, n) of J items their sd, and the share of each, or of many the ends."""
    found = {"sd of the total score": score.std(-1)}
    if J <= MOST_SCORES:
        return found | {f"share with total score {s}": (score == s).mean(-1) for s in range(J + 1)}
    return found | {"smallest total score": score.min(-1), "largest total score": score.max(-1)}


def pattern_counts(y: np.ndarray) -> np.ndarray:
    """How often each pattern of codes occurs, (R, n), zeros behind the last.

    Rows are told apart by a random 64-bit number of their codes: two patterns of a million share one with probability 3e-8.
    """
    R, n, J = y.shape
    odd = np.random.default_rng(0).integers(1 << 63, size=J, dtype=np.uint64) | np.uint64(1)
    mixed = (y.astype(np.uint64) + np.uint64(1)) * odd
    mixed ^= mixed >> np.uint64(29)
    keys = np.sort((mixed * np.uint64(0xBF58476D1CE4E5B9)).sum(-1, dtype=np.uint64), axis=1)
    new = np.concatenate([np.ones((R, 1), dtype=bool), keys[:, 1:] != keys[:, :-1]], axis=1)
    place = np.cumsum(new, axis=1) - 1 + n * np.arange(R)[:, None]
    return np.bincount(place.ravel(), minlength=R * n).reshape(R, n)


def g2(y: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """G2 of data sets (R, n, J) whose rows have log probabilities (R, n): see `reports.metrics.goodness`."""
    counts = pattern_counts(y).astype(float)
    n = y.shape[1]
    return 2 * (xlogy(counts, counts / n).sum(-1) - log_p.sum(-1))


def counts(y: np.ndarray, features: Sequence[str]) -> dict[str, np.ndarray]:
    """Mean, dispersion (variance over mean, 1 of a Poisson distribution), share of zeros, and largest of every column."""
    mean, variance = y.mean(1), y.var(1, ddof=1)
    by_feature = {
        "mean": mean,
        "variance / mean": np.where(mean > 0, variance / np.where(mean > 0, mean, 1), 1.0),
        "share of zeros": (y == 0).mean(1),
        "largest": y.max(1),
    }
    found = {f"{name}[{f}]": v[:, j] for name, v in by_feature.items() for j, f in enumerate(features)}
    if len(features) > 1:
        found["largest correlation eigenvalue of counts"] = largest_eigenvalue(y)
    return found


def largest_eigenvalue(y: np.ndarray) -> np.ndarray:
    """The largest eigenvalue of the correlations of columns (R, n, J); a column that does not vary has none with others."""
    centred = y - y.mean(1, keepdims=True)
    sd = centred.std(1, keepdims=True)
    z = centred / np.where(sd > 0, sd, 1)
    return np.linalg.eigvalsh(z.mT @ z / y.shape[1])[:, -1]


def indicators(y: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Whether each level but the first is there, (R, n, L - J)."""
    return np.concatenate([y[..., [j]] == np.arange(1, C) for j, C in enumerate(sizes)], axis=-1).astype(float)
