"""The whole ascent of small data in one compiled call: steps, passes and the loop over runs, on one thread.

The rules are those of `mixtures.ascent.climb`, where they are explained, and of `mixtures.ascent.acceleration`; each run takes
the path that it would take alone. A pass over 50 rows takes about a microsecond, and Python is left out of it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines import short
from mixtures.engines.flat import flat
from mixtures.engines.fused import _pass
from mixtures.engines.steps import CHAIN, step

EPS = float(np.finfo(float).eps)

# Share of a bound that rounding of a prior's terms, much larger than those of the data, may take off; `mixtures.ascent.climb`.
FALL = 2048 * EPS

# What a climb ended with: well, a bound that is not a number, one that fell, or no more room for bounds.
WELL, NO_NUMBER, FELL, NO_ROOM = range(4)


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
def _share(eta, s, total, room, following):
    """All statistics (K, P) from the first of them (K, Q), and log_z, by their sums (P,); see `mixtures.engines.shared`."""
    Q, P = s.shape[1], len(total)
    for p in range(Q, P):
        room[0, 0] += eta[0, p] * total[p]
    for k in range(len(s)):
        for p in range(P):
            following[k, p] = s[k, p] if p < Q else s[k, 0] / total[0] * total[p]


@njit(nogil=True)
def _look(eta, g, rows, affine, room, following):
    """sum_n w_n log_z_n over data set g, and the next state (1, 1, K, P), with what noise adds to t(x); eta may be changed."""
    x, w, noise, total, between = rows
    origin, unit, monomials, edges = affine
    K, P = eta.shape[2], noise.shape[1]
    for k in range(K):
        for p in range(1, P):
            eta[0, 0, k, 0] += eta[0, 0, k, p] * noise[g, p]
    room[0, 0] = 0.0
    if between.size > 0:
        room[0, 0] = short.look(x[g], w[g], between, eta[0, 0], following[0, 0])
    else:
        shared, Q, own, s, parts = total.shape[1] > 0, P, eta, following, edges
        if shared:
            Q = 1 + x.shape[2]
            own, s, parts = np.empty((1, 1, K, Q)), np.empty((1, 1, K, Q)), np.zeros(2, np.int64)
            parts[1] = Q
            for k in range(K):
                _copy(own[0, 0, k], eta[0, 0, k])
        _fill(flat(s), 0.0)
        some = monomials[: Q if shared else len(monomials)]
        _pass(x[g : g + 1], w[g : g + 1], np.empty((1, 1, 0)), origin, unit, some, parts, False, own, room, s)
        if shared:
            _share(eta[0, 0], s[0, 0], total[g], room, following[0, 0])
    for k in range(K):
        for p in range(1, P):
            following[0, 0, k, p] += following[0, 0, k, 0] * noise[g, p]
    return room[0, 0]


@njit(nogil=True)
def steps(owner, prior, s, eta, extra):
    """The natural parameters of every state (R, K, P), and the extras (R,); not a number where a cluster collapsed."""
    own = np.empty(s.shape[1:])  # of the type that other calls have: it is compiled once
    for r in range(len(s)):
        _copy(flat(own), flat(s[r]))
        extra[r] = _step(own, eta[r], owner[r], prior)
    return 0


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
    _put(flat(moved), s, f, h)
    known = np.isfinite(_step(moved, ahead, g, prior))
    _put(gradient, flat(ahead), eta, -1.0)
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


@njit(nogil=True)
def climb(
    rows,
    affine,
    prior,
    owner,
    n,
    tol,
    max_iter,
    accelerate,
    each,
    slow_rise,
    shorter,
    memory,
    difference,
    s,
    following,
    trace,
    passes,
    converged,
    collapsed,
    end,
    lost,
    said,
):
    """`mixtures.ascent.climb.climb` of R runs; it ends too once each ``each`` of them have one that has converged, if any.

    Parameters
    ----------
    rows : tuple
        x (G, N, D), w (G, N) or empty for one each, what noise adds to t(x) (G, P), the sums of t(x) (G, P) where clusters
        share coefficients, or (G, 0), and the edges of sequences (S + 1,), in which case x are features (G, P, N), or nothing.
    affine : tuple
        Origin, unit, monomials and parts of the features; see `mixtures.engines.fused`.
    prior : tuple
        Structure, whether the method is CAVI, and the prior of every data set; see `mixtures.engines.steps.step`.
    owner : ndarray of int, shape (R,)
        The data set of every run.
    n : ndarray, shape (R,)
    tol, max_iter, accelerate
        See `mixtures.ascent.climb.climb`.
    each : int
        0 for no such rule.
    slow_rise, shorter, memory, difference
        The constants of the loop.
    s : ndarray, shape (R, K, P)
        Where the runs begin, and afterwards the last states that were kept. This and all that follow are changed.
    following : ndarray, shape (R, K, P)
        The states that one more step leads to from the last ones.
    trace : ndarray, shape (room, R)
    passes : ndarray of int, shape (R,)
    converged, collapsed : ndarray of bool, shape (R,)
    end : ndarray, shape (R,)
    lost : ndarray, shape (R, K, P)
        The states in which runs collapsed.
    said : ndarray, shape (3,)
        How many rows of the trace there are, and where something went wrong the run and the number that says so.

    Returns
    -------
    int
        What went wrong, if anything.
    """
    R, K, P = s.shape
    Q = K * P
    guess, direction = np.empty((R, K, P)), np.zeros((R, Q))
    length, alive = np.zeros(R), np.ones(R, np.bool_)
    eta, reached, room = np.empty((1, 1, K, P)), np.empty((1, 1, K, P)), np.empty((1, 1))
    moved, ahead, here = np.empty((K, P)), np.empty((K, P)), np.empty(Q)
    f, gradient, slope, alphas = np.empty(Q), np.empty(Q), np.empty(Q), np.empty(memory)
    last, before, count = np.empty((R, 3, Q)), np.zeros(R, np.bool_), np.full(R, -1)
    pairs, rho = np.empty((R, memory, 3, Q)), np.zeros((R, memory))
    made, left, fault = 0, R, WELL
    for r in range(R):
        passes[r], end[r], converged[r], collapsed[r] = 0, -np.inf, False, False
        _copy(flat(guess[r]), flat(s[r]))
        _copy(flat(following[r]), flat(s[r]))
    while made < max_iter and left > 0 and fault == WELL:
        if made == len(trace):
            fault = NO_ROOM
            break
        for r in range(R):
            trace[made, r] = np.nan
            if not alive[r] or fault != WELL:
                continue
            at, tried, image, plain = flat(s[r]), flat(guess[r]), flat(following[r]), length[r] == 0
            extra = _step(guess[r], eta[0, 0], owner[r], prior)
            _copy(here, flat(eta))
            gone = not np.isfinite(extra)
            new, rounding = -np.inf, 0.0
            if not gone:
                new = extra + _look(eta, owner[r], rows, affine, room, reached)
                far = _largest_product(flat(eta), flat(reached))
                rounding = 64 * EPS * (n[r] * (1 + _largest(flat(eta))) + far)
            rise = new - end[r] if np.isfinite(end[r]) else np.inf
            if plain and not gone and not np.isfinite(new):
                fault, said[1], said[2] = NO_NUMBER, r, new
                continue
            if plain and not gone and rise < -rounding - FALL * abs(new):
                fault, said[1], said[2] = FELL, r, -rise
                continue
            gone = gone and plain
            taken = not gone if plain else rise >= -rounding
            if taken:
                _copy(at, tried)
                _copy(image, flat(reached))
                end[r] = trace[made, r] = new
            slow = rise <= max(tol * n[r], rounding)
            passes[r] += 1
            converged[r], collapsed[r] = taken and plain and slow, gone
            if gone:
                _copy(flat(lost[r]), tried)
                end[r] = -np.inf
            if converged[r] or gone:
                alive[r] = False
                left -= 1
                continue
            if accelerate and taken and rise <= slow_rise * n[r]:
                _put(f, image, at, -1.0)
                known = _gradient(at, f, here, owner[r], prior, difference, moved, ahead, gradient)
                count[r] = _propose(
                    at,
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
            _put(tried, at, direction[r], length[r])
            for k in range(K):
                if not guess[r, k, 0] > 0:
                    length[r] = 0.0
            if length[r] == 0:
                _copy(tried, image)
        made += 1
        waiting = R if each > 0 else -1
        for first in range(0, R if each > 0 else 0, max(each, 1)):
            for r in range(first, first + each):
                if converged[r]:
                    waiting -= each
                    break
        if waiting == 0:
            break
    said[0] = made
    return fault


@njit(nogil=True)
def passes(rows, affine, owner, eta, log_z, s):
    """sum_n w_n log_z_n (R,) of the pass of every run, and the statistics s (R, K, P)."""
    R, K, P = eta.shape
    room = np.empty((1, 1))
    own, following = np.empty((1, 1, K, P)), np.empty((1, 1, K, P))
    for r in range(R):
        _copy(flat(own), flat(eta[r]))
        log_z[r] = _look(own, owner[r], rows, affine, room, following)
        _copy(flat(s[r]), flat(following))
    return 0
