"""What the points of a block are to `mixtures.engines.lanes`: densities in each state, and statistics.

Column LANES i + l of an array is step i of lane l. Coordinates are laid out so, once if they can be kept, and what is computed
of them goes along memory; of points that are among a few distinct rows a table of these has the densities.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int32, int64, njit
from numba.core import types

from mixtures.engines.fused import coordinates, read_only
from mixtures.engines.products import add_sums, densities
from mixtures.engines.softmax import EXACT, _exp, _larger
from mixtures.engines.vectors import LANES

# Steps of a block that are gone through together, and their columns.
STEPS = 15
TOGETHER = STEPS * LANES

# The log of the smallest density relative to the largest.
FAINT = -600.0

# What is known of the points: their coordinates, which of some distinct rows they are, or their log densities.
NUMBERS, PLACES, DENSITIES = 0, 1, 2

# Of `mixtures.engines.lanes.sweep`: its points and its blocks.
POINTS = types.Tuple(
    (
        int64,
        read_only(float64, 2),
        read_only(float64, 1),
        read_only(float64, 2),
        float64[::1],
        read_only(int64, 2),
        read_only(float64, 2),
        read_only(float64, 2),
        read_only(int32, 1),
        read_only(int32, 1),
        read_only(float64, 2),
        read_only(float64, 1),
    )
)
BLOCKS = types.Tuple((int64[:, ::1], int64[:, ::1], float64[:, ::1], int64[:, ::1]))


@njit(nogil=True)
def lay(x, origin, unit, begins, lengths, steps, z, points):
    """Coordinates z (D, M) of the points of a block, and zeros where a lane has ended."""
    for lane in range(LANES):
        for first in range(0, lengths[lane], TOGETHER):
            n, row = min(TOGETHER, lengths[lane] - first), begins[lane] + first
            coordinates(x[row : row + n], origin, unit, points)
            for d in range(len(z)):
                for i in range(n):
                    z[d, (first + i) * LANES + lane] = points[d + 1, i]
        for i in range(lengths[lane], steps):
            for d in range(len(z)):
                z[d, i * LANES + lane] = 0.0


@njit(nogil=True)
def of_block(laid, D, shape):
    """The coordinates (D, M) of one block of all that are laid out."""
    return laid[D * shape[6] : D * (shape[6] + shape[7])].reshape(D, shape[7])


@njit(
    (read_only(float64, 2), read_only(float64, 1), read_only(float64, 2), BLOCKS, float64[::1]), nogil=True, cache=True
)
def lay_all(x, origin, unit, blocks, laid):
    """Lay out the coordinates of all points in blocks, block by block, in ``laid``; see `mixtures.engines.lanes.sweep`."""
    begins, lengths, _, shapes = blocks
    D = x.shape[1]
    points = np.ones((D + 1, TOGETHER))
    for g in range(len(begins)):
        lay(x, origin, unit, begins[g], lengths[g], shapes[g, 0], of_block(laid, D, shapes[g]), points)


@njit(nogil=True, fastmath=EXACT)
def _relative(b, first, n, top):
    """Log densities of n points, b (K, M) from a column on, become densities over the largest, whose logarithm is its top."""
    own = b[0, first : first + n]
    for m in range(n):
        top[m] = own[m]
    for k in range(1, len(b)):
        own = b[k, first : first + n]
        for m in range(n):
            top[m] = _larger(top[m], own[m])  # type: ignore[call-arg]
    for k in range(len(b)):
        own = b[k, first : first + n]
        for m in range(n):
            own[m] = _exp(_larger(own[m] - top[m], FAINT))  # type: ignore[call-arg]


@njit(nogil=True)
def _from_table(place, table, heights, b, first, n, top):
    """`_relative` of points in n places among the rows of a table (U, K), whose tops are known."""
    for m in range(n):
        here = place[m]
        top[m] = heights[here]
        for k in range(len(b)):
            b[k, first + m] = table[here, k]


@njit(nogil=True)
def _nothing(lengths, first, n, b, top):
    """In n columns from ``first`` on there is no density where a lane has ended."""
    for m in range(n):
        if (first + m) // LANES >= lengths[(first + m) % LANES]:
            top[m] = 0.0
            for k in range(len(b)):
                b[k, first + m] = 0.0


@njit(nogil=True)
def see(points, z, ones, places, begins, lengths, shape, b, tops):
    """Densities b (K, M) of a block over the largest of each point, and the sums of the logarithms of these, by column."""
    kind, _, _, _, _, runs, eta, log_rho, _, _, table, heights = points
    top, columns = np.empty(TOGETHER), shape[0] * LANES
    for first in range(0, columns, TOGETHER):
        n = min(TOGETHER, columns - first)
        if kind == PLACES:
            _from_table(places[first : first + n], table, heights, b, first, n, top)
        elif kind == NUMBERS:
            densities(eta, runs, z, ones, first, b, first, n)
            _relative(b, first, n, top)
        else:
            for m in range(first, first + n):
                row = begins[m % LANES] + max(0, min(m // LANES, lengths[m % LANES] - 1))
                for k in range(len(b)):
                    b[k, m] = log_rho[row, k]
            _relative(b, first, n, top)
        if first + n > shape[1] * LANES:
            _nothing(lengths, first, n, b, top)
        for m in range(n):
            tops[m] += top[m]


@njit(nogil=True)
def see_rows(points, room, ones, first, n, halo):
    """Densities of n rows one after another, in ``halo`` (K, M); ``room`` (D + 1, TOGETHER) has ones in its first row."""
    kind, x, origin, unit, _, runs, eta, log_rho, place, _, table, heights = points
    top = np.empty(TOGETHER)
    for start in range(0, n, TOGETHER):
        some, row = min(TOGETHER, n - start), first + start
        if kind == PLACES:
            _from_table(place[row : row + some], table, heights, halo, start, some, top)
            continue
        if kind == NUMBERS:
            coordinates(x[row : row + some], origin, unit, room)
            densities(eta, runs, room[1:], ones, 0, halo, start, -(-some // LANES) * LANES)
        else:
            for m in range(some):
                for k in range(len(halo)):
                    halo[k, start + m] = log_rho[row + m, k]
        _relative(halo, start, some, top)


@njit(nogil=True)
def add_statistics(points, z, ones, places, begins, lengths, columns, r, sums, totals):
    """Add the statistics of a block with r (K, M) to sums (K, P, NARROW), or to the totals (U, K) of distinct rows.

    Where densities were given, write r to totals (N, K).
    """
    kind, runs = points[0], points[5]
    for first in range(0, columns, TOGETHER):
        n = min(TOGETHER, columns - first)
        if kind == NUMBERS:
            add_sums(r, first, runs, z, ones, first, n, sums)
        elif kind == PLACES:
            for m in range(first, first + n):
                here = places[m]
                for k in range(len(r)):
                    totals[here, k] += r[k, m]
        else:
            for m in range(first, first + n):
                if m // LANES < lengths[m % LANES]:
                    for k in range(len(r)):
                        totals[begins[m % LANES] + m // LANES, k] = r[k, m]
