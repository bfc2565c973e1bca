"""K-means for starts in compiled loops: `mixtures.ascent.kmeans.seed`, `nearest` and `lloyd`, run by run.

Points come features first, so that the loops run along memory and fill the vector registers; blocks of them stay in cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.both_ends import dot
from mixtures.engines.fused import LANES, VECTORS, product
from mixtures.engines.softmax import LOOSE

BLOCK = 40 * LANES * VECTORS


@njit(nogil=True)
def _first_beyond(cumulative, limit):
    """The number of the first of cumulative (N,), which rises, that is above a limit; the last where none is."""
    low, high = 0, len(cumulative) - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > limit:
            high = middle
        else:
            low = middle + 1
    return low


@njit(nogil=True, fastmath=LOOSE)
def _squares(z, tried, before, left):
    """The lesser of what was before, (N,), and the squared distances of z (D, N) from one of its points."""
    D, N = z.shape
    for start in range(0, N, BLOCK):
        stop = min(start + BLOCK, N)
        own = left[start:stop]
        own[:] = 0.0
        for d in range(D):
            row, at = z[d][start:stop], z[d, tried]
            for b in range(stop - start):
                own[b] += (row[b] - at) ** 2
        for b in range(stop - start):
            own[b] = min(before[start + b], own[b])


@njit(nogil=True)
def _seed(z, weights, u, tries, apart, centres):
    """K distinct points of z into centres (K, D); how many were found."""
    N = z.shape[1]
    cumulative, distance, left, least = np.empty(N), np.full(N, np.inf), np.empty(N), np.empty(N)
    for k in range(len(centres)):
        total = 0.0
        for n in range(N):
            mass = 1.0 if distance[n] > 0 else 0.0
            total += weights[n] * (distance[n] if apart and k else mass)
            cumulative[n] = total
        if not total > 0:
            return k
        smallest = np.inf
        for t in range(tries if k else 1):
            tried = _first_beyond(cumulative, u[1 + (k - 1) * tries + t if k else 0] * total)
            _squares(z, tried, distance, left)
            rest = dot(left, weights)
            if rest < smallest:
                smallest = rest
                left, least = least, left
                centres[k] = z[:, tried]
        distance, least = least, distance
    return len(centres)


@njit(nogil=True)
def _nearest(z, centres, labels):
    """The closest centre (K, D) of every point of z (D, N) into labels (N,), and how many have changed.

    That is the one with the least half squared length, less the product with the point.
    """
    (D, N), K = z.shape, len(centres)
    block, score, ones = np.zeros((D, BLOCK)), np.empty((K, BLOCK)), np.ones(BLOCK)
    best, closest = np.empty(BLOCK), np.empty(BLOCK, np.int64)
    changed = 0
    for start in range(0, N, BLOCK):
        n = min(BLOCK, N - start)
        for d in range(D):
            row, own = z[d][start : start + n], block[d]
            for b in range(n):
                own[b] = -row[b]
        for k in range(K):
            score[k, :] = dot(centres[k], centres[k]) / 2
        product(centres, ones, block, score, n)
        best[:] = np.inf
        closest[:] = 0
        for k in range(K):
            own = score[k]
            for b in range(n):
                lower = own[b] < best[b]
                best[b] = own[b] if lower else best[b]
                closest[b] = k if lower else closest[b]
        for b in range(n):
            changed += closest[b] != labels[start + b]
            labels[start + b] = closest[b]
    return changed


@njit(nogil=True)
def _means(z, weights, labels, sums, centres):
    """The weighted means of the points of each label into centres (K, D), and the squared distance that these moved in all.

    A centre without points stays where it is. Every fourth point has sums (4, K) of its own, which need not wait for those of
    the point before.
    """
    D, N = z.shape
    K, fours = len(centres), N - N % 4
    counts, moved = np.zeros(K), 0.0
    for n in range(N):
        counts[labels[n]] += weights[n]
    for d in range(D):
        row = z[d]
        sums[:] = 0.0
        for n in range(0, fours, 4):
            sums[0, labels[n]] += weights[n] * row[n]
            sums[1, labels[n + 1]] += weights[n + 1] * row[n + 1]
            sums[2, labels[n + 2]] += weights[n + 2] * row[n + 2]
            sums[3, labels[n + 3]] += weights[n + 3] * row[n + 3]
        for n in range(fours, N):
            sums[0, labels[n]] += weights[n] * row[n]
        for k in range(K):
            if counts[k] > 0:
                mean = (sums[0, k] + sums[1, k] + sums[2, k] + sums[3, k]) / counts[k]
                moved += (mean - centres[k, d]) ** 2
                centres[k, d] = mean
    return moved


@njit(nogil=True)
def states(z, weights, t, u, tries, apart, moved, max_iter, settled, still, labels, s):
    """Labels (R, N) of the points z (D, N) by the nearest of K seeds, and statistics s (R, K, P) of features t (P, N).

    Seeds come from the uniform numbers u (R, 1 + (K - 1) tries); runs that are ``moved`` (R,) go on by Lloyd's algorithm, no
    more than so many steps, until one changes no more than a share ``settled`` of the labels, or moves the centres by no more
    than the squared distance ``still`` in all. Of no features, P being 0, there are no statistics. Returns K, or a smaller
    number of distinct points.
    """
    D, N = z.shape
    R, K, P = s.shape
    centres, sums, own = np.empty((K, D)), np.empty((4, K)), np.empty(N)
    for r in range(R):
        found = _seed(z, weights, u[r], tries, apart, centres)
        if found < K:
            return found
        labels[r, :] = -1
        _nearest(z, centres, labels[r])
        for _ in range(max_iter if moved[r] else 0):
            shift = _means(z, weights, labels[r], sums, centres)
            if _nearest(z, centres, labels[r]) <= settled * N or shift <= still:
                break
        for k in range(K if P else 0):
            for n in range(N):
                own[n] = weights[n] if labels[r, n] == k else 0.0
            for p in range(P):
                s[r, k, p] = dot(own, t[p])
    return K
