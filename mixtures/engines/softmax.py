"""Responsibilities in compiled loops, for the one pass over the data and for draws by the million, on all cores.

The exponential and the logarithm are polynomials that fill the vector registers; a call of the library's would not. What is
changed here reaches the compiled functions of another file only once numba's cache is emptied.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from math import factorial

import numpy as np
from llvmlite import ir
from numba import float64, int64, njit, void
from numba.core import config, types
from numba.extending import intrinsic

BLOCK = 240  # columns whose exponentials and sums stay in cache

LOOSE = {"reassoc", "contract", "nsz"}  # sums may be reordered; infinities and NaN keep their meaning
EXACT = {"contract"}

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # their sum is log 2; k LN2_HIGH is exact
SMALLEST_EXPONENT = -708.0
TWO_52 = 4503599627370496.0
EXP = tuple(1.0 / factorial(n) for n in range(12, -1, -1))  # Taylor's, highest power first
ARTANH = tuple(1.0 / n for n in range(21, 0, -2))


def normalise(log_rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log_z (...) and responsibilities (..., K) of log_rho (..., K); see `mixtures.engines.responsibilities.normalise`."""
    by_cluster = np.ascontiguousarray(np.moveaxis(log_rho, -1, 0))
    r = np.empty_like(by_cluster)
    return _over_columns(by_cluster, r), np.moveaxis(r, 0, -1)


def log_sum(log_rho: np.ndarray) -> np.ndarray:
    """log_z (...) of log_rho (..., K)."""
    return _over_columns(np.ascontiguousarray(np.moveaxis(log_rho, -1, 0)), np.empty((0, 0)))


def _over_columns(log_rho: np.ndarray, r: np.ndarray) -> np.ndarray:
    """log_z (...) of log_rho (K, ...), and responsibilities into r unless it is empty, in as many parts as threads."""
    columns, log_z = log_rho.reshape(len(log_rho), -1), np.empty(log_rho.shape[1:])
    arguments = columns, log_z.ravel(), r.reshape(len(r), -1) if r.size else r
    edges = np.linspace(0, log_z.size, config.NUMBA_NUM_THREADS + 1).astype(int)
    for part in [pool().submit(_normalise, *arguments, *part) for part in pairwise(edges)]:
        part.result()
    return log_z


@cache
def pool() -> ThreadPoolExecutor:
    """As many threads as numba was told to use."""
    return ThreadPoolExecutor(config.NUMBA_NUM_THREADS, thread_name_prefix="mixtures")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # threads do not come along into a forked child


@intrinsic
def _bits(context, number):
    """The 64 bits of a float as an integer."""
    return types.int64(types.float64), lambda c, builder, _, args: builder.bitcast(
        args[0], c.get_value_type(types.int64)
    )


@intrinsic
def _float(context, bits):
    """The float that has these 64 bits."""
    return types.float64(types.int64), lambda c, builder, _, args: builder.bitcast(
        args[0], c.get_value_type(types.float64)
    )


@intrinsic
def _larger(context, a, b):
    """max(a, b) of two floats, without the masked stores that a comparison is compiled to, which are slow."""

    def generate(_, builder, __, args):
        double = args[0].type
        larger = builder.module.declare_intrinsic("llvm.maxnum", [double], ir.FunctionType(double, [double, double]))
        return builder.call(larger, args)

    return types.float64(types.float64, types.float64), generate


@njit(nogil=True, fastmath=EXACT)
def _exp(y):
    """exp(y) for y <= 0, at least exp(-708), to two units in the last place; unlike a library call it can be vectorised."""
    y = max(y, SMALLEST_EXPONENT)
    k = np.floor(y * LOG2_E + 0.5)
    f = (y - k * LN2_HIGH) - k * LN2_LOW
    p = EXP[0]
    for c in EXP[1:]:
        p = p * f + c
    return p * _float(_bits(k + (TWO_52 + 1023.0)) << 52)


@njit(nogil=True, fastmath=EXACT, error_model="numpy")  # Python's division by zero would keep loops scalar
def _log(y):
    """log(y) for normal y > 0 to two units in the last place of max(1, |log y|): 2 artanh((m - 1) / (m + 1)) + e log 2."""
    bits = _bits(y)
    e = _float((bits >> 52) | 0x4330000000000000) - (TWO_52 + 1023.0)
    m = _float((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000)
    large = m > 1.4142135623730951
    m = 0.5 * m if large else m
    e = e + 1.0 if large else e
    a = (m - 1.0) / (m + 1.0)
    q = a * a
    p = ARTANH[0]
    for c in ARTANH[1:]:
        p = p * q + c
    return 2.0 * a * p + e * LN2_LOW + e * LN2_HIGH + (y - y)  # not a number where y is none


@njit(nogil=True, fastmath=LOOSE)
def _sum(a, n):
    total = 0.0
    for b in range(n):
        total += a[b]
    return total


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def softmax(rho, w, top, z, n):
    """Sum of w log_z over the first n points; rho (K, B) becomes w r."""
    K = len(rho)
    for b in range(n):
        top[b] = rho[0, b]
        z[b] = 0.0
    for k in range(1, K):
        for b in range(n):
            top[b] = _larger(top[b], rho[k, b])
    for k in range(K):
        for b in range(n):
            e = _exp(rho[k, b] - top[b])
            rho[k, b] = e
            z[b] += e
    for b in range(n):
        top[b] = w[b] * (top[b] + _log(z[b]))
        z[b] = w[b] / z[b]
    for k in range(K):
        for b in range(n):
            rho[k, b] *= z[b]
    return _sum(top, n)


@njit(
    void(types.Array(float64, 2, "C", readonly=True), float64[::1], float64[:, ::1], int64, int64),
    nogil=True,
    cache=True,
)
def _normalise(log_rho, log_z, r, start, stop):
    """log_z (M,) of log_rho (K, M), and responsibilities (K, M) unless r is empty, for some of the M columns."""
    K = len(log_rho)
    rho, ones, total = np.empty((K, BLOCK)), np.empty(BLOCK), np.empty(BLOCK)
    ones[:] = 1.0
    for first in range(start, stop, BLOCK):
        n = min(BLOCK, stop - first)
        for k in range(K):
            for b in range(n):
                rho[k, b] = log_rho[k, first + b]
        softmax(rho, ones, log_z[first : first + n], total, n)
        for k in range(K if r.size else 0):
            for b in range(n):
                r[k, first + b] = rho[k, b]
