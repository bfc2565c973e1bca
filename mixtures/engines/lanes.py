"""The pass over several series, or parts of one, side by side in compiled loops; see `mixtures.engines.split`.

A block has a series or a part of one in each of its lanes, and is gone through as a whole while it is in the cache:

    b           densities of the points in each state, over the largest of them             (K, steps, lanes)
    alpha       forward                                                                      (K, steps, lanes)
    r           alpha beta, a few steps of beta at a time, in the place of alpha             (K, steps, lanes)
    s          += r t^T

Parts of one series hang together: the next lane begins with what the last one ends with. Filters forget where they began, so
that each lane begins with what follows from the last ``overlap`` steps ahead of it alone, and this is compared afterwards with
what the lane before arrived at, state by state and relative to its size. Probabilities of all that comes later are sums of
products of these and of positive numbers, so that they are off by as little. Where the two differ, all begin again with what
they should have begun with, as often as it takes; after as many times as there are lanes it is exact.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import boolean, float64, int64, njit
from numba.core import types
from numba.extending import intrinsic

from mixtures.engines.both_ends import LEAST, MET
from mixtures.engines.fused import read_only
from mixtures.engines.laid import (
    BLOCKS,
    NUMBERS,
    PLACES,
    POINTS,
    STEPS,
    TOGETHER,
    add_statistics,
    lay,
    of_block,
    see,
    see_rows,
)
from mixtures.engines.products import NARROW, add_run
from mixtures.engines.softmax import EXACT, _bits, _float, _larger, _log
from mixtures.engines.vectors import LANES, backward, forward

# Largest relative difference between what a lane began with and what the one before arrived at, and what it may be beside that
# as a share of the sum over states: less than what could matter where no beta is above 1 / `mixtures.engines.both_ends.MET`.
SAME, TINY = 1e-12, 1e-80

# Parts of a float: the bits of its mantissa, those of 1.0, and what its exponent is counted from.
MANTISSA, ONE, BIAS, LN2 = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000, 1023, float(np.log(2))


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
def _back(b, A, v, inverse, end, last, beta, trail, stop):
    """`backward` from step stop - 1 to the first, for v alone."""
    while stop > 0:
        first = max(0, stop - STEPS)
        backward(b, A, v, inverse, end, last, beta, trail, first, stop)
        stop = first


@njit(nogil=True)
def _guess(b, A, steps, overlap, weights, v, inverse, end, last, beta, trail, found):
    """What each lane ends with, (K, LANES), from the first steps of the next one."""
    n = min(overlap, steps)
    m = (n - 1) * LANES
    for k in range(len(b)):
        for lane in range(LANES):
            v[k, lane] = b[k, m + lane] * inverse[0, m + lane] * weights[lane]
    _back(b, A, v, inverse, end, last, beta, trail, n - 1)
    _times(A, v, found)
    _hand_on(found, True, end)


@njit(nogil=True, fastmath=EXACT)
def _meet(alpha, first, n, beta, largest):
    """alpha (K, M) becomes alpha beta in n columns; the largest beta of each column goes to ``largest`` unless it is empty."""
    for k in range(len(alpha)):
        own, other = alpha[k, first : first + n], beta[k, :n]
        for m in range(n):
            own[m] *= other[m]
        if largest.size:
            for m in range(n):
                largest[m] = _larger(largest[m], other[m])


@njit(nogil=True)
def _smooth(b, A, by_column, lengths, weights, vectors, beta, trail, alpha, inverse, last, ones, pairs, largest):
    """Smoothed probabilities in the place of alpha, sums (K, K, NARROW) of alpha_t(j) v_(t+1)(k); how often it took."""
    start, p, end, v, found = vectors[0], vectors[1], vectors[2], vectors[3], vectors[5]
    steps, overlap, linked = lengths
    K, rounds = len(v), 0
    if linked:
        _guess(b, A, steps, overlap, weights, v, inverse, end, last, beta, trail, found)
    while True:
        if rounds > 0:
            _copy(start, p)
            forward(b, by_column, p, alpha, inverse, 0, steps)
        v[:] = 0.0
        pairs[:] = 0.0
        largest[:] = 0.0
        stop = steps
        while stop > 0:
            first = max(0, stop - STEPS)
            n = (stop - first) * LANES
            backward(b, A, v, inverse, end, last, beta, trail, first, stop)
            add_run(alpha, first * LANES, 0, trail, ones, 1, 0, n, pairs, 0, K)
            _meet(alpha, first * LANES, n, beta, largest)
            stop = first
        rounds += 1
        _times(A, v, found)
        if not linked or rounds > LANES or not _hand_on(found, True, end):
            return rounds


@njit(nogil=True)
def _kept(largest, inverse, lengths, weights, steps):
    """Whether no state was lost that matters, from the largest beta by column; see `mixtures.engines.both_ends`."""
    for m in range(len(largest)):
        if lengths[m % LANES] > 0 and not largest[m] * MET <= weights[m % LANES]:
            return False
    lost = 0
    for m in range(steps * LANES):
        lost += m // LANES < lengths[m % LANES] and not inverse[0, m] <= 1 / LEAST
    return lost == 0


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _log_z(inverse, tops, lengths, weights, shortest, steps):
    """Log normaliser of a block, by what probabilities were scaled by and the tops of its points; not a number if one was lost.

    Where a sum was too small all that follow in the lane are zero. Products of mantissas stand for sums of logarithms.
    """
    for lane in range(LANES):
        if lengths[lane] > 0 and not inverse[0, (lengths[lane] - 1) * LANES + lane] > 0:
            return np.nan
    own = inverse[0, : steps * LANES]
    for m in range(shortest * LANES, len(own)):
        if m // LANES >= lengths[m % LANES]:
            own[m] = 1.0
    product, exponent = np.ones(TOGETHER), np.zeros(TOGETHER, np.int64)
    for first in range(0, len(own), TOGETHER):
        some = own[first : first + TOGETHER]
        for m in range(len(some)):
            bits = _bits(some[m])
            exponent[m] += (bits >> 52) - BIAS
            product[m] *= _float((bits & MANTISSA) | ONE)
    total = 0.0
    for m in range(TOGETHER):
        if lengths[m % LANES] > 0:
            total += weights[m % LANES] * (tops[m] - _log(product[m]) - exponent[m] * LN2)
    return total


@njit(nogil=True)
def _sweep(points, chain, blocks, overlap, rooms, s, totals, firsts, pairs, seams):
    """`sweep` through some blocks: their log normaliser, and how often it took at most."""
    pi, A, by_column, sparse = chain
    begins, lengths, weights, shapes = blocks
    b, alpha, room = rooms
    D, K, most, log_z = points[1].shape[1], len(A), 1, 0.0
    vectors = np.empty((6, K, LANES))
    start, end, v, before, found = vectors[0], vectors[2], vectors[3], vectors[4], vectors[5]
    last, message, own, tops = np.empty((1, LANES)), np.empty(K), np.empty(K), np.empty(TOGETHER)
    ones, some, halo = np.ones((1, TOGETHER)), np.ones((1 + D, TOGETHER)), np.empty((K, overlap + LANES))
    beta, trail, largest = np.empty((K, TOGETHER)), np.empty((K, TOGETHER)), np.empty(TOGETHER if sparse else 0)
    acc, sums = np.empty((K, K, NARROW)), np.zeros((K, s.shape[1], NARROW))
    r, inverse = alpha[:K], alpha[K:]
    for g in range(len(begins)):
        steps, shortest, tail, linked = shapes[g, 0], shapes[g, 1], shapes[g, 2], shapes[g, 3] > 0
        z, places = room, points[9][:0]
        if points[0] == PLACES:
            places = points[9][shapes[g, 6] : shapes[g, 6] + shapes[g, 7]]
        elif points[4].size:
            z = of_block(points[4], D, shapes[g])
        elif points[0] == NUMBERS:
            lay(points[1], points[2], points[3], begins[g], lengths[g], steps, z, some)
        tops[:] = 0.0
        see(points, z, ones, places, begins[g], lengths[g], shapes[g], b, tops)

        for lane in range(LANES):
            last[0, lane] = lengths[g, lane] - 1.0
            for k in range(K):
                start[k, lane], end[k, lane], before[k, lane] = pi[k], weights[g, lane], 0.0
        n = min(overlap, shapes[g, 4])
        if n > 0:
            see_rows(points, some, ones, begins[g, 0] - n, n, halo)
            for k in range(K):
                message[k] = pi[k] if n == shapes[g, 4] else _evenly(by_column, k)
            _ahead(halo, n, A, message, own)
            for k in range(K):
                start[k, 0], before[k, 0] = message[k], own[k]
        most = max(most, _filter(b, by_column, steps, overlap, linked, start, vectors[1], r, inverse))

        m = (lengths[g, tail] - 1) * LANES + tail
        for k in range(K):
            seams[g, 0, k], seams[g, 1, k] = start[k, 0], 0.0
            for j in range(K):
                seams[g, 1, k] += r[j, m] * A[j, k]
        n = min(overlap, shapes[g, 5])
        if n > 0:
            see_rows(points, some, ones, begins[g, tail] + lengths[g, tail], n, halo)
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
        own_weights, steps_of = weights[g], (steps, overlap, linked)
        took = _smooth(
            b, A, by_column, steps_of, own_weights, vectors, beta, trail, r, inverse, last, ones, acc, largest
        )
        most = max(most, took)
        if sparse and not _kept(largest, inverse, lengths[g], own_weights, steps):
            return np.nan, -1

        for k in range(K):
            seams[g, 2, k], seams[g, 3, k] = end[k, tail], found[k, 0]
            for lane in range(LANES):
                if lengths[g, lane] > 0 and (shapes[g, 4] == 0 if lane == 0 else not linked):
                    firsts[k] += r[k, lane]
            for j in range(K):
                for lane in range(LANES):
                    pairs[j, k] += A[j, k] * before[j, lane] * v[k, lane]
                pairs[j, k] += A[j, k] * acc[j, k].sum()
        add_statistics(points, z, ones, places, begins[g], lengths[g], steps * LANES, r, sums, totals)
        log_z += _log_z(inverse, tops, lengths[g], own_weights, shortest, steps)
        if not np.isfinite(log_z):
            return np.nan, -1
    for k in range(K):
        for p in range(s.shape[1]):
            s[k, p] += sums[k, p].sum()
    return log_z, most


@intrinsic
def _next(context, counter):
    """The number in ``counter`` (1,), which goes up by one before another thread can see it."""

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.IntType(64)(1), "monotonic")

    return types.int64(counter), generate


@njit(
    (
        int64[::1],
        read_only(int64, 1),
        POINTS,
        types.Tuple((float64[::1], float64[:, ::1], float64[:, ::1], boolean)),
        BLOCKS,
        int64,
        types.Tuple((float64[:, ::1], float64[:, ::1], float64[:, ::1])),
        float64[::1],
        int64[::1],
        float64[:, :, ::1],
        float64[:, :, ::1],
        float64[:, ::1],
        float64[:, :, ::1],
        float64[:, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def sweep(counter, cuts, points, chain, blocks, overlap, rooms, log_z, rounds, s, totals, firsts, pairs, seams):
    """Forward and backward through blocks of series or of parts of one, piece by piece of those that are left.

    To s (n, K, P) or totals (n, U, K), firsts (n, K) and pairs (n, K, K) of n pieces is added; of points that are known by
    their log densities r is written to totals (1, N, K).

    Parameters
    ----------
    counter, cuts
        The next piece (1,), and between which blocks each is (n + 1,).
    points
        What is known of them: their numbers x (N, D), the origin and unit of their coordinates, these laid out in blocks or
        nothing, the runs of their products, as in `mixtures.engines.products`, and eta (K, P); their log densities (N, K);
        their places (N,) among distinct rows, and the same laid out, with the densities (U, K) there over the largest of
        them, whose logarithms follow (U,). Which of the three stands first.
    chain
        Probabilities of the start (K,) and of transitions (K, K), and these transposed; whether one of them is so small, or
        zero, that a state may be lost that matters.
    blocks
        The first row of each lane (G, LANES), its number of rows, and the weight of its series; and of each block (G, 8) the
        longest of the lanes, the shortest, the last that has rows, whether each goes on where the one before ends, how many
        rows of the same series there are before the first lane and after the last, and the columns where it is laid out:
        after how many, and how many.
    overlap
        How many steps ahead a lane begins.
    rooms
        (K, M), (K + 1, M), and (D, M) for coordinates if they are not laid out.
    log_z, rounds
        Take the log normaliser of each piece (n,), and how often it took at most: -1 says that a probability was too small, or
        no number.
    seams
        Takes what the first lane began with and what follows after the last one, what that ended with and what the first one
        arrived at, (G, 4, K).
    """
    begins, lengths, weights, shapes = blocks
    while True:
        piece = _next(counter)  # type: ignore[call-arg]
        if piece >= len(log_z):
            return
        some = slice(cuts[piece], cuts[piece + 1])
        own = begins[some], lengths[some], weights[some], shapes[some]
        sums = s[piece], totals[min(piece, len(totals) - 1)], firsts[piece], pairs[piece]
        log_z[piece], rounds[piece] = _sweep(points, chain, own, overlap, rooms, *sums, seams[some])
