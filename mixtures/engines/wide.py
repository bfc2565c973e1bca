"""The one pass over rows of many features, in compiled loops: products z_i z_j of whitened coordinates that are never formed.

A block of B points lies with its coordinates first, below a row of ones, (D + 1, B), and is

    rho_k  = sum_i z_i (sum_(j >= i) eta_kij z_j)        tiles of ROWS clusters and VECTORS registers of points   (K, B)
    r      = exp(rho - max rho) / sum                    responsibilities, in the place of rho, or labels         (K, B)
    s_kij += sum_n (r_kn z_in) z_jn                      tiles of ROWS clusters and COLUMNS coordinates           (K, P)

The sums of a tile stay in registers, as many as the machine has. To whiten the rows takes a tenth of a pass: who goes over them
again can have the blocks kept. Threads and the order of the sums are as in `mixtures.engines.fused`.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import float64, int64, njit, void
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from mixtures.engines.fused import A_THREAD, coordinates, draw, in_pieces, read_only
from mixtures.engines.softmax import softmax
from mixtures.engines.vectors import DOUBLE, INDEX, Code
from mixtures.model import Family

# Numbers of a vector register, of which there are 32 of eight or 16 of four, and the largest tiles.
LARGE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
LANES, ROWS, VECTORS, COLUMNS = (8, 5, 4, 4) if LARGE else (4, 4, 3, 3)

# Points of a block, whole tiles of which no more stay in cache; blocks of what a thread is given, at least and at most.
BLOCK = 320 // (LANES * VECTORS) * LANES * VECTORS
SMALLEST, LARGEST = 13, 205

VECTOR = ir.VectorType(DOUBLE, LANES)


def pass_(
    family: Family,
    x: np.ndarray,
    weights: np.ndarray | None,
    eta: np.ndarray,
    u: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    known: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log_z and the sufficient statistics, expected or of drawn labels; see `mixtures.engines.plain.pass_`.

    The coordinates are kept in ``kept`` if there is room, see `aligned`, or are known to be there from an earlier pass over x.
    """
    runs = np.require(eta.reshape(-1, *eta.shape[-2:]), np.float64, ("C", "A"))
    u = np.empty((len(runs), 0)) if u is None else u.reshape(len(runs), -1)
    R, K, _ = runs.shape
    N, D = x.shape
    model = family.origin, np.require(np.atleast_2d(family.unit), np.float64, "C")

    def piece(blocks: slice) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(blocks.start * BLOCK, blocks.stop * BLOCK)
        w = np.empty(0) if weights is None else weights[rows]
        parts = (np.empty((0, D)) if known else x[rows], w, u[:, rows])
        own, w, uniform = (np.require(a, np.float64, ("C", "A")) for a in parts)
        z = aligned(1, D + 1) if kept is None else kept[blocks]
        log_z, s = np.zeros(R), np.zeros(runs.shape)
        n, rooms = min(rows.stop, N) - rows.start, aligned(1, K + ROWS)
        _pass(own, w, uniform, *model, z, n, runs, rooms, log_z, s)
        return log_z, s

    log_z, s = in_pieces(piece, -(-N // BLOCK), SMALLEST, LARGEST, N * runs.size // A_THREAD)
    return np.sum(log_z, axis=0).reshape(eta.shape[:-2]), np.sum(s, axis=0).reshape(eta.shape)


def aligned(blocks: int, rows: int) -> np.ndarray:
    """Ones in blocks (blocks, rows, BLOCK) that begin where a register of numbers is quickest to fetch."""
    size = blocks * rows * BLOCK
    numbers = np.ones(size + LANES)
    return numbers[-(numbers.ctypes.data // 8) % LANES :][:size].reshape(blocks, rows, BLOCK)


@intrinsic
def _densities(context, rows, eta, k, p, z, i, rho, b):
    """rho += z_i (sum_(j >= i) eta_kp z_j) for ``rows`` clusters from k on and VECTORS registers of points from b on."""

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args, args, VECTOR)
        rows, eta, k, p, z, i, rho, b = code.arrays
        points = [builder.add(b, INDEX(v * LANES)) for v in range(VECTORS)]

        def of(height: int) -> None:
            clusters = [builder.add(k, INDEX(own)) for own in range(height or ROWS)]
            tile = [(own, v) for own in range(len(clusters)) for v in range(VECTORS)]

            def term(j: Any, sums: list[Any]) -> list[Any]:
                at = builder.add(p, builder.sub(j, i))
                others = [code.load(z, j, point) for point in points]
                own = [code.number(eta, cluster, at) for cluster in clusters]
                return [code.add(total, own[c], others[v]) for (c, v), total in zip(tile, sums, strict=True)]

            found = code.loop(i, 1, builder.sub(code.length(z), i), [VECTOR(None)] * len(tile), term)
            factors = [code.load(z, i, point) for point in points]
            for (c, v), total in zip(tile, found, strict=True):
                place = rho, clusters[c], points[v]
                code.store(code.add(code.load(*place), factors[v], total), *place)

        code.choose(rows, range(1, ROWS), of)
        return context.get_dummy_value()

    return types.void(rows, eta, k, p, z, i, rho, b), generate


@intrinsic
def _sums(context, rows, columns, part, z, j, steps, s, k, p):
    """s_kp += sum of part_l z_j over so many registers of points, for ``rows`` clusters and ``columns`` coordinates."""

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args, args, VECTOR)
        rows, columns, part, z, j, steps, s, k, p = code.arrays
        kind = ir.FunctionType(DOUBLE, [DOUBLE, VECTOR])
        add_up = get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f64")

        def of(height: int, width: int) -> None:
            clusters = [builder.add(k, INDEX(own)) for own in range(height)]
            left = [code.at(part, INDEX(own), INDEX(0)) for own in range(height)]
            right = [code.at(z, builder.add(j, INDEX(c)), INDEX(0)) for c in range(width)]
            tile = [(own, c) for own in range(height) for c in range(width)]

            def point(m: Any, sums: list[Any]) -> list[Any]:
                here = builder.mul(m, INDEX(8 * LANES))
                own = [code.numbers(builder.gep(row, [here])) for row in left]
                others = [code.numbers(builder.gep(row, [here])) for row in right]
                return [code.add(total, own[a], others[c]) for (a, c), total in zip(tile, sums, strict=True)]

            found = code.loop(INDEX(0), 1, steps, [VECTOR(None)] * len(tile), point)
            for (own, c), total in zip(tile, found, strict=True):
                place = builder.bitcast(code.at(s, clusters[own], builder.add(p, INDEX(c))), DOUBLE.as_pointer())
                sum_ = builder.call(add_up, [DOUBLE(0.0), total], fastmath=("reassoc", "nsz"))
                builder.store(builder.fadd(builder.load(place), sum_), place)

        def tall(height: int) -> None:
            code.choose(columns, range(1, COLUMNS), lambda width: of(height or ROWS, width or COLUMNS))

        code.choose(rows, range(1, ROWS), tall)
        return context.get_dummy_value()

    return types.void(rows, columns, part, z, j, steps, s, k, p), generate


@intrinsic
def _times(context, rows, r, k, z, i, steps, part):
    """part_l = r_kl z_i over so many registers of points, for the l-th of ``rows`` clusters from k on."""

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args, args, VECTOR)
        rows, r, k, z, i, steps, part = code.arrays

        def of(height: int) -> None:
            own = range(height or ROWS)

            def point(m: Any, _: Any) -> list[Any]:
                here = builder.mul(m, INDEX(LANES))
                factor = code.load(z, i, here)
                for row in own:
                    product = code.multiply(code.load(r, builder.add(k, INDEX(row)), here), factor)
                    code.store(product, part, INDEX(row), here)
                return []

            code.loop(INDEX(0), 1, steps, [], point)

        code.choose(rows, range(1, ROWS), of)
        return context.get_dummy_value()

    return types.void(rows, r, k, z, i, steps, part), generate


@njit(nogil=True)
def _share(left, most):
    """How many of those left a tile of so many at most has, none being much smaller than another."""
    return -(-left // -(-left // most))


@njit(nogil=True)
def _add_densities(eta, z, rho, n):
    """rho (K, B) += eta t over the first n points and those that fill their last tile, for eta (K, P)."""
    K, D = len(eta), len(z)
    for b in range(0, n, LANES * VECTORS):
        k = 0
        while k < K:
            rows, p = _share(K - k, ROWS), 0
            for i in range(D):
                _densities(rows, eta, k, p, z, i, rho, b)  # type: ignore[call-arg]
                p += D - i
            k += rows


@njit(nogil=True)
def _add_statistics(r, z, part, s, n):
    """s (K, P) += r t^T over n points, a multiple of LANES; part (ROWS, B) is room."""
    K, D = len(r), len(z)
    steps, p = n // LANES, 0
    for i in range(D):
        k = 0
        while k < K:
            rows, j = _share(K - k, ROWS), i
            _times(rows, r, k, z, i, steps, part)  # type: ignore[call-arg]
            while j < D:
                columns = _share(D - j, COLUMNS)
                _sums(rows, columns, part, z, j, steps, s, k, p + j - i)  # type: ignore[call-arg]
                j += columns
            k += rows
        p += D - i


@njit(
    void(
        read_only(float64, 2),
        read_only(float64, 1),
        read_only(float64, 2),
        read_only(float64, 1),
        read_only(float64, 2),
        float64[:, :, ::1],
        int64,
        read_only(float64, 3),
        float64[:, :, ::1],
        float64[::1],
        float64[:, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def _pass(x, w, u, origin, unit, z, n, eta, rooms, log_z, s):
    """Add the passes of R runs eta (R, K, P) over n rows, of weights w (n,) or empty for one.

    Labels are drawn with the uniform numbers u (R, n), or not if they are empty. The coordinates of x (n, D) are put into the
    blocks z (n / B, D + 1, B), or each in the place of the last one if there is one block; if x is empty they are there. The
    others of the ``rooms`` are for rho (K, B) and products (ROWS, B).
    """
    K, one = eta.shape[1], len(z) == 1
    rho, part = rooms[0, :K], rooms[0, K:]
    weight, top, total = np.ones(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        own = z[0 if one else start // BLOCK]
        if x.size:
            coordinates(x[start : start + size], origin, unit, own)
        for b in range(size if w.size else 0):
            weight[b] = w[start + b]
        full = -(-size // LANES) * LANES
        for run in range(len(eta)):
            rho[:] = 0.0
            _add_densities(eta[run], own, rho, size)
            log_z[run] += softmax(rho, weight, top, total, size)
            if u.size:
                draw(rho, weight, u[run, start : start + size], top, size)
            rho[:, size:full] = 0.0
            _add_statistics(rho, own, part, s[run], full)
