"""The pass over several series, or parts of one, side by side in compiled loops; see `mixtures.engines.split`.

A block has a series or a part of one in each of its lanes, and is gone through as a whole while it is in the cache:

    b           densities of the points in each state, over the largest of them             (K, steps, lanes)
    alpha       forward                                                                      (K, steps, lanes)
    r           backward, in the place of alpha                                              (K, steps, lanes)
    s          += r t^T

Parts of one series hang together: the next lane begins with what the last one ends with. Filters forget where they began, so
that each lane begins with what follows from the last ``overlap`` steps ahead of it alone, and this is compared afterwards with
what the lane before arrived at, state by state and relative to its size. Probabilities of all that comes later are sums of
products of these and of positive numbers, so that they are off by as little. Where the two differ, all begin again with what
they should have begun with, as often as it takes; after as many times as there are lanes it is exact.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, njit
from numba.core import types

from mixtures.engines.both_ends import LEAST, MET
from mixtures.engines.fused import (
    FEATURES,
    _features,
    add_densities,
    add_statistics,
    coordinates,
    model_types,
    read_only,
)
from mixtures.engines.softmax import EXACT, _exp, _larger, _log
from mixtures.engines.vectors import LANES, backward, forward, glance, watch

# Columns of a block whose features are formed together.
TOGETHER = 240

# Largest relative difference between what a lane began with and what the one before arrived at, and what it may be beside that
# as a share of the sum over states: less than what could matter where no beta is above 1 / `mixtures.engines.both_ends.MET`.
SAME, TINY = 1e-12, 1e-80

# The log of the smallest density relative to the largest.
FAINT = -600.0

# What is known of the points: their coordinates, which of some distinct rows they are, or their log densities.
NUMBERS, PLACES, DENSITIES = 0, 1, 2


@njit(nogil=True)
def _gather(x, rows, points):
    """The points of these rows, by feature (D, TOGETHER)."""
    for d in range(x.shape[1]):
        for m in range(len(rows)):
            points[d, m] = x[rows[m], d]


@njit(nogil=True, fastmath=EXACT)
def _relative(rho, b, tops, first, n):
    """Densities of n points, b, from column ``first`` on, over the largest of each, whose logarithm is its top."""
    K, top = len(rho), tops[0, first : first + n]
    for m in range(n):
        top[m] = rho[0, m]
    for k in range(1, K):
        for m in range(n):
            top[m] = _larger(top[m], rho[k, m])
    for k in range(K):
        own = b[k, first : first + n]
        for m in range(n):
            own[m] = _exp(_larger(rho[k, m] - top[m], FAINT))


@njit(nogil=True)
def _densities(kind, x, log_rho, place, table, heights, model, eta, rows, first, b, tops, room):
    """Densities b (K, M) of some rows, in columns from ``first`` on, and their tops (1, M)."""
    n, K = len(rows), len(b)
    if kind == PLACES:
        for m in range(n):
            here = place[rows[m]]
            tops[0, first + m] = heights[here]
            for k in range(K):
                b[k, first + m] = table[here, k]
        return
    points, z, t, rho, _ = room
    if kind == NUMBERS:
        origin, unit, monomials, edges, by_rows = model
        _gather(x, rows, points)
        coordinates(points.T, origin, unit, z)
        rho[:] = 0.0
        add_densities(z, t, monomials, edges, by_rows, eta, rho, n)
    else:
        for m in range(n):
            for k in range(K):
                rho[0, k, m] = log_rho[rows[m], k]
    _relative(rho[0], b, tops, first, n)


@njit(nogil=True)
def _nothing(ended, first, b, tops):
    """Columns from ``first`` on have no density where their lane has ended."""
    for m in range(len(ended)):
        if ended[m]:
            tops[0, first + m] = 0.0
            for k in range(len(b)):
                b[k, first + m] = 0.0


@njit(nogil=True)
def _statistics(kind, x, place, totals, model, rows, ended, first, r, s, room):
    """Add the statistics of some rows with r (K, M), in columns from ``first`` on; where densities were given, r to totals."""
    n, K = len(rows), len(r)
    if kind == NUMBERS:
        points, z, t, rho, part = room
        origin, unit, monomials, edges, by_rows = model
        _gather(x, rows, points)
        coordinates(points.T, origin, unit, z)
        for k in range(K):
            for m in range(n):
                rho[0, k, m] = r[k, first + m]
        if not by_rows and len(edges) == 2:
            _features(z, monomials, edges[0], t, n)
        add_statistics(z, t, monomials, edges, by_rows, rho, part, s, n)
        return
    for m in range(n):
        if not ended[m]:
            for k in range(K):
                if kind == PLACES:
                    totals[place[rows[m]], k] += r[k, first + m]
                else:
                    totals[rows[m], k] = r[k, first + m]


@njit(nogil=True)
def _columns(begins, lengths, first, rows, ended):
    """The rows of some columns of a block, step by step, and where a lane has ended, which stays at its last row."""
    for i in range(len(rows) // LANES):
        step = first // LANES + i
        for lane in range(LANES):
            rows[i * LANES + lane] = begins[lane] + max(0, min(step, lengths[lane] - 1))
            ended[i * LANES + lane] = step >= lengths[lane]


@njit(nogil=True)
def _stretch(kind, x, log_rho, place, table, heights, model, eta, first, n, halo, rows, room):
    """Densities of n rows one after another, in ``halo`` (K + 1, M), and their tops below."""
    K = len(halo) - 1
    for m in range(0, n, TOGETHER):
        own = rows[: min(TOGETHER, n - m)]
        for i in range(len(own)):
            own[i] = first + m + i
        _densities(kind, x, log_rho, place, table, heights, model, eta, own, m, halo[:K], halo[K:], room)


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _ahead(b, n, A, p, own):
    """Move the probabilities p (K,) of the states before the first of n steps to those after the last, filtered in own."""
    K = len(A)
    for m in range(n):
        total = 0.0
        for k in range(K):
            own[k] = p[k] * b[k, m]
            total += own[k]
        for k in range(K):
            p[k] = 0.0
        for j in range(K):
            own[j] /= total
            for k in range(K):
                p[k] += own[j] * A[j, k]


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _behind(b, n, A, beta, own):
    """Move beta (K,) of the last of n steps to the step before the first."""
    K = len(A)
    for m in range(n - 1, -1, -1):
        total = 0.0
        for k in range(K):
            own[k] = b[k, m] * beta[k]
            total += own[k]
        for k in range(K):
            own[k] /= total
        for j in range(K):
            beta[j] = 0.0
            for k in range(K):
                beta[j] += A[j, k] * own[k]


@njit(nogil=True)
def _copy(source, target):
    """Of two (K, LANES)."""
    for k in range(len(source)):
        for lane in range(LANES):
            target[k, lane] = source[k, lane]


@njit(nogil=True)
def _hand_on(found, back, taken):
    """Give each lane what the one before it, or behind, arrived at (K, LANES); whether one had begun with something else."""
    changed = False
    for lane in range(1, LANES):
        source, target = (lane, lane - 1) if back else (lane - 1, lane)
        total = 0.0
        for k in range(len(taken)):
            total += taken[k, target]
        for k in range(len(taken)):
            if not abs(found[k, source] - taken[k, target]) <= SAME * taken[k, target] + TINY * total:
                changed = True
            taken[k, target] = found[k, source]
    return changed


@njit(nogil=True)
def _times(A, v, found):
    """found = A v, (K, LANES)."""
    for j in range(len(A)):
        for lane in range(LANES):
            found[j, lane] = 0.0
        for k in range(len(A)):
            for lane in range(LANES):
                found[j, lane] += A[j, k] * v[k, lane]


@njit(nogil=True)
def _evenly(by_column, k):
    """The probability of state k after each state alike."""
    total = 0.0
    for j in range(len(by_column)):
        total += by_column[k, j]
    return total / len(by_column)


@njit(nogil=True)
def _filter(b, by_column, steps, overlap, linked, start, p, alpha, scale):
    """`forward` through all lanes, which begin with ``start`` (K, LANES), where they are not linked; how often it took."""
    if linked:
        for k in range(len(b)):
            for lane in range(LANES):
                p[k, lane] = _evenly(by_column, k)
    rounds, first = 0, max(0, steps - overlap) if linked else 0
    while True:
        if not linked or rounds > 0:
            _copy(start, p)
            first = 0
        forward(b, by_column, p, alpha, scale, first, steps)
        rounds += 1
        if not linked or (not _hand_on(p, False, start) and rounds > 1) or rounds > LANES + 1:
            return max(1, rounds - 1)


@njit(nogil=True)
def _guess(b, A, steps, overlap, weights, v, alpha, scale, end, last, beta, pairs):
    """What each lane ends with, (K, LANES), from the first steps of the next one."""
    n = min(overlap, steps)
    m = (n - 1) * LANES
    for lane in range(LANES):
        scaling = weights[lane] / scale[0, m + lane] if scale[0, m + lane] > 0 else 0.0
        for k in range(len(b)):
            v[k, lane] = b[k, m + lane] * scaling
    glance(b, A, v, alpha, scale, end, last, beta, pairs, 0, n - 1)
    _times(A, v, beta)
    _hand_on(beta, True, end)


@njit(nogil=True)
def _smooth(b, A, by_column, steps, overlap, linked, sparse, weights, vectors, beta, alpha, scale, last, pairs):
    """`backward` through all lanes, or `watch` if transitions are sparse; how often it took."""
    start, p, end, v = vectors[0], vectors[1], vectors[2], vectors[3]
    if linked:
        _guess(b, A, steps, overlap, weights, v, alpha, scale, end, last, beta, pairs)
    rounds = 0
    while True:
        if rounds > 0:
            _copy(start, p)
            forward(b, by_column, p, alpha, scale, 0, steps)
        for k in range(len(v)):
            for lane in range(LANES):
                v[k, lane] = 0.0
        for k in range(len(pairs)):
            for lane in range(LANES):
                pairs[k, lane] = 0.0
        if sparse:
            for lane in range(LANES):
                beta[len(v), lane] = 0.0
            watch(b, A, v, alpha, scale, end, last, beta, pairs, 0, steps)
        else:
            backward(b, A, v, alpha, scale, end, last, beta, pairs, 0, steps)
        rounds += 1
        _times(A, v, beta)
        if not linked or rounds > LANES or not _hand_on(beta, True, end):
            return rounds


@njit(nogil=True)
def _kept(largest, scale, lengths, weights, steps):
    """Whether no state was lost that matters, from the largest beta of each lane; see `mixtures.engines.both_ends`."""
    for lane in range(LANES):
        if lengths[lane] > 0 and not largest[lane] * MET <= weights[lane]:
            return False
    for i in range(steps):
        for lane in range(LANES):
            if i < lengths[lane] and not scale[0, i * LANES + lane] >= LEAST:
                return False
    return True


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _log_z(scale, tops, lengths, weights, shortest, steps):
    """Log normaliser of a block, by the sums of scaled probabilities and the tops of its points; not a number if one was lost.

    Where a sum was too small all that follow in the lane are zero.
    """
    for lane in range(LANES):
        if lengths[lane] > 0 and not scale[0, (lengths[lane] - 1) * LANES + lane] > 0:
            return np.nan
    for i in range(shortest, steps):
        for lane in range(LANES):
            if i >= lengths[lane]:
                scale[0, i * LANES + lane] = 1.0
    own = tops[0, : steps * LANES]
    for m in range(steps * LANES):
        own[m] += _log(scale[0, m])
    total = 0.0
    for lane in range(LANES):
        sum_of_lane = 0.0
        for i in range(steps):
            sum_of_lane += own[i * LANES + lane]
        total += weights[lane] * sum_of_lane
    return total


@njit(
    types.Tuple((float64, int64))(
        int64,
        read_only(float64, 2),
        read_only(float64, 2),
        read_only(types.int32, 1),
        read_only(float64, 2),
        read_only(float64, 1),
        types.Tuple(model_types),
        read_only(float64, 3),
        float64[::1],
        float64[:, ::1],
        float64[:, ::1],
        boolean,
        int64[:, ::1],
        int64[:, ::1],
        float64[:, ::1],
        int64[:, ::1],
        int64,
        float64[:, ::1],
        float64[:, ::1],
        float64[:, :, ::1],
        float64[:, ::1],
        float64[::1],
        float64[:, ::1],
        float64[:, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def sweep(
    kind,
    x,
    log_rho,
    place,
    table,
    heights,
    model,
    eta,
    pi,
    A,
    by_column,
    sparse,
    begins,
    lengths,
    weights,
    shapes,
    overlap,
    b,
    alpha,
    s,
    totals,
    firsts,
    pairs,
    seams,
):
    """Forward and backward through blocks of series or of parts of one; their log normaliser, and how often it took at most.

    To s (1, K, P) or totals (U, K), firsts (K,) and pairs (K, K) is added; of points that are known by their log densities r is
    written to totals (N, K). -1 for how often says that a probability was too small, or no number.

    Parameters
    ----------
    kind
        What is known of the points: their coordinates ``x`` (N, D) under a ``model``, as in `mixtures.engines.fused`, with
        ``eta`` (1, K, P); ``place`` (N,) among distinct rows, with densities ``table`` (U, K) over the largest of them, whose
        logarithms are ``heights`` (U,); or ``log_rho`` (N, K).
    pi, A, by_column, sparse
        Of the start (K,) and of transitions (K, K), and these transposed; whether one of them is so small, or zero, that a
        state may be lost that matters.
    begins, lengths, weights
        The first row of each lane (G, LANES), its number of rows, and the weight of its series.
    shapes
        The longest of the lanes, the shortest, the last that has rows, whether each goes on where the one before ends, and how
        many rows of the same series there are before the first lane and after the last, (G, 6).
    overlap
        How many steps ahead a lane begins.
    b, alpha
        Room, (K + 1, M) each.
    seams
        Takes what the first lane began with and what follows after the last one, what that ended with and what the first one
        arrived at, (G, 4, K).
    """
    K, most, log_z = len(A), 1, 0.0
    vectors, beta = np.empty((5, K, LANES)), np.empty((K + 1, LANES))
    start, end, v, before = vectors[0], vectors[2], vectors[3], vectors[4]
    last, acc, message, own = np.empty((1, LANES)), np.empty((K * K, LANES)), np.empty(K), np.empty(K)
    D, P, by_rows = x.shape[1], eta.shape[2], model[4]
    z, t = np.ones((D + 1, TOGETHER)), np.empty((0 if by_rows else min(P, FEATURES), TOGETHER))
    room = np.zeros((D, TOGETHER)), z, t, np.empty((1, K, TOGETHER)), np.empty((K if by_rows else 0, TOGETHER))
    rows, ended, halo = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, np.bool_), np.empty((K + 1, overlap))
    density, r, tops, scale = b[:K], alpha[:K], b[K:], alpha[K:]
    for g in range(len(begins)):
        steps, shortest, tail, linked = shapes[g, 0], shapes[g, 1], shapes[g, 2], shapes[g, 3] > 0
        columns = steps * LANES
        for column in range(0, columns, TOGETHER):
            n = min(TOGETHER, columns - column)
            _columns(begins[g], lengths[g], column, rows[:n], ended)
            _densities(kind, x, log_rho, place, table, heights, model, eta, rows[:n], column, density, tops, room)
            if column + n > shortest * LANES:
                _nothing(ended[:n], column, density, tops)

        for lane in range(LANES):
            last[0, lane] = lengths[g, lane] - 1.0
            for k in range(K):
                start[k, lane], end[k, lane], before[k, lane] = pi[k], weights[g, lane], 0.0
        n = min(overlap, shapes[g, 4])
        if n > 0:
            _stretch(kind, x, log_rho, place, table, heights, model, eta, begins[g, 0] - n, n, halo, rows, room)
            for k in range(K):
                message[k] = pi[k] if n == shapes[g, 4] else _evenly(by_column, k)
            _ahead(halo, n, A, message, own)
            for k in range(K):
                start[k, 0], before[k, 0] = message[k], own[k]
        most = max(most, _filter(density, by_column, steps, overlap, linked, start, vectors[1], r, scale))

        m = (lengths[g, tail] - 1) * LANES + tail
        for k in range(K):
            seams[g, 0, k], seams[g, 1, k] = start[k, 0], 0.0
            for j in range(K):
                seams[g, 1, k] += r[j, m] * A[j, k]
        n = min(overlap, shapes[g, 5])
        if n > 0:
            after = begins[g, tail] + lengths[g, tail]
            _stretch(kind, x, log_rho, place, table, heights, model, eta, after, n, halo, rows, room)
            for k in range(K):
                message[k] = 1.0
            _behind(halo, n, A, message, own)
            total = 0.0
            for k in range(K):
                total += r[k, m] * message[k]
            for k in range(K):
                end[k, tail] = message[k] * (weights[g, tail] / total)
        for lane in range(1, LANES if linked else 1):
            for k in range(K):
                before[k, lane] = r[k, (steps - 1) * LANES + lane - 1]
        own_weights = weights[g]
        took = _smooth(
            density, A, by_column, steps, overlap, linked, sparse, own_weights, vectors, beta, r, scale, last, acc
        )
        most = max(most, took)
        if sparse and not _kept(beta[K], scale, lengths[g], own_weights, steps):
            return np.nan, -1

        for k in range(K):
            seams[g, 2, k], seams[g, 3, k] = end[k, tail], beta[k, 0]
            for lane in range(LANES):
                if lengths[g, lane] > 0 and (shapes[g, 4] == 0 if lane == 0 else not linked):
                    firsts[k] += r[k, lane]
            for j in range(K):
                for lane in range(LANES):
                    pairs[j, k] += A[j, k] * (acc[j * K + k, lane] + before[j, lane] * v[k, lane])
        for column in range(0, columns, TOGETHER):
            n = min(TOGETHER, columns - column)
            _columns(begins[g], lengths[g], column, rows[:n], ended)
            _statistics(kind, x, place, totals, model, rows[:n], ended, column, r, s, room)
        log_z += _log_z(scale, tops, lengths[g], weights[g], shortest, steps)
        if not np.isfinite(log_z):
            return np.nan, -1
    return log_z, most
