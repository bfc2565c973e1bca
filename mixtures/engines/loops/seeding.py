"""Starts from k-means++ seeds in compiled loops: `mixtures.ascent.kmeans.seed`, `nearest` and `lloyd`, run by run."""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.both_ends import dot
from mixtures.engines.softmax import LOOSE


@njit(nogil=True)
def _drawn(mass, total, u):
    """An index with probability proportional to mass (N,), by inversion of u."""
    reached, cumulative = 0, 0.0
    for n in range(len(mass)):
        cumulative += mass[n]
        reached += cumulative <= u * total
    return min(reached, len(mass) - 1)


@njit(nogil=True)
def _sum(a):
    total = 0.0
    for n in range(len(a)):
        total += a[n]
    return total


@njit(nogil=True, fastmath=LOOSE)
def _squares(z, centre, before, left):
    """The lesser of what was before, (N,), and the squared distances of z (N, D) from a centre."""
    for n in range(len(z)):
        total = 0.0
        for d in range(z.shape[1]):
            total += (z[n, d] - centre[d]) ** 2
        left[n] = min(before[n], total)


@njit(nogil=True)
def _seed(z, weights, u, tries, apart, centres):
    """K distinct points of z into centres (K, D); how many were found."""
    N = len(z)
    mass, distance, left, least = weights.copy(), np.full(N, np.inf), np.empty(N), np.empty(N)
    for k in range(len(centres)):
        if k:
            for n in range(N):
                mass[n] = weights[n] * distance[n] if apart else weights[n] * (distance[n] > 0)
        total = _sum(mass)
        if not total > 0:
            return k
        smallest = np.inf
        for t in range(tries if k else 1):
            tried = _drawn(mass, total, u[1 + (k - 1) * tries + t if k else 0])
            _squares(z, z[tried], distance, left)
            rest = 0.0
            for n in range(N):
                rest += left[n] * weights[n]
            if rest < smallest:
                smallest = rest
                least[:] = left
                centres[k] = z[tried]
        distance[:] = least
    return len(centres)


@njit(nogil=True)
def _nearest(z, centres, halves, labels):
    """The closest centre (K, D) of every point into labels (N,), and whether one has changed; ``halves`` is room (K,)."""
    changed = False
    for k in range(len(centres)):
        halves[k] = dot(centres[k], centres[k]) / 2
    for n in range(len(z)):
        best, closest = np.inf, 0
        for k in range(len(centres)):
            score = halves[k] - dot(z[n], centres[k])
            if score < best:
                best, closest = score, k
        changed = changed or closest != labels[n]
        labels[n] = closest
    return changed


@njit(nogil=True)
def _means(z, weights, labels, counts, sums, centres):
    """The weighted means of the points of each label into centres (K, D); one without points stays where it is."""
    counts[:] = 0.0
    sums[:] = 0.0
    for n in range(len(z)):
        counts[labels[n]] += weights[n]
        for d in range(z.shape[1]):
            sums[labels[n], d] += weights[n] * z[n, d]
    for k in range(len(centres)):
        for d in range(z.shape[1] if counts[k] > 0 else 0):
            centres[k, d] = sums[k, d] / counts[k]


@njit(nogil=True)
def states(z, weights, t, u, tries, apart, moved, max_iter, s):
    """Statistics s (R, K, P) of the points z (N, D) with features t (P, N), each in the cluster of the nearest of K seeds.

    Seeds come from the uniform numbers u (R, 1 + (K - 1) tries); runs that are ``moved`` (R,) go on by Lloyd's algorithm.
    Returns K, or a smaller number of distinct points.
    """
    N, D = z.shape
    R, K, P = s.shape
    centres, labels = np.empty((K, D)), np.empty(N, np.int64)
    counts, halves, sums, own = np.empty(K), np.empty(K), np.empty((K, D)), np.empty(N)
    for r in range(R):
        found = _seed(z, weights, u[r], tries, apart, centres)
        if found < K:
            return found
        labels[:] = -1
        _nearest(z, centres, halves, labels)
        for _ in range(max_iter if moved[r] else 0):
            _means(z, weights, labels, counts, sums, centres)
            if not _nearest(z, centres, halves, labels):
                break
        for k in range(K):
            for n in range(N):
                own[n] = weights[n] if labels[n] == k else 0.0
            for p in range(P):
                s[r, k, p] = dot(own, t[p])
    return K
