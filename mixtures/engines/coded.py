"""The one pass over codes in compiled loops: what a matrix product makes of indicators is a look-up, and they are never formed.

With x_nd in 0..C_d - 1 a code, and eta_kdc what the indicator of level c of column d has for its natural parameter,

    rho_nk += sum_d eta_k,d,x_nd         one row of K numbers for each code, from a table
    s_k,d,x_nd += r_nk                   to the same places of another

A few columns together are one code, with as many levels as they have combinations: five binary columns are 32, and take one
look-up in the place of five. The codes are packed so once, ahead of the passes. Their table is the sum of those of their
columns, and what was added up for their levels is summed back. Columns of numbers beside them are taken as
`mixtures.engines.fused` takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from llvmlite import ir
from numba import boolean, float64, int64, njit, uint32, void
from numba.core import types
from numba.extending import intrinsic

from mixtures.engines.fused import (
    A_THREAD,
    BLOCK,
    FEATURES,
    LANES,
    LARGEST_PIECE,
    SMALLEST_PIECE,
    VECTORS,
    add_densities,
    add_statistics,
    coordinates,
    draw,
    in_pieces,
    in_rows,
    model_types,
    parts_of_features,
    read_only,
)
from mixtures.engines.softmax import LOOSE, softmax
from mixtures.model import Divided, Family

WIDE = 4  # clusters that are added at once: each so many have a table, the last one filled up

# Columns are packed while they have so many levels together: the first of these with which the table has no more rows.
TOGETHER, ROWS = (256, 128, 64, 32), 1024


class Packing(NamedTuple):
    """Which columns of codes are packed together, and how.

    Attributes
    ----------
    columns : ndarray of int, shape (G + 1,)
        Where the columns of each group begin, and the last ones end.
    stride, size : ndarray of int, shape (D,)
        What a column's code is multiplied by in that of its group, and its number of levels.
    first : ndarray of int, shape (D + 1,)
        Where the levels of each column begin, and the last ones end.
    starts : ndarray of int, shape (G + 1,)
        Where those of each group do.
    """

    columns: np.ndarray
    stride: np.ndarray
    size: np.ndarray
    first: np.ndarray
    starts: np.ndarray


def packing(size: np.ndarray) -> Packing:
    """Columns of so many levels (D,) in groups."""
    for most in TOGETHER:
        columns, stride, starts, total = [0], np.ones_like(size), [0], 1
        for d, C in enumerate(size):
            if d and total * C > most:
                columns.append(d)
                starts.append(starts[-1] + total)
                total = 1
            stride[d] = total
            total *= int(C)
        columns.append(len(size))
        starts.append(starts[-1] + total)
        if starts[-1] <= ROWS:
            break
    return Packing(np.array(columns), stride, size, np.cumsum([0, *size]), np.array(starts))


def pass_(
    family: Family, x: np.ndarray, weights: np.ndarray | None, eta: np.ndarray, u: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log_z and the sufficient statistics, expected or of drawn labels; see `mixtures.engines.plain.pass_`."""
    return Packed.of(family, x, weights)(eta, u)


@dataclass(frozen=True)
class Packed:
    """The pass over rows whose codes are packed.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    codes : ndarray of uint32, shape (N, G)
    weights : ndarray, shape (N,), or None
    divided : Divided
    packing : Packing
    """

    x: np.ndarray
    codes: np.ndarray
    weights: np.ndarray | None
    divided: Divided
    packing: Packing

    @classmethod
    def of(cls, family: Family, x: np.ndarray, weights: np.ndarray | None) -> Self:
        """Pack the codes of x (N, D).

        Raises
        ------
        ValueError
            If x has another number of columns than the family, or holds a code of no level.
        """
        divided = family.divided()
        assert divided is not None
        if x.shape[1] != len(divided.columns) + len(divided.coded):
            family.features(x[:1])
        how = packing(divided.levels)
        codes = np.empty((len(x), len(how.starts) - 1), np.uint32)

        def piece(rows: slice) -> tuple[np.ndarray, np.ndarray]:
            own = np.require(_of(x[rows], divided.coded), np.float64, ("C", "A"))
            if not _pack(own, how.columns, how.stride, how.size, how.starts, codes[rows]):
                family.features(x[rows])
            return codes[:0], codes[:0]

        in_pieces(piece, len(x), SMALLEST_PIECE, LARGEST_PIECE, x.size // A_THREAD)
        return cls(x, codes, weights, divided, how)

    def __call__(self, eta: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Sum of log_z and the statistics; see `mixtures.engines.plain.pass_`."""
        runs, divided = eta.reshape(-1, *eta.shape[-2:]), self.divided
        R, K, _ = runs.shape
        uniform = np.empty((R, 0)) if u is None else u.reshape(R, -1)
        own, table = np.ascontiguousarray(runs[..., divided.places]), self._table(runs)
        model = _numbers(divided, K)

        def piece(rows: slice) -> tuple[np.ndarray, np.ndarray]:
            w = np.empty(0) if self.weights is None else self.weights[rows]
            parts = _of(self.x[rows], divided.columns), w, uniform[:, rows]
            x, w, some = (np.require(a, np.float64, ("C", "A")) for a in parts)
            log_z, s, counts = np.zeros(R), np.zeros_like(own), np.zeros_like(table)
            _pass(x, self.codes[rows], w, some, *model, own, table, log_z, s, counts)
            return log_z, np.concatenate([s.reshape(R, -1), counts.reshape(R, -1)], axis=1)

        log_z, sums = in_pieces(piece, len(self.x), SMALLEST_PIECE, LARGEST_PIECE, self.x.size * runs.size // A_THREAD)
        s, counts = np.split(np.sum(sums, axis=0), [own[0].size], axis=1)
        return np.sum(log_z, axis=0).reshape(eta.shape[:-2]), self._joined(s.reshape(own.shape), counts, eta.shape)

    def _table(self, runs: np.ndarray) -> np.ndarray:
        """Natural parameters of the packed codes of R runs, for every WIDE clusters a row each, (R, K / WIDE, L, WIDE)."""
        R, K, _ = runs.shape
        single = np.zeros((R, -(-K // WIDE) * WIDE, len(self.divided.indicators)))
        has = self.divided.indicators >= 0
        single[:, :K, has] = runs[..., self.divided.indicators[has]]
        tables = R * -(-K // WIDE)
        by_level = np.ascontiguousarray(single.reshape(tables, WIDE, single.shape[-1]).swapaxes(-1, -2))
        table = np.zeros((len(by_level), self.packing.starts[-1], WIDE))
        _unpack(*self.packing, table, by_level, True)
        return table.reshape(R, -1, *table.shape[1:])

    def _joined(self, s: np.ndarray, counts: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The statistics from those of numbers and what was added up for packed codes."""
        R, K, _ = s.shape
        table = np.ascontiguousarray(counts).reshape(-1, self.packing.starts[-1], WIDE)
        by_level = np.zeros((len(table), len(self.divided.indicators), WIDE))
        _unpack(*self.packing, table, by_level, False)
        single = by_level.swapaxes(-1, -2).reshape(R, len(table) // R * WIDE, by_level.shape[1])
        has, joint = self.divided.indicators >= 0, np.zeros((R, K, shape[-1]))
        joint[..., self.divided.places] = s
        joint[..., self.divided.indicators[has]] = single[:, :K, has]
        return joint.reshape(shape)


def _of(x: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The columns of x, which is not copied if they are all of them."""
    return x if np.array_equal(columns, np.arange(x.shape[1])) else x[:, columns]


def _numbers(divided: Divided, K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """What the loops ask of the columns of numbers; of none, there is the constant alone."""
    family = divided.numbers
    if family is None:
        return np.empty(0), np.empty((1, 0)), np.zeros((1, 3), int), np.array([0, 1]), False
    P = len(divided.places)
    by_rows = in_rows(family, K, P)
    unit = np.require(np.atleast_2d(family.unit), np.float64, "C")
    return family.origin, unit, family.monomials, parts_of_features(len(family.unit), P, by_rows), by_rows


_ints = types.Array(int64, 1, "C")


@njit(
    boolean(read_only(float64, 2), _ints, _ints, _ints, _ints, uint32[:, ::1]),
    nogil=True,
    cache=True,
    fastmath=LOOSE,
)
def _pack(x, columns, stride, size, starts, codes):
    """The places of the packed codes (n, G) of x (n, D) in their table, and whether all are codes."""
    wrong = 0
    for b in range(len(x)):
        for g in range(codes.shape[1]):
            place = 0.0
            for d in range(columns[g], columns[g + 1]):
                c = x[b, d]
                wrong += not ((c >= 0) & (c < size[d]) & (c == np.floor(c)))
                place += c * stride[d]
            codes[b, g] = starts[g] + np.uint32(place)
        if wrong:
            return False
    return True


@njit(void(_ints, _ints, _ints, _ints, _ints, float64[:, :, ::1], float64[:, :, ::1], boolean), nogil=True, cache=True)
def _unpack(columns, stride, size, first, starts, table, single, forth):
    """Add the rows of single codes (T, L, WIDE) to those of packed ones (T, L', WIDE), or those to these."""
    for g in range(len(columns) - 1):
        for d in range(columns[g], columns[g + 1]):
            for place in range(starts[g], starts[g + 1]):
                own = first[d] + (place - starts[g]) // stride[d] % size[d]
                for i in range(len(table)):
                    for k in range(WIDE):
                        if forth:
                            table[i, place, k] += single[i, own, k]
                        else:
                            single[i, own, k] += table[i, place, k]


def _over_places(context, builder, signature, args, first, body):
    """A loop over the places (n, G) of point b: ``first(own)`` and then ``body(row, total)`` again and again.

    ``own`` points to row b of the third array, ``row`` to the row of the first at each place.
    """
    index, vector = ir.IntType(64), ir.VectorType(ir.DoubleType(), WIDE)
    table, place, rows = (
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args[:3], args[:3], strict=True)
    )
    point = builder.mul(builder.extract_value(place.strides, 0), args[3])
    places = builder.gep(builder.bitcast(place.data, ir.IntType(8).as_pointer()), [point])
    places = builder.bitcast(places, ir.IntType(32).as_pointer())
    own = builder.gep(builder.bitcast(rows.data, vector.as_pointer()), [args[3]])
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    start = first(own)
    builder.branch(loop)

    builder.position_at_end(loop)
    g, total = builder.phi(index), builder.phi(vector)
    p = builder.zext(builder.load(builder.gep(places, [g])), index)
    row = builder.gep(builder.bitcast(table.data, vector.as_pointer()), [p])
    following, added = builder.add(g, index(1)), body(row, total)
    for phi, initial, step in ((g, index(0), following), (total, start, added)):
        phi.add_incoming(initial, before)
        phi.add_incoming(step, loop)
    builder.cbranch(builder.icmp_signed("<", following, builder.extract_value(place.shape, 1)), loop, after)

    builder.position_at_end(after)
    return own, added


def _load(builder, pointer):
    loaded = builder.load(pointer)
    loaded.align = 8
    return loaded


@intrinsic
def _sum_of_rows(context, table, place, sums, b):
    """sums[b] = the sum of the rows of the table (L, WIDE) at the places (n, G) of point b."""

    def generate(context, builder, signature, args):
        def add(row, total):
            return builder.fadd(total, _load(builder, row))

        nothing = ir.VectorType(ir.DoubleType(), WIDE)(None)
        own, total = _over_places(context, builder, signature, args, lambda own: nothing, add)
        builder.store(total, own).align = 8
        return context.get_dummy_value()

    return types.void(table, place, sums, b), generate


@intrinsic
def _add_to_rows(context, counts, place, r, b):
    """The rows of counts (L, WIDE) at the places (n, G) of point b += r[b]."""

    def generate(context, builder, signature, args):
        def add(row, r_b):
            builder.store(builder.fadd(_load(builder, row), r_b), row).align = 8
            return r_b

        _over_places(context, builder, signature, args, lambda own: _load(builder, own), add)
        return context.get_dummy_value()

    return types.void(counts, place, r, b), generate


@njit(nogil=True)
def _look_up(table, place, rho, rows, n):
    """rho (k, B) += the sum of the rows of the table (L, WIDE) at the places (n, G) of each point, for the first k of WIDE."""
    for b in range(n):
        _sum_of_rows(table, place, rows, b)  # type: ignore[call-arg]
    for k in range(len(rho)):
        for b in range(n):
            rho[k, b] += rows[b, k]


@njit(nogil=True)
def _add_up(r, place, counts, rows, n):
    """counts (L, WIDE) += r (k, B) at the places (n, G) of each point, for the first k of WIDE."""
    rows[:] = 0.0
    for k in range(len(r)):
        for b in range(n):
            rows[b, k] = r[k, b]
    for b in range(n):
        _add_to_rows(counts, place, rows, b)  # type: ignore[call-arg]


@njit(
    void(
        read_only(float64, 2),
        read_only(uint32, 2),
        read_only(float64, 1),
        read_only(float64, 2),
        *model_types,
        read_only(float64, 3),
        read_only(float64, 4),
        float64[::1],
        float64[:, :, ::1],
        float64[:, :, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def _pass(x, codes, w, u, origin, unit, monomials, edges, by_rows, eta, table, log_z, s, counts):
    """Add the passes of R runs over numbers x (N, D) under eta (R, K, P), and codes (N, G) under tables (R, K / WIDE, L, WIDE).

    ``w`` (N,) are weights, or empty for one; labels are drawn with the uniform numbers u (R, N), or not if they are empty.
    """
    N, D = x.shape
    R, K, P = eta.shape
    width = LANES * VECTORS
    B = -(-min(N, BLOCK) // width) * width
    z, t, rho = np.ones((D + 1, B)), np.empty((0 if by_rows else min(P, FEATURES), B)), np.empty((R, K, B))
    part = np.empty((K if by_rows else 0, B))
    weight, top, total, rows = np.ones(B), np.empty(B), np.empty(B), np.empty((B, WIDE))
    for start in range(0, N, B):
        n = min(B, N - start)
        coordinates(x[start : start + n], origin, unit, z)
        place = codes[start : start + n]
        for b in range(n if w.size else 0):
            weight[b] = w[start + b]
        rho[:] = 0.0
        add_densities(z, t, monomials, edges, by_rows, eta, rho, n)
        for run in range(R):
            for k in range(0, K, WIDE):
                _look_up(table[run, k // WIDE], place, rho[run, k : k + WIDE], rows, n)
            log_z[run] += softmax(rho[run], weight, top, total, n)
            if u.size:
                draw(rho[run], weight, u[run, start : start + n], top, n)
            for k in range(0, K, WIDE):
                _add_up(rho[run, k : k + WIDE], place, counts[run, k // WIDE], rows, n)
        add_statistics(z, t, monomials, edges, by_rows, rho, part, s, n)
