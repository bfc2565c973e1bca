"""The step of a Markov chain and the pass over short sequences in compiled loops, for `mixtures.engines.whole`.

The step is that of `mixtures.allocations.markov`, whose equation numbers stand there; the pass that of
`mixtures.engines.sequences`.
"""

from __future__ import annotations

from math import lgamma, log

import numpy as np
from numba import njit

from mixtures.engines import chains
from mixtures.engines.softmax import EXACT
from mixtures.engines.steps import SMALLEST_WEIGHT, digamma


@njit(nogil=True, error_model="numpy", fastmath=EXACT)
def _row(counts, bayes, alpha0, eta):
    """Log probabilities of one distribution (K,), or their expectations, into eta; the log of the integral of its posterior."""
    K, total = len(counts), 0.0
    for k in range(K):
        total += max(counts[k], 0.0) if not bayes else alpha0[k] + counts[k]
    if not bayes:
        for k in range(K):
            eta[k] = log(max(max(counts[k], 0.0) / total if total > 0 else 1 / K, SMALLEST_WEIGHT))
        return 0.0
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


@njit(nogil=True, fastmath=EXACT)
def look(t, w, edges, eta, s):
    """log_z of sequences with features t (N, P), of weights w (N,) or empty for one each; s (K, P + 1 + K) is set."""
    N, P = t.shape
    K = len(eta)
    r, alpha, log_pi = np.empty((N, K)), np.empty((N, K)), np.empty(K)
    log_A, A, pairs, none = np.empty((K, K)), np.empty((K, K)), np.zeros((K, K)), np.empty(0)
    for k in range(K):
        log_pi[k] = eta[k, P]
        for j in range(K):
            log_A[k, j] = eta[k, P + 1 + j]
            A[k, j] = np.exp(log_A[k, j])
        for p in range(P + 1 + K):
            s[k, p] = 0.0
    for n in range(N):
        for k in range(K):
            total = 0.0
            for p in range(P):
                total += t[n, p] * eta[k, p]
            r[n, k] = total
    log_z = 0.0
    for i in range(len(edges) - 1):
        begin, end = edges[i], edges[i + 1]
        weight = w[begin] if w.size else 1.0
        own, room = r[begin:end], alpha[begin:end]
        each, in_logs = chains._filter(own, log_pi, A, log_A, room, none)
        log_z += weight * each
        chains._smooth(room, in_logs, A, log_A, none, weight, own, pairs)
        for k in range(K):
            s[k, P] += own[0, k]
    for n in range(N):
        for k in range(K):
            for p in range(P):
                s[k, p] += r[n, k] * t[n, p]
    for k in range(K):
        for j in range(K):
            s[k, P + 1 + j] = pairs[k, j]
    return log_z
