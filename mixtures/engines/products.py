"""Log densities that are quadratic in coordinates, and sums of products of these, in compiled loops over points side by side.

Features are products t_p = z_i z_j, or sums of some, with z_0 = 1. They are not formed; with the coefficients in their order,

    rho_k = sum_i z_i (sum_j eta_kp z_j)          s_kp += sum_n (r_nk z_ni) z_nj,

tile by tile, with the sums of a tile in registers. Which p belongs to i and j is told by runs (Q, 4) of one i each, along which
j and p go up together: i, the first j, the first p, and how many there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

from mixtures.engines.vectors import DOUBLE, INDEX, VECTOR, Code
from mixtures.engines.vectors import LANES as WIDE

# Numbers that sums of products are kept in, and rows and columns of a tile of them at most.
NARROW, TILE = 8, 4


def runs_of(monomials: np.ndarray) -> np.ndarray:
    """The runs (Q, 4) of monomials (M, 3), which are p, i and j of every product."""
    found: list[list[int]] = []
    for p, i, j in monomials.tolist():
        if found and found[-1][0] == i and found[-1][1] + found[-1][3] == j and found[-1][2] + found[-1][3] == p:
            found[-1][3] += 1
        else:
            found.append([i, j, p, 1])
    return np.array(found, np.int64).reshape(-1, 4)


def _row(code: Code, z: Any, ones: Any, i: Any, column: Any) -> Any:
    """Where z_i is from a column on, z_0 being ones."""
    own = code.at(z, code.builder.sub(i, INDEX(1)), column)
    return code.builder.select(code.builder.icmp_signed(">", i, INDEX(0)), own, code.at(ones, INDEX(0), INDEX(0)))


@intrinsic
def _densities(context, rows, eta, runs, z, ones, column, rho, k, first):
    """rho of ``rows`` states from k on, at WIDE points from ``first`` on, of coordinates from ``column`` on."""

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args, args, VECTOR)
        rows, eta, runs, z, ones, column, rho, k, first = code.arrays

        def of(size: int) -> None:
            states = [builder.add(k, INDEX(own)) for own in range(size or TILE)]
            nothing = [VECTOR(None)] * len(states)

            def run(q: Any, totals: list[Any]) -> list[Any]:
                i, j, p, count = (code.integer(runs, q, INDEX(own)) for own in range(4))

                def term(c: Any, sums: list[Any]) -> list[Any]:
                    one, place = code.numbers(_row(code, z, ones, builder.add(j, c), column)), builder.add(p, c)
                    pairs = zip(sums, states, strict=True)
                    return [code.add(total, code.number(eta, own, place), one) for total, own in pairs]

                sums = code.loop(INDEX(0), 1, count, nothing, term)
                factor = code.numbers(_row(code, z, ones, i, column))
                return [code.add(total, factor, own) for total, own in zip(totals, sums, strict=True)]

            found = code.loop(INDEX(0), 1, code.length(runs), nothing, run)
            for own, total in zip(states, found, strict=True):
                code.store(total, rho, own, first)

        code.choose(rows, range(1, TILE), of)
        return context.get_dummy_value()

    return types.void(rows, eta, runs, z, ones, column, rho, k, first), generate


@njit(nogil=True)
def _share(left):
    """How many of those left a tile has."""
    return -(-left // -(-left // TILE))


@njit(nogil=True)
def densities(eta, runs, z, ones, column, rho, first, n):
    """rho (K, M) at n points, a multiple of WIDE, of coordinates z (D, M) under eta (K, P), from these columns on."""
    K = len(eta)
    for m in range(0, n, WIDE):
        k = 0
        while k < K:
            rows = _share(K - k)
            _densities(rows, eta, runs, z, ones, column + m, rho, k, first + m)  # type: ignore[call-arg]
            k += rows


@intrinsic
def _sums(context, rows, columns, r, k, first, factor, z, ones, j, column, n, sums, p):
    """sums += (r factor) z over n points, of ``rows`` and ``columns`` from k and j on, kept in NARROW parts from p on."""

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args, args, ir.VectorType(DOUBLE, NARROW))
        rows, columns, r, k, first, factor, z, ones, j, column, n, sums, p = code.arrays

        def of(height: int, width: int) -> None:
            states = [builder.add(k, INDEX(own)) for own in range(height)]
            left = [code.at(r, own, first) for own in states]
            right = [_row(code, z, ones, builder.add(j, INDEX(c)), column) for c in range(width)]
            times = _row(code, z, ones, factor, column)
            tile = [(own, c) for own in range(height) for c in range(width)]
            places = [(states[own], builder.add(p, INDEX(c)), INDEX(0)) for own, c in tile]

            def point(m: Any, totals: list[Any]) -> list[Any]:
                here = builder.mul(m, INDEX(8))
                one = code.numbers(builder.gep(times, [here]))
                parts = [code.multiply(code.numbers(builder.gep(own, [here])), one) for own in left]
                others = [code.numbers(builder.gep(own, [here])) for own in right]
                return [code.add(total, parts[own], others[c]) for (own, c), total in zip(tile, totals, strict=True)]

            begun = [code.load(sums, *place) for place in places]
            found = code.loop(INDEX(0), NARROW, builder.sdiv(n, INDEX(NARROW)), begun, point)
            for place, total in zip(places, found, strict=True):
                code.store(total, sums, *place)

        def tall(height: int) -> None:
            code.choose(columns, range(1, TILE), lambda width: of(height or TILE, width or TILE))

        code.choose(rows, range(1, TILE), tall)
        return context.get_dummy_value()

    return types.void(rows, columns, r, k, first, factor, z, ones, j, column, n, sums, p), generate


@njit(nogil=True)
def add_run(r, first, factor, z, ones, j, column, n, sums, p, count):
    """sums (K, P, NARROW) from p on += (r z_factor) z_c over n points, for r (K, M) and ``count`` coordinates c from j on."""
    K = sums.shape[0]
    k = 0
    while k < K:
        rows, c = _share(K - k), 0
        while c < count:
            columns = _share(count - c)
            _sums(rows, columns, r, k, first, factor, z, ones, j + c, column, n, sums, p + c)  # type: ignore[call-arg]
            c += columns
        k += rows


@njit(nogil=True)
def add_sums(r, first, runs, z, ones, column, n, sums):
    """sums (K, P, NARROW) += r t^T over n points, for r (K, M) and coordinates z (D, M), from these columns on."""
    for q in range(len(runs)):
        add_run(r, first, runs[q, 0], z, ones, runs[q, 1], column, n, sums, runs[q, 2], runs[q, 3])
