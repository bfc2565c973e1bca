"""Filters, smoothers and draws of a chain step by step in compiled loops, for `mixtures.engines.chains` and short sequences.

They are scaled by the sum of each step, with log rho taken relative to its largest state. Where every transition has a
probability that is not tiny, no state that matters can underflow: the next step alone makes up for it. Elsewhere a state that
falls below 1e-200 is noticed, and the sequence is done again in logarithms.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.flat import flat
from mixtures.engines.softmax import EXACT, _exp

BLOCK = 256  # steps whose exponentials stay in cache

# Transitions at least this probable keep the scaled recursion from underflow; a state below the second number may have.
DENSE, LOST = 1e-100, 1e-200

# A running product of scales is turned into a logarithm below this.
PRODUCT = 1e-150


@njit(nogil=True)
def _log_sum(v):
    top = v[0]
    for k in range(1, len(v)):
        top = max(top, v[k])
    if top == -np.inf:
        return top
    total = 0.0
    for k in range(len(v)):
        total += np.exp(v[k] - top)
    return top + np.log(total)


@njit(nogil=True)
def _first(log_first, log_rho, alpha, scales):
    """alpha of the first step, and its log normaliser."""
    for k in range(len(alpha)):
        alpha[k] = log_first[k] + log_rho[k]
    log_z = _log_sum(alpha)
    for k in range(len(alpha)):
        alpha[k] = np.exp(alpha[k] - log_z)
    if scales.size:
        scales[0] = log_z
    return log_z


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _forward(log_rho, log_first, A, alpha, scales):
    """Filtered probabilities alpha (T, K), scales log p(x_t | x_1..x_(t-1)) unless empty; sum of these, and the least alpha."""
    T, K = log_rho.shape
    total, product, least = _first(log_first, log_rho[0], alpha[0], scales), 1.0, 1.0
    tops, own = np.empty(BLOCK), np.empty(K)
    for k in range(K):
        least = min(least, alpha[0, k])
    for start in range(1, T, BLOCK):
        n = min(BLOCK, T - start)
        for b in range(n):
            top = log_rho[start + b, 0]
            for k in range(1, K):
                top = max(top, log_rho[start + b, k])
            tops[b] = top
            total += top
            for k in range(K):
                alpha[start + b, k] = log_rho[start + b, k] - top
        filled = flat(alpha[start : start + n])
        for i in range(n * K):
            filled[i] = _exp(filled[i])
        for b in range(n):
            t = start + b
            for k in range(K):
                own[k] = alpha[t - 1, 0] * A[0, k]
            for j in range(1, K):
                a = alpha[t - 1, j]
                for k in range(K):
                    own[k] += a * A[j, k]
            c = 0.0
            for k in range(K):
                own[k] *= alpha[t, k]
                c += own[k]
            scale = 1 / c
            for k in range(K):
                alpha[t, k] = own[k] * scale
                least = min(least, alpha[t, k])
            product *= c
            if scales.size:
                scales[t] = tops[b] + np.log(c)
            if product < PRODUCT:
                total += np.log(product)
                product = 1.0
    return total + np.log(product), least


@njit(nogil=True)
def _forward_in_logs(log_rho, log_first, log_A, alpha, scales):
    """Logarithms of the filtered probabilities (T, K), and the log normaliser."""
    T, K = log_rho.shape
    terms, own, total = np.empty(K), np.empty(K), 0.0
    for t in range(T):
        for k in range(K):
            if t == 0:
                own[k] = log_first[k] + log_rho[0, k]
            else:
                for j in range(K):
                    terms[j] = alpha[t - 1, j] + log_A[j, k]
                own[k] = _log_sum(terms) + log_rho[t, k]
        log_z = _log_sum(own)
        total += log_z
        if scales.size:
            scales[t] = log_z
        for k in range(K):
            alpha[t, k] = own[k] - log_z if log_z > -np.inf else -np.log(K)  # an impossible point tells nothing
    return total


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _backward(alpha, A, last, w, r, pairs):
    """Smoothed probabilities r (T, K), and pairs (K, K) += the sum of alpha_t u_(t+1), to be multiplied by A.

    ``last`` (K,) are the smoothed probabilities of the step after the last, or empty.
    """
    T, K = alpha.shape
    u, own, smoothed = np.empty(K), np.empty(K), np.empty(K)
    first = T - 1
    if last.size:
        for k in range(K):
            smoothed[k] = last[k]
    else:
        for k in range(K):
            smoothed[k] = alpha[T - 1, k]
            r[T - 1, k] = w * smoothed[k]
        first = T - 2
    for t in range(first, -1, -1):
        for k in range(K):
            u[k] = alpha[t, 0] * A[0, k]
        for j in range(1, K):
            a = alpha[t, j]
            for k in range(K):
                u[k] += a * A[j, k]
        for k in range(K):
            u[k] = smoothed[k] / u[k] if u[k] > 0 else 0.0
        total = 0.0
        for j in range(K):
            a, v = alpha[t, j], 0.0
            for k in range(K):
                v += A[j, k] * u[k]
                pairs[j, k] += a * u[k]
            own[j] = a * v
            total += own[j]
        scale = 1 / total if t % 64 == 0 else 1.0
        for j in range(K):
            smoothed[j] = own[j] * scale
            r[t, j] = w * smoothed[j]


@njit(nogil=True)
def _backward_in_logs(alpha, log_A, last, w, r, pairs):
    """`_backward` from logarithms of alpha; pairs are complete."""
    T, K = alpha.shape
    smoothed, terms, own = np.empty(K), np.empty(K), np.empty(K)
    first = T - 1
    if last.size:
        for k in range(K):
            smoothed[k] = np.log(last[k]) if last[k] > 0 else -np.inf
    else:
        for k in range(K):
            smoothed[k] = alpha[T - 1, k]
            r[T - 1, k] = w * np.exp(smoothed[k])
        first = T - 2
    for t in range(first, -1, -1):
        for k in range(K):
            for j in range(K):
                terms[j] = alpha[t, j] + log_A[j, k]
            before = _log_sum(terms)
            smoothed[k] = smoothed[k] - before if before > -np.inf else -np.inf
        for j in range(K):
            for k in range(K):
                terms[k] = alpha[t, j] + log_A[j, k] + smoothed[k]
                pairs[j, k] += w * np.exp(terms[k])
            own[j] = _log_sum(terms)
        for j in range(K):
            smoothed[j] = own[j]
            r[t, j] = w * np.exp(own[j])


@njit(nogil=True)
def _draw(p, u):
    """One of K states, with probabilities proportional to p, by inversion of u."""
    reached, below = u * p.sum(), 0.0
    for k in range(len(p)):
        below += p[k]
        if reached < below:
            return k
    return np.argmax(p)  # rounding: u is all but 1


@njit(nogil=True)
def _sample(alpha, in_logs, A, log_A, last, u, w, r, pairs):
    """States drawn backwards from the filtered probabilities, as indicators r (T, K), and the first of them.

    ``last`` is the state after the last step, or -1.
    """
    T, K = alpha.shape
    p, following = np.empty(K), last
    for t in range(T - 1, -1, -1):
        for j in range(K):
            p[j] = alpha[t, j]
            if following >= 0:
                p[j] = p[j] + log_A[j, following] if in_logs else p[j] * A[j, following]
        if in_logs:
            top = p[0]
            for j in range(1, K):
                top = max(top, p[j])
            for j in range(K):
                p[j] = np.exp(p[j] - top)
        z = _draw(p, u[t])
        for j in range(K):
            r[t, j] = 0.0
        r[t, z] = w
        if following >= 0:
            pairs[z, following] += w
        following = z
    return following


@njit(nogil=True)
def _dense(A):
    """Whether no transition (K, K) is so improbable that a filter in probabilities loses digits by it."""
    for i in range(len(A)):
        for j in range(len(A)):
            if not A[i, j] >= DENSE:
                return False
    return True


@njit(nogil=True)
def _filter(log_rho, log_first, A, log_A, alpha, scales):
    """The log normaliser of some steps, and whether alpha, their filtered probabilities, had to be logarithms."""
    total, least = _forward(log_rho, log_first, A, alpha, scales)
    in_logs = not (total > -np.inf and (_dense(A) or least >= LOST))
    if in_logs:
        total = _forward_in_logs(log_rho, log_first, log_A, alpha, scales)
    return total, in_logs


@njit(nogil=True)
def _smooth(alpha, in_logs, A, log_A, last, w, r, pairs):
    """Smoothed probabilities r, and the expected transitions to be added to pairs (K, K)."""
    if in_logs:
        _backward_in_logs(alpha, log_A, last, w, r, pairs)
        return
    products = np.zeros(A.shape)
    _backward(alpha, A, last, w, r, products)
    for j in range(len(A)):
        for k in range(len(A)):
            pairs[j, k] += w * products[j, k] * A[j, k]
