"""The step of a Markov chain and the pass over short sequences in compiled loops, for `mixtures.engines.whole`.

The step is that of `mixtures.allocations.markov`, whose equation numbers stand there; the pass that of
`mixtures.engines.sequences`.
"""

from __future__ import annotations

from math import lgamma, log

import numpy as np
from numba import float64, int64, njit

from mixtures.engines import both_ends, filters
from mixtures.engines.fused import coordinates, read_only
from mixtures.engines.softmax import EXACT
from mixtures.engines.steps import SMALLEST_WEIGHT, digamma


@njit(nogil=True, error_model="numpy", fastmath=EXACT)
def _row(counts, bayes, alpha0, eta):
    """Log probabilities of one distribution (K,), or their expectations, into eta, and what its prior adds to the objective.

    That is the log of the integral of its posterior less the expected log probabilities, or the log prior without constants.
    """
    K, total = len(counts), 0.0
    for k in range(K):
        total += alpha0[k] + counts[k] if bayes else max(counts[k] + alpha0[k] - 1, 0.0)
    if not bayes:
        held = 0.0
        for k in range(K):
            share = max(counts[k] + alpha0[k] - 1, 0.0) / total if total > 0 else 1 / K
            eta[k] = log(max(share, SMALLEST_WEIGHT))
            held += (alpha0[k] - 1) * eta[k]
        return held
    of_all, marginal = digamma(total), -lgamma(total)
    for k in range(K):
        alpha = alpha0[k] + counts[k]
        if not alpha > 0:
            return np.nan
        eta[k] = digamma(alpha) - of_all
        marginal += lgamma(alpha) - counts[k] * eta[k]
    return marginal


@njit(nogil=True)
def move(counts, bayes, labels, eta):
    """Log start and transitions, or their expectations, into eta (K, 1 + K), from their counts; what they add to the extra."""
    _, concentration, normaliser = labels
    K = len(counts)
    extra = -normaliser if bayes else 0.0
    for row in range(1 + K):
        first = row * K
        own = counts[:, 0] if row == 0 else counts[row - 1, 1:]
        to = eta[:, 0] if row == 0 else eta[row - 1, 1:]
        extra += _row(own, bayes, concentration[first : first + K], to)
    return extra


@njit(
    float64[:, ::1](read_only(float64, 2), read_only(float64, 1), read_only(float64, 2), read_only(int64, 2)),
    nogil=True,
    cache=True,
)
def features(x, origin, unit, monomials):
    """t(x) of the points x (N, D), shape (P, N); see `mixtures.engines.fused`."""
    N, D = x.shape
    z, t = np.ones((D + 1, N)), np.zeros((1 + monomials[-1, 0], N))
    coordinates(x, origin, unit, z)
    for m in range(len(monomials)):
        to, left, right = t[monomials[m, 0]], z[monomials[m, 1]], z[monomials[m, 2]]
        for n in range(N):
            to[n] += left[n] * right[n]
    return t


@njit(nogil=True, fastmath=EXACT)
def _densities(t, eta, rho):
    """rho (K, N) = t . eta of features t (P, N)."""
    P, N = t.shape
    for k in range(len(rho)):
        own = rho[k]
        for n in range(N):
            own[n] = 0.0
        for p in range(P):
            factor, feature = eta[k, p], t[p]
            for n in range(N):
                own[n] += factor * feature[n]


@njit(nogil=True)
def _in_steps(rho, weights, edges, log_pi, log_A, A, pairs):
    """`mixtures.engines.both_ends.through` step by step, and in logarithms where that has to be."""
    K, N = rho.shape
    r, alpha, none, log_z = np.empty((N, K)), np.empty((N, K)), np.empty(0), 0.0
    for n in range(N):
        for k in range(K):
            r[n, k] = rho[k, n]
    pairs[:] = 0.0
    for i in range(len(edges) - 1):
        own, room = r[edges[i] : edges[i + 1]], alpha[edges[i] : edges[i + 1]]
        each, in_logs = filters._filter(own, log_pi, A, log_A, room, none)
        log_z += weights[i] * each
        filters._smooth(room, in_logs, A, log_A, none, weights[i], own, pairs)
    for n in range(N):
        for k in range(K):
            rho[k, n] = r[n, k]
    return log_z


@njit(nogil=True)
def look(t, w, edges, eta, s):
    """log_z of sequences with features t (P, N), of weights w (N,) or empty for one each; s (K, P + 1 + K) is set."""
    P, N = t.shape
    K, S = len(eta), len(edges) - 1
    r, weights, log_pi, pi = np.empty((K, N)), np.ones(S), np.empty(K), np.empty(K)
    log_A, A, pairs = np.empty((K, K)), np.empty((K, K)), np.empty((K, K))
    for i in range(S if w.size else 0):
        weights[i] = w[edges[i]]
    for k in range(K):
        log_pi[k], pi[k] = eta[k, P], np.exp(eta[k, P])
        for j in range(K):
            log_A[k, j] = eta[k, P + 1 + j]
            A[k, j] = np.exp(log_A[k, j])
    _densities(t, eta, r)
    log_z = both_ends.through(r, weights, edges, pi, A, pairs)
    if not np.isfinite(log_z):
        _densities(t, eta, r)
        log_z = _in_steps(r, weights, edges, log_pi, log_A, A, pairs)
    for k in range(K):
        s[k, 0], s[k, P] = both_ends.total(r[k]), 0.0
        for p in range(1, P):
            s[k, p] = both_ends.dot(r[k], t[p])
        for i in range(S):
            s[k, P] += r[k, edges[i]]
        for j in range(K):
            s[k, P + 1 + j] = pairs[k, j]
    return log_z
