"""Forward-backward recursions in compiled loops, for the one pass over sequences; see `mixtures.engines.sequences`.

Whole sequences are smoothed from both ends at once (`mixtures.engines.both_ends`), whatever zeros there are. What that cannot
do, filters, draws and parts of a long sequence, goes step by step (`mixtures.engines.filters`).
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, njit, void
from numba.core import types

from mixtures.engines import both_ends
from mixtures.engines.filters import _filter, _sample, _smooth
from mixtures.engines.flat import flat

# Steps of a sequence up to which its recursions meet from both ends.
AT_ONCE = 100_000


@njit(nogil=True)
def _at_once(log_rho, log_pi, A, w, r, pairs):
    """`_filter` and `_smooth` of a whole sequence by `mixtures.engines.both_ends`; not a number, and r as it was, if not so."""
    T, K = log_rho.shape
    own, steps = np.empty((K, T)), np.empty((K, K))
    for t in range(T):
        for k in range(K):
            own[k, t] = log_rho[t, k]
    log_z = both_ends.through(own, np.array([w]), np.array([0, T]), np.exp(log_pi), A, steps)
    if not np.isfinite(log_z):
        return np.nan
    for t in range(T):
        for k in range(K):
            r[t, k] = own[k, t]
    for j in range(K):
        for k in range(K):
            pairs[j, k] += steps[j, k]
    return log_z


def _read(dtype, ndim):
    return types.Array(dtype, ndim, "C", readonly=True)


@njit(
    void(
        float64[:, :, ::1],
        float64[:, :, ::1],
        int64[::1],
        _read(float64, 1),
        _read(float64, 2),
        _read(float64, 3),
        _read(float64, 2),
        float64[::1],
        float64[:, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def smooth(r, alpha, edges, weights, log_pi, log_A, u, log_z, pairs):
    """Forward and backward through whole sequences, of R runs; log rho in ``r`` (R, T, K) becomes w r.

    ``edges`` (S + 1,) are those of the sequences, of ``weights`` (S,). ``u`` (R, T) draws states in the place of r
    unless it is empty. To ``log_z`` (R,) and ``pairs`` (R, K, K) is added; ``alpha`` (R, T, K) is room to work in.
    """
    none = np.empty(0)
    for run in range(len(r)):
        A = np.exp(log_A[run])
        for i in range(len(edges) - 1):
            steps = slice(edges[i], edges[i + 1])
            w = weights[i]
            own, room = r[run, steps], alpha[run, steps]
            if not u.size and len(own) <= AT_ONCE:
                total = _at_once(own, log_pi[run], A, w, own, pairs[run])
                if np.isfinite(total):
                    log_z[run] += total
                    continue
            total, in_logs = _filter(own, log_pi[run], A, log_A[run], room, none)
            log_z[run] += w * total
            if u.size:
                _sample(room, in_logs, A, log_A[run], int64(-1), u[run, steps], w, own, pairs[run])
            else:
                _smooth(room, in_logs, A, log_A[run], none, w, own, pairs[run])


@njit(
    void(
        float64[:, :, ::1],
        float64[:, :, ::1],
        int64[::1],
        _read(float64, 2),
        _read(float64, 3),
        float64[:, ::1],
    ),
    nogil=True,
    cache=True,
)
def filtered(log_rho, alpha, edges, log_pi, log_A, scales):
    """Filtered probabilities alpha (R, T, K) and log p(x_t | x_1 .. x_(t-1)), in ``scales`` (R, T), of whole sequences."""
    for run in range(len(log_rho)):
        A = np.exp(log_A[run])
        for i in range(len(edges) - 1):
            steps = slice(edges[i], edges[i + 1])
            own = alpha[run, steps]
            if _filter(log_rho[run, steps], log_pi[run], A, log_A[run], own, scales[run, steps])[1]:
                logs = flat(own)
                for i in range(len(logs)):
                    logs[i] = np.exp(logs[i])


_STEPS = (float64[:, ::1], _read(float64, 1), _read(float64, 2), float64[:, ::1], float64[::1])


@njit(types.Tuple((float64, boolean))(*_STEPS), nogil=True, cache=True)
def forward(log_rho, log_first, log_A, alpha, scales):
    """`_filter` for some steps (T, K) of one sequence, the first of which has the log probabilities ``log_first`` (K,).

    ``scales`` (T,) takes log p(x_t | x_1 .. x_(t-1)), unless it is empty.
    """
    return _filter(log_rho, log_first, np.exp(log_A), log_A, alpha, scales)


@njit(
    void(float64[:, ::1], boolean, _read(float64, 2), _read(float64, 1), float64, float64[:, ::1], float64[:, ::1]),
    nogil=True,
    cache=True,
)
def backward(alpha, in_logs, log_A, last, w, r, pairs):
    """`_smooth` for some steps of one sequence, before others that begin with the smoothed probabilities ``last``, or empty."""
    following = np.empty(len(last))  # of the type that `smooth` has, so that what is called is compiled once
    for k in range(len(last)):
        following[k] = last[k]
    _smooth(alpha, in_logs, np.exp(log_A), log_A, following, w, r, pairs)


@njit(
    int64(
        float64[:, ::1],
        boolean,
        _read(float64, 2),
        int64,
        _read(float64, 1),
        float64,
        float64[:, ::1],
        float64[:, ::1],
    ),
    nogil=True,
    cache=True,
)
def sample(alpha, in_logs, log_A, last, u, w, r, pairs):
    """`_sample` for some steps of one sequence, before others that begin with the state ``last``, or -1; its first state."""
    return _sample(alpha, in_logs, np.exp(log_A), log_A, last, u, w, r, pairs)


@njit(float64(_read(float64, 2), _read(float64, 1), _read(float64, 2), int64[::1]), nogil=True, cache=True)
def viterbi(log_rho, log_pi, log_A, path):
    """The log probability of the most probable path, which is written to ``path`` (T,)."""
    T, K = log_rho.shape
    came = np.empty((T, K), np.int32)
    best, following = np.empty(K), np.empty(K)
    for k in range(K):
        best[k] = log_pi[k] + log_rho[0, k]
    for t in range(1, T):
        for k in range(K):
            top, place = best[0] + log_A[0, k], 0
            for j in range(1, K):
                if best[j] + log_A[j, k] > top:
                    top, place = best[j] + log_A[j, k], j
            following[k], came[t, k] = top + log_rho[t, k], place
        for k in range(K):
            best[k] = following[k]
    path[T - 1] = np.argmax(best)
    for t in range(T - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return best[path[T - 1]]


@njit(void(_read(float64, 3), _read(int64, 1), float64[:, :, ::1]), nogil=True, cache=True)
def add_up(r, place, totals):
    """totals (R, U, K) += the rows of r (R, T, K), each in its place (T,)."""
    R, T, K = r.shape
    for run in range(R):
        for t in range(T):
            for k in range(K):
                totals[run, place[t], k] += r[run, t, k]
