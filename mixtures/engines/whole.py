"""The whole ascent of small data in one compiled call: steps, passes and the loop over runs, on one thread.

The rules are those of `mixtures.ascent.climb`, where they are explained, and of `mixtures.ascent.acceleration`; each run takes
the path that it would take alone. A pass over 50 rows takes about a microsecond, and Python is left out of it.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, njit, types

from mixtures.engines import short
from mixtures.engines.fused import _pass, read_only
from mixtures.engines.steps import CHAIN, step

EPS = float(np.finfo(float).eps)

# Share of a bound that rounding of a prior's terms, much larger than those of the data, may take off; `mixtures.ascent.climb`.
FALL = 2048 * EPS

# What a climb ended with beside its runs: well, a bound that is not a number, or one that fell.
WELL, NO_NUMBER, FELL = range(3)

rows_types = (
    read_only(float64, 3),
    read_only(float64, 2),
    read_only(float64, 2),
    read_only(float64, 2),
    read_only(int64, 1),
    read_only(int64, 1),
)
prior_types = (
    int64,
    boolean,
    read_only(float64, 2),
    read_only(float64, 1),
    read_only(float64, 1),
    read_only(float64, 3),
    read_only(float64, 1),
    float64,
    float64,
    types.Tuple((int64, read_only(float64, 1), float64)),
)
affine_types = (read_only(float64, 1), read_only(float64, 2), read_only(int64, 2), types.Array(int64, 1, "C"))
ROWS, PRIOR, AFFINE = (types.Tuple(kinds) for kinds in (rows_types, prior_types, affine_types))


@njit(nogil=True)
def _copy(a, b):
    """a = b, as many as a (Q,) has."""
    for q in range(len(a)):
        a[q] = b[q]


@njit(nogil=True)
def _fill(a, value):
    for q in range(len(a)):
        a[q] = value


@njit(nogil=True)
def _step(s, eta, g, prior):
    """`mixtures.engines.steps.step` under the prior of data set g, for a state s (K, P), or (K, P + 1 + K) of a chain."""
    structure, bayes, m0, beta0, dof0, scale0, normaliser0, log_volume, least, labels = prior
    if labels[0] != CHAIN:
        return step(
            s, eta, structure, bayes, m0[g], beta0[g], dof0[g], scale0[g], normaliser0[g], log_volume, least, labels
        )
    K = len(s)
    P = s.shape[1] - 1 - K
    points, own = np.empty((K, P)), np.empty((K, P))
    for k in range(K):
        _copy(points[k], s[k])
    extra = step(
        points, own, structure, bayes, m0[g], beta0[g], dof0[g], scale0[g], normaliser0[g], log_volume, least, labels
    )
    for k in range(K):
        for p in range(P):
            eta[k, p] = own[k, p]
    return extra + short.move(s[:, P:], bayes, labels, eta[:, P:])


@njit(nogil=True)
def _look(eta, g, rows, affine, room, following):
    """sum_n w_n log_z_n over data set g, and the next state (1, 1, K, P), with what noise adds to t(x); eta may be changed."""
    x, w, noise, total, _, between = rows
    origin, unit, monomials, edges = affine
    K, P = eta.shape[2], noise.shape[1]
    for k in range(K):
        for p in range(1, P):
            eta[0, 0, k, 0] += eta[0, 0, k, p] * noise[g, p]
    room[0, 0] = 0.0
    if between.size > 0:
        room[0, 0] = short.look(x[g], w[g], between, eta[0, 0], following[0, 0])
    elif total.shape[1] > 0:
        room[0, 0] = _look_at_first(eta, g, rows, affine, room, following)
    else:
        _fill(following.ravel(), 0.0)
        _pass(
            x[g : g + 1], w[g : g + 1], np.empty((1, 1, 0)), origin, unit, monomials, edges, False, eta, room, following
        )
    for k in range(K):
        for p in range(1, P):
            following[0, 0, k, p] += following[0, 0, k, 0] * noise[g, p]
    return room[0, 0]


@njit(nogil=True)
def _look_at_first(eta, g, rows, affine, room, following):
    """`_look` where clusters share the coefficients of z z^T; see `mixtures.engines.shared`."""
    x, w, _, total, _, _ = rows
    origin, unit, monomials, _ = affine
    K, P, Q = eta.shape[2], total.shape[1], 1 + x.shape[2]
    own, s, edges = np.empty((1, 1, K, Q)), np.zeros((1, 1, K, Q)), np.zeros(2, np.int64)
    edges[1] = Q
    for k in range(K):
        _copy(own[0, 0, k], eta[0, 0, k])
    data = x[g : g + 1], w[g : g + 1], np.empty((1, 1, 0))
    _pass(*data, origin, unit, monomials[:Q], edges, False, own, room, s)
    for p in range(Q, P):
        room[0, 0] += eta[0, 0, 0, p] * total[g, p]
    for k in range(K):
        share = s[0, 0, k, 0] / total[g, 0]
        for p in range(P):
            following[0, 0, k, p] = s[0, 0, k, p] if p < Q else share * total[g, p]
    return room[0, 0]


@njit((float64[:, :, ::1], float64[:, :, ::1], ROWS, PRIOR), nogil=True, cache=True)
def steps(s, eta, rows, prior):
    """The natural parameters of every state (R, K, P), and the extras (R,); not a number where a cluster collapsed."""
    extra = np.empty(len(s))
    for r in range(len(s)):
        extra[r] = _step(s[r], eta[r], rows[4][r], prior)
    return extra


@njit(nogil=True)
def _largest_product(a, b):
    """The largest size of a product of two numbers at one place of a and b (Q,)."""
    largest = 0.0
    for q in range(len(a)):
        largest = max(largest, abs(a[q] * b[q]))
    return largest


@njit(nogil=True)
def _largest(a):
    """The largest size of the numbers in a (Q,)."""
    largest = 0.0
    for q in range(len(a)):
        largest = max(largest, abs(a[q]))
    return largest


@njit(nogil=True)
def _dot(a, b):
    total = 0.0
    for q in range(len(a)):
        total += a[q] * b[q]
    return total


@njit(nogil=True)
def _add(a, factor, b):
    """a += factor b, both (Q,)."""
    for q in range(len(a)):
        a[q] += factor * b[q]


@njit(nogil=True)
def _put(a, b, c, factor):
    """a = b + factor c, all (Q,)."""
    for q in range(len(a)):
        a[q] = b[q] + factor * c[q]


@njit(nogil=True)
def _gradient(s, f, eta, g, prior, difference, moved, ahead, gradient):
    """(d eta / d s) f by a difference from eta at s, and whether it exists; s, f, eta and gradient (Q,), and room (K, P)."""
    h = min(difference * _largest(s) / max(_largest(f), 1e-300), 0.1)
    _put(moved.ravel(), s, f, h)
    known = np.isfinite(_step(moved, ahead, g, prior))
    _put(gradient, ahead.ravel(), eta, -1.0)
    for q in range(len(gradient)):
        gradient[q] = gradient[q] / h if known else 0.0
    return known


@njit(nogil=True)
def _propose(s, f, g, known, last, before, pairs, rho, count, alphas, slope, proposed):
    """The quasi-Newton step in the place of f (Q,) for one run; see `mixtures.ascent.acceleration.QuasiNewton`.

    ``last`` (3, Q) and ``before``, whether it may be learned from, are of the run's last call; of the changes in ``pairs``
    (memory, 3, Q) and ``rho`` the latest is number ``count`` - 1, counted round. Returns how many there are.
    """
    memory = len(rho)
    if count >= 0:
        at = count % memory
        _put(pairs[at, 0], s, last[0], -1.0)
        _put(pairs[at, 1], f, last[1], -1.0)
        _put(pairs[at, 2], g, last[2], -1.0)
        ds, dg = pairs[at, 0], pairs[at, 2]
        curvature = -_dot(ds, dg)
        use = known and before and curvature > 1e-12 * np.sqrt(_dot(ds, ds)) * np.sqrt(_dot(dg, dg))
        rho[at] = 1 / curvature if use else 0.0
    count += 1
    _copy(last[0], s)
    _copy(last[1], f)
    _copy(last[2], g)
    _copy(slope, g)
    _copy(proposed, f)
    for number in range(count - 1, max(count - 1 - memory, -1), -1):
        at = number % memory
        alphas[at] = rho[at] * _dot(pairs[at, 0], slope)
        _add(slope, alphas[at], pairs[at, 2])
        _add(proposed, alphas[at], pairs[at, 1])
    for number in range(max(count - memory, 0), count):
        at = number % memory
        _add(proposed, alphas[at] + rho[at] * _dot(pairs[at, 2], proposed), pairs[at, 0])
    return count


@njit(
    (
        ROWS,
        AFFINE,
        PRIOR,
        float64[:, :, ::1],
        read_only(float64, 1),
        float64,
        int64,
        boolean,
        int64,
        float64,
        float64,
        int64,
        float64,
    ),
    nogil=True,
    cache=True,
)
def climb(rows, affine, prior, s, n, tol, max_iter, accelerate, each, slow_rise, shorter, memory, difference):
    """`mixtures.ascent.climb.climb` of R runs; it ends too once each ``each`` of them have one that has converged, if any.

    Parameters
    ----------
    rows : tuple
        x (G, N, D), w (G, N) or empty for one each, what noise adds to t(x) (G, P), the sums of t(x) (G, P) where clusters
        share coefficients, or (G, 0), the data set of every run (R,), and the edges of sequences (S + 1,), in which case x are
        features (G, P, N), or nothing.
    affine : tuple
        Origin, unit, monomials and parts of the features; see `mixtures.engines.fused`.
    prior : tuple
        Structure, whether the method is CAVI, and the prior of every data set; see `mixtures.engines.steps.step`.
    s : ndarray, shape (R, K, P)
        Where the runs begin, and afterwards the last states that were kept.
    n : ndarray, shape (R,)
    tol, max_iter, accelerate
        See `mixtures.ascent.climb.climb`.
    each : int
        0 for no such rule.
    slow_rise, shorter, memory, difference
        The constants of the loop.

    Returns
    -------
    following : ndarray, shape (R, K, P)
        The states that one more step leads to from the last ones.
    trace : ndarray, shape (passes, R)
    passes : ndarray of int, shape (R,)
    converged, collapsed : ndarray of bool, shape (R,)
    end : ndarray, shape (R,)
    lost : ndarray, shape (R, K, P)
        The states in which runs collapsed.
    fault, run, amount
        What went wrong, in which run, and the number that says so.
    """
    R, K, P = s.shape
    Q, owner = K * P, rows[4]
    guess, lost_at, at = np.empty((R, K, P)), np.empty((R, K, P)), s.reshape(R, Q)
    tried, image, direction = guess.reshape(R, Q), np.empty((R, Q)), np.zeros((R, Q))
    length, bound, alive = np.zeros(R), np.full(R, -np.inf), np.ones(R, np.bool_)
    converged, collapsed, passes = np.zeros(R, np.bool_), np.zeros(R, np.bool_), np.zeros(R, np.int64)
    eta, following, room = np.empty((1, 1, K, P)), np.empty((1, 1, K, P)), np.empty((1, 1))
    moved, ahead, here = np.empty((K, P)), np.empty((K, P)), np.empty(Q)
    f, gradient, slope, alphas = np.empty(Q), np.empty(Q), np.empty(Q), np.empty(memory)
    last, before, count = np.empty((R, 3, Q)), np.zeros(R, np.bool_), np.full(R, -1)
    pairs, rho = np.empty((R, memory, 3, Q)), np.zeros((R, memory))
    trace, made, left = np.empty((min(max_iter, 64), R)), 0, R
    fault, which, amount = WELL, 0, 0.0
    for r in range(R):
        _copy(tried[r], at[r])
        _copy(image[r], at[r])
    while made < max_iter and left > 0 and fault == WELL:
        if made == len(trace):
            longer = np.empty((min(2 * made, max_iter), R))
            for i in range(made):
                _copy(longer[i], trace[i])
            trace = longer
        for r in range(R):
            trace[made, r] = np.nan
            if not alive[r] or fault != WELL:
                continue
            plain = length[r] == 0
            extra = _step(guess[r], eta[0, 0], owner[r], prior)
            _copy(here, eta.ravel())
            lost = not np.isfinite(extra)
            new, rounding = -np.inf, 0.0
            if not lost:
                new = extra + _look(eta, owner[r], rows, affine, room, following)
                far = _largest_product(eta.ravel(), following.ravel())
                rounding = 64 * EPS * (n[r] * (1 + _largest(eta.ravel())) + far)
            rise = new - bound[r] if np.isfinite(bound[r]) else np.inf
            if plain and not lost and not np.isfinite(new):
                fault, which, amount = NO_NUMBER, r, new
                continue
            if plain and not lost and rise < -rounding - FALL * abs(new):
                fault, which, amount = FELL, r, -rise
                continue
            lost = lost and plain
            taken = not lost if plain else rise >= -rounding
            if taken:
                _copy(at[r], tried[r])
                _copy(image[r], following.ravel())
                bound[r] = trace[made, r] = new
            slow = rise <= max(tol * n[r], rounding)
            passes[r] += 1
            converged[r], collapsed[r] = taken and plain and slow, lost
            if lost:
                _copy(lost_at[r].ravel(), tried[r])
                bound[r] = -np.inf
            if converged[r] or lost:
                alive[r] = False
                left -= 1
                continue
            if accelerate and taken and rise <= slow_rise * n[r]:
                _put(f, image[r], at[r], -1.0)
                known = _gradient(at[r], f, here, owner[r], prior, difference, moved, ahead, gradient)
                count[r] = _propose(
                    at[r],
                    f,
                    gradient,
                    known,
                    last[r],
                    before[r],
                    pairs[r],
                    rho[r],
                    count[r],
                    alphas,
                    slope,
                    direction[r],
                )
                before[r] = known
                length[r] = 1.0 if known and not slow else 0.0
            else:
                length[r] = shorter if not taken and length[r] == 1 else 0.0
                if not taken and length[r] == 0:
                    _fill(rho[r], 0.0)
            _put(tried[r], at[r], direction[r], length[r])
            for k in range(K):
                if not guess[r, k, 0] > 0:
                    length[r] = 0.0
            if length[r] == 0:
                _copy(tried[r], image[r])
        made += 1
        waiting = R if each > 0 else -1
        for first in range(0, R if each > 0 else 0, max(each, 1)):
            for r in range(first, first + each):
                if converged[r]:
                    waiting -= each
                    break
        if waiting == 0:
            break
    return image.reshape(R, K, P), trace[:made], passes, converged, collapsed, bound, lost_at, fault, which, amount


@njit(
    (ROWS, AFFINE, float64[:, :, ::1], float64[:, :, ::1]),
    nogil=True,
    cache=True,
)
def passes(rows, affine, eta, s):
    """sum_n w_n log_z_n (R,) of the pass of every run, and the statistics into s (R, K, P)."""
    R, K, P = eta.shape
    log_z, room = np.empty(R), np.empty((1, 1))
    own, following = np.empty((1, 1, K, P)), np.empty((1, 1, K, P))
    for r in range(R):
        _copy(own.ravel(), eta[r].ravel())
        log_z[r] = _look(own, rows[4][r], rows, affine, room, following)
        _copy(s[r].ravel(), following.ravel())
    return log_z
