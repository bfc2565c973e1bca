"""Sets and partitions of N points as arrays.

A set is a bit mask: point n is in set S where bit n of S is one, so that the sets of N points are 0..2^N - 1, the complement
of S is 2^N - 1 - S, and an array over all sets, reversed, is the array over their complements.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

# Points in the inner loop of a convolution, which NumPy runs: 3^6 terms at once.
INNER = 6


def convolve(log_f: np.ndarray, log_g: np.ndarray) -> np.ndarray:
    """log sum_{T subset of S} exp(log_f(S without T) + log_g(T)) for every set S of N points, shape (2^N,).

    The 3^N terms run over pairs of sets of the upper points, each with all pairs of sets of the `INNER` lowest at once.
    """
    inner = np.arange(min(len(log_f), 2**INNER))
    S, T = np.nonzero((inner & ~inner[:, None]) == 0)  # every set with its subsets, set by set
    first = np.searchsorted(S, inner)
    log_f, log_g = log_f.reshape(-1, len(inner)), log_g.reshape(-1, len(inner))
    total = np.empty_like(log_f)
    for upper in range(len(total)):
        part = submasks(upper)
        terms = np.take(log_f[upper ^ part], S ^ T, axis=1)
        terms += np.take(log_g[part], T, axis=1)
        top = np.maximum(np.maximum.reduceat(terms.max(0), first), -1e300)
        terms -= top[S]
        with np.errstate(divide="ignore"):
            total[upper] = np.log(np.add.reduceat(np.exp(terms, out=terms).sum(0), first)) + top
    return total.ravel()


def choices(sizes: np.ndarray, most: int) -> list[tuple[tuple[int, ...], int]]:
    """Kinds of up to ``most`` clusters chosen from so many of each kind, and in how many ways; the smallest choices first."""
    found = [
        (
            tuple(kind for kind, c in enumerate(chosen) for _ in range(c)),
            math.prod(math.comb(size, c) for size, c in zip(sizes, chosen, strict=True)),
        )
        for chosen in itertools.product(*(range(size + 1) for size in sizes))
        if sum(chosen) <= most
    ]
    return sorted(found, key=lambda choice: len(choice[0]))


def submasks(mask: int) -> np.ndarray:
    """All subsets of a set, the empty one and itself among them, in rising order."""
    found = np.zeros(1, dtype=int)
    while mask:
        lowest = mask & -mask
        found = np.concatenate([found, found | lowest])
        mask ^= lowest
    return found


def members(sets: np.ndarray | int, N: int) -> np.ndarray:
    """1.0 for each of N points in a set and 0.0 for the others, shape (..., N)."""
    return (np.asarray(sets)[..., None] >> np.arange(N) & 1).astype(float)


def labellings(N: int, K: int, partitions: bool) -> np.ndarray:
    """All labels of N points in K clusters, or one labelling of each partition (clusters in order of appearance), (J, N)."""
    if K == 1:
        return np.zeros((1, N), dtype=np.int8)
    z = np.zeros((1, 0), dtype=np.int8)
    for _ in range(N):
        open_ = np.minimum(z.max(1, initial=-1) + 2, K) if partitions else np.full(len(z), K)
        new = np.arange(open_.sum()) - np.repeat(np.cumsum(open_) - open_, open_)
        z = np.column_stack([np.repeat(z, open_, axis=0), new.astype(np.int8)])
    return z


def one_hot(z: np.ndarray, K: int) -> np.ndarray:
    """Labels (B, N) as indicators, shape (B, K, N)."""
    return (z[:, None] == np.arange(K)[:, None]).astype(float)


def partitions(n: int, K: int) -> np.float64:
    """Number of partitions of n points into at most K blocks, by Stirling numbers; no more than those of 1000 points."""
    stirling = np.eye(1, K + 1)[0]
    for _ in range(min(n, 1000)):
        stirling[1:] = np.arange(1, K + 1) * stirling[1:] + stirling[:-1]
        stirling[0] = 0
    return stirling.sum()
