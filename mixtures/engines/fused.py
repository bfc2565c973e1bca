"""The one pass over the data in compiled loops: blocks that stay in cache, features first, on all cores.

A block of B points is turned round to (D, B), so that every loop below runs along memory and fills the vector registers:

    t   = z_i z_j                        128 features of the block at a time                   (128, B)
    rho = eta t                          tiles of four clusters and twelve points              (K, B)
    r   = exp(rho - max rho) / sum       responsibilities, in the place of rho, or labels      (K, B)
    s  += r t^T                          two clusters and four features at a time              (K, P)

Where there are more features they are worked out twice, for rho and for s: a product costs less than to fetch it from beyond
the cache. Where they are all products z_i z_j, and D is large beside K, they are not worked out at all:

    rho   = sum_i z_i (sum_(j >= i) eta_ij z_j)          s_ij += (r z_i) z_j^T

Long passes over wide rows have loops of their own, `mixtures.engines.wide`. Nothing else is held. Rows go to threads in pieces
whose size depends on N alone and whose sums are added in order, so that the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from llvmlite import ir
from numba import float64, njit, void
from numba.core import config, types
from numba.extending import intrinsic

from mixtures.engines.accurate import accurate, loses
from mixtures.engines.matrices import FEATURES, in_rows, parts_of_features
from mixtures.engines.softmax import EXACT, LOOSE, pool, softmax
from mixtures.model import Family

LANES, VECTORS, ROWS = 4, 3, 4  # a tile of ROWS clusters and LANES * VECTORS points fills 12 of 16 vector registers
BLOCK = 20 * LANES * VECTORS  # of FEATURES, 240 KiB
PIECES, SMALLEST_PIECE, LARGEST_PIECE = 16, 4096, 65_536
A_THREAD = 500_000  # multiplications of a thread at least: to start one for fewer costs more than it saves


def pass_(
    family: Family, x: np.ndarray, weights: np.ndarray | None, eta: np.ndarray, u: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log_z and the sufficient statistics, expected or of drawn labels; see `mixtures.engines.plain.pass_`.

    Rows in another type than float64 are converted piece by piece.
    """
    many = x.ndim == 3
    runs = eta.reshape(len(x) if many else 1, -1, *eta.shape[-2:])
    u = np.empty((*runs.shape[:2], 0)) if u is None else u.reshape(*runs.shape[:2], -1)
    by_rows = in_rows(family, *eta.shape[-2:])
    edges = parts_of_features(len(family.unit), eta.shape[-1], by_rows)
    model = (family.origin, np.require(np.atleast_2d(family.unit), np.float64, "C"), family.monomials, edges, by_rows)

    def piece(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        w = np.empty((0,) * (x.ndim - 1)) if weights is None else weights[rows]
        parts = (x[rows], w, *((runs[rows], u[rows]) if many else (runs, u[..., rows])))
        own, w, part, uniform = (np.require(a, np.float64, ("C", "A")) for a in parts)
        log_z, s = np.zeros(part.shape[:2]), np.zeros(part.shape)
        _pass(*((own, w) if many else (own[None], w[None])), uniform, *model, part, log_z, s)
        return log_z, s

    sizes = (32, len(x)) if many else (SMALLEST_PIECE, LARGEST_PIECE)
    log_z, s = in_pieces(piece, len(x), *sizes, x[..., 0].size * runs[0].size // A_THREAD)
    join = np.concatenate if many else partial(np.sum, axis=0)
    return join(log_z).reshape(eta.shape[:-2]), join(s).reshape(eta.shape)


def in_pieces(
    piece: Callable[[slice], tuple[np.ndarray, np.ndarray]], n: int, smallest: int, largest: int, threads: int
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """What a function of rows returns for pieces of n rows, in their order.

    By so many threads, but no more than numba was told to use, and at least one.
    """
    size = min(max(-(-n // PIECES), smallest), largest)
    starts = range(0, n, size)
    found = dict.fromkeys(starts)
    left = iter(starts)

    def work() -> None:
        for start in left:
            found[start] = piece(slice(start, start + size))

    others = [pool().submit(work) for _ in range(min(threads, config.NUMBA_NUM_THREADS, len(starts)) - 1)]
    work()
    for other in others:
        other.result()
    log_z, s = zip(*found.values(), strict=True)
    return log_z, s


@njit(nogil=True, fastmath=EXACT)
def coordinates(x, origin, unit, z):
    """z of the points x (n, D), below a first row of ones, (D + 1, B), for scales (1, D) or a triangle (D, D)."""
    n, D = x.shape
    if len(unit) > 1 and loses(unit):
        accurate(x, origin, unit, z)
        return
    for d in range(D):
        row = unit[min(d, len(unit) - 1)]
        scale, known = 1 / row[d], d if len(unit) > 1 else 0
        for b in range(n):
            z[d + 1, b] = (x[b, d] - origin[d]) * scale
        for i in range(known % 4):
            a = row[i] * scale
            for b in range(n):
                z[d + 1, b] -= a * z[i + 1, b]
        for i in range(known % 4, known, 4):
            a0, a1, a2, a3 = row[i] * scale, row[i + 1] * scale, row[i + 2] * scale, row[i + 3] * scale
            for b in range(n):
                z[d + 1, b] -= a0 * z[i + 1, b] + a1 * z[i + 2, b] + a2 * z[i + 3, b] + a3 * z[i + 4, b]


@njit(nogil=True, fastmath=EXACT)
def _features(z, monomials, first, t, n):
    """The features from number ``first`` on, as many as t (Q, B) holds, of the first n points."""
    m, previous = 0, -1
    while monomials[m, 0] < first:
        m += 1
    while m < len(monomials) and monomials[m, 0] < first + len(t):
        p, i, j = monomials[m, 0], monomials[m, 1], monomials[m, 2]
        if p != previous:
            for b in range(n):
                t[p - first, b] = z[i, b] * z[j, b]
        else:
            for b in range(n):
                t[p - first, b] += z[i, b] * z[j, b]
        previous = p
        m += 1


@intrinsic(prefer_literal=True)
def _tile(context, rows, eta, factor, t, rho, k, b):
    """rho += factor * (eta t) for ``rows`` clusters from k on and LANES * VECTORS points from b on, sums kept in registers."""

    def generate(context, builder, signature, args):
        index, double = ir.IntType(64), ir.DoubleType()
        vector = ir.VectorType(double, LANES)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        *arrays, cluster, point = args[1:]
        kinds = [context.make_array(kind) for kind in signature.args[1:-2]]
        eta, factor, t, rho = (kind(context, builder, value) for kind, value in zip(kinds, arrays, strict=True))
        count = range(rows.literal_value)
        clusters = [builder.add(cluster, index(k)) for k in count]
        points = [builder.add(point, index(v * LANES)) for v in range(VECTORS)]

        def at(array, *indices):
            offset = index(0)
            for axis, i in enumerate(indices):
                offset = builder.add(offset, builder.mul(builder.extract_value(array.strides, axis), i))
            return builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [offset])

        def vectors(array, *indices):
            return [builder.bitcast(at(array, *indices, b), vector.as_pointer()) for b in points]

        def load(pointer):
            loaded = builder.load(pointer)
            loaded.align = 8
            return loaded

        def fused(total, a, b):
            return builder.fadd(total, builder.fmul(a, b, flags=("contract",)), flags=("contract",))

        tile = [(k, v) for k in count for v in range(VECTORS)]
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)

        builder.position_at_end(loop)
        p, sums = builder.phi(index), [builder.phi(vector) for _ in tile]
        features = [load(pointer) for pointer in vectors(t, p)]
        coefficients = []
        for k in clusters:
            one = builder.load(builder.bitcast(at(eta, k, p), double.as_pointer()))
            one = builder.insert_element(vector(ir.Undefined), one, ir.IntType(32)(0))
            coefficients.append(builder.shuffle_vector(one, vector(ir.Undefined), first))
        added = [fused(total, coefficients[k], features[v]) for (k, v), total in zip(tile, sums, strict=True)]
        following = builder.add(p, index(1))
        for phi, start, step in ((p, index(0), following), *zip(sums, [vector(None)] * len(tile), added, strict=True)):
            phi.add_incoming(start, before)
            phi.add_incoming(step, loop)
        builder.cbranch(builder.icmp_signed("<", following, builder.extract_value(eta.shape, 1)), loop, after)

        builder.position_at_end(after)
        factors = [load(pointer) for pointer in vectors(factor)]
        places = [pointer for k in clusters for pointer in vectors(rho, k)]
        for (_, v), total, place in zip(tile, added, places, strict=True):
            builder.store(fused(load(place), factors[v], total), place).align = 8
        return context.get_dummy_value()

    return types.void(rows, eta, factor, t, rho, k, b), generate


@njit(nogil=True)
def product(eta, factor, t, rho, n):
    """rho += factor * (eta t) over the first n points and those that fill their last tile, for eta (K, Q), factor (B,)."""
    K = len(eta)
    for b in range(0, n, LANES * VECTORS):
        k = 0
        while k < K:
            tiles = -(-(K - k) // ROWS)
            rows = -(-(K - k) // tiles)
            if rows == 4:
                _tile(4, eta, factor, t, rho, k, b)
            elif rows == 3:
                _tile(3, eta, factor, t, rho, k, b)
            elif rows == 2:
                _tile(2, eta, factor, t, rho, k, b)
            else:
                _tile(1, eta, factor, t, rho, k, b)
            k += rows


@njit(nogil=True, fastmath=EXACT)
def draw(r, w, u, below, n):
    """The first n columns of r (K, B), each of sum w, become w times the indicator of a label drawn by inversion of u."""
    K = len(r)
    for b in range(n):
        below[b] = 0.0
    for k in range(K - 1):
        for b in range(n):
            reached = below[b] + r[k, b]
            r[k, b] = w[b] if below[b] <= u[b] * w[b] < reached else 0.0
            below[b] = reached
    for b in range(n):
        r[K - 1, b] = w[b] if below[b] <= u[b] * w[b] else 0.0


@njit(nogil=True, fastmath=EXACT)
def _times(r, factor, product, n):
    """product = r * factor over the first n points."""
    for k in range(len(r)):
        for b in range(n):
            product[k, b] = r[k, b] * factor[b]


@njit(nogil=True, fastmath=LOOSE)
def _statistics(r, t, s, n):
    """s += r t^T over the first n points, for s (K, Q)."""
    K, Q = s.shape
    fours, twos = Q - Q % 4, K - K % 2
    for p in range(0, fours, 4):
        for k in range(0, twos, 2):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
            for b in range(n):
                r0, r1, t0, t1, t2, t3 = r[k, b], r[k + 1, b], t[p, b], t[p + 1, b], t[p + 2, b], t[p + 3, b]
                a0 += r0 * t0
                a1 += r0 * t1
                a2 += r0 * t2
                a3 += r0 * t3
                b0 += r1 * t0
                b1 += r1 * t1
                b2 += r1 * t2
                b3 += r1 * t3
            s[k, p] += a0
            s[k, p + 1] += a1
            s[k, p + 2] += a2
            s[k, p + 3] += a3
            s[k + 1, p] += b0
            s[k + 1, p + 1] += b1
            s[k + 1, p + 2] += b2
            s[k + 1, p + 3] += b3
        for k in range(twos, K):
            a0 = a1 = a2 = a3 = 0.0
            for b in range(n):
                a0 += r[k, b] * t[p, b]
                a1 += r[k, b] * t[p + 1, b]
                a2 += r[k, b] * t[p + 2, b]
                a3 += r[k, b] * t[p + 3, b]
            s[k, p] += a0
            s[k, p + 1] += a1
            s[k, p + 2] += a2
            s[k, p + 3] += a3
    for p in range(fours, Q):
        for k in range(K):
            a0 = 0.0
            for b in range(n):
                a0 += r[k, b] * t[p, b]
            s[k, p] += a0


@njit(nogil=True)
def add_densities(z, t, monomials, edges, by_rows, eta, rho, n):
    """rho (R, K, B) += eta t over the first n points, for eta (R, K, P), part by part of the features of z (D + 1, B)."""
    for i in range(len(edges) - 1):
        if not by_rows:
            _features(z, monomials, edges[i], t, n)
        for run in range(len(eta)):
            coefficients = eta[run, :, edges[i] : edges[i + 1]]
            if by_rows:
                product(coefficients, z[i], z[i:], rho[run], n)
            else:
                product(coefficients, z[0], t, rho[run], n)


@njit(nogil=True)
def add_statistics(z, t, monomials, edges, by_rows, r, part, s, n):
    """s (R, K, P) += r t^T over the first n points, for r (R, K, B); t holds the last part of the features."""
    for i in range(len(edges) - 1):
        if not by_rows and len(edges) > 2:
            _features(z, monomials, edges[i], t, n)
        for run in range(len(s)):
            sums = s[run, :, edges[i] : edges[i + 1]]
            if by_rows:
                _times(r[run], z[i], part, n)
                _statistics(part, z[i:], sums, n)
            else:
                _statistics(r[run], t, sums, n)


def read_only(dtype, ndim):
    """The type of an array that may be read only, in the order of C."""
    return types.Array(dtype, ndim, "C", readonly=True)


model_types = (
    read_only(types.float64, 1),
    read_only(types.float64, 2),
    read_only(types.int64, 2),
    types.Array(types.int64, 1, "C"),
    types.boolean,
)


@njit(
    void(
        read_only(float64, 3),
        read_only(float64, 2),
        read_only(float64, 3),
        *model_types,
        read_only(float64, 4),
        float64[:, ::1],
        float64[:, :, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def _pass(x, w, u, origin, unit, monomials, edges, by_rows, eta, log_z, s):
    """Add the passes of R runs eta (G, R, K, P) over each of G data sets x (G, N, D), of weights w (G, N) or empty for one.

    Labels are drawn with the uniform numbers u (G, R, N), or not if they are empty. The features, formed or by rows, are
    taken in parts between ``edges``.
    """
    G, N, D = x.shape
    _, R, K, P = eta.shape
    width = LANES * VECTORS
    B = -(-min(N, BLOCK) // width) * width
    z, t, rho = np.ones((D + 1, B)), np.empty((0 if by_rows else min(P, FEATURES), B)), np.empty((R, K, B))
    part = np.empty((K if by_rows else 0, B))
    weight, top, total = np.ones(B), np.empty(B), np.empty(B)
    for g in range(G):
        for start in range(0, N, B):
            n = min(B, N - start)
            coordinates(x[g, start : start + n], origin, unit, z)
            for b in range(n if w.size else 0):
                weight[b] = w[g, start + b]
            rho[:] = 0.0
            add_densities(z, t, monomials, edges, by_rows, eta[g], rho, n)
            for run in range(R):
                log_z[g, run] += softmax(rho[run], weight, top, total, n)
                if u.size:
                    draw(rho[run], weight, u[g, run, start : start + n], top, n)
            add_statistics(z, t, monomials, edges, by_rows, rho, part, s[g], n)
