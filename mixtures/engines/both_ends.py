"""Forward and backward recursions of short sequences at once, each step of one beside a step of the other.

With b_t the densities over the largest of them, and numbers that are scaled once in several steps by what they sum to,

    alpha_t ~ b_t (alpha_(t-1) A)      v_t ~ b_t beta_t,  beta_t = A v_(t+1)
    n_t = alpha_t . beta_t             r_t = alpha_t beta_t / n_t      transitions A_jk sum_t alpha_t(j) v_(t+1)(k) / n_t

No step waits for a division, and the two recursions do not wait for each other. What is left over goes through all steps side
by side. A state may be lost where its number underflows. It takes with it a share of the likelihood that is small beside
n_t / (sum alpha_t sum beta_t), so that this says afterwards whether any was lost that matters, whatever zeros there are in A.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.softmax import EXACT, LOOSE, _exp, _larger

# Steps from one scaling to the next, and the least sum that is scaled.
STRIDE, LEAST = 8, 1e-200

# n_t over the two sums, from which on what is below the smallest number in LEAST cannot matter.
MET = 1e-60

# The log of the smallest density relative to the largest; a running product is turned into a logarithm below the other.
FAINT, PRODUCT = -600.0, 1e-90


@njit(nogil=True, fastmath=LOOSE)
def total(a):
    """The sum of a (N,)."""
    found = 0.0
    for n in range(len(a)):
        found += a[n]
    return found


@njit(nogil=True, fastmath=LOOSE)
def dot(a, b):
    """The sum of a b, both (N,)."""
    found = 0.0
    for n in range(len(a)):
        found += a[n] * b[n]
    return found


@njit(nogil=True, fastmath=EXACT)
def _relative(rho, b, tops):
    """Densities b (K, N) over the largest of each step, whose logarithms are its tops (N,)."""
    K, N = rho.shape
    for n in range(N):
        tops[n] = rho[0, n]
    for k in range(1, K):
        own = rho[k]
        for n in range(N):
            tops[n] = _larger(tops[n], own[n])
    for k in range(K):
        own, to = rho[k], b[k]
        for n in range(N):
            to[n] = _exp(_larger(own[n] - tops[n], FAINT))


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _two(b, pi, A, alpha, beta, v):
    """`_recursions` of two states, which stay in registers."""
    T = b.shape[1]
    A00, A01, A10, A11 = A[0, 0], A[0, 1], A[1, 0], A[1, 1]
    b0, b1, alpha0, alpha1, beta0, beta1, v0, v1 = b[0], b[1], alpha[0], alpha[1], beta[0], beta[1], v[0], v[1]
    log_z, product, least = 0.0, 1.0, 1.0
    p0, p1, q0, q1 = pi[0] * b0[0], pi[1] * b1[0], 1.0, 1.0
    u0, u1 = b0[T - 1], b1[T - 1]
    for t in range(T):
        back = T - 1 - t
        if t > 0:
            p0, p1 = (p0 * A00 + p1 * A10) * b0[t], (p0 * A01 + p1 * A11) * b1[t]
            q0, q1 = A00 * u0 + A01 * u1, A10 * u0 + A11 * u1
            u0, u1 = q0 * b0[back], q1 * b1[back]
        if t % STRIDE == 0:
            ahead, behind = p0 + p1, u0 + u1
            least = min(least, min(ahead, behind))
            product *= ahead
            ahead, behind = 1 / ahead, 1 / behind
            p0, p1, u0, u1 = p0 * ahead, p1 * ahead, u0 * behind, u1 * behind
            if product < PRODUCT:
                log_z += np.log(product)
                product = 1.0
        alpha0[t], alpha1[t] = p0, p1
        beta0[back], beta1[back], v0[back], v1[back] = q0, q1, u0, u1
    return log_z + np.log(product) + np.log(p0 + p1), min(least, p0 + p1)


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _recursions(b, pi, A, alpha, beta, v):
    """alpha, beta and v (K, T) of one sequence with densities b (K, T); the log of the sum over paths, and the least sum."""
    K, T = b.shape
    if K == 2:
        return _two(b, pi, A, alpha, beta, v)
    room = np.empty((4, K))
    p, following, q, u = room[0], room[1], room[2], room[3]
    log_z, product, least = 0.0, 1.0, 1.0
    for k in range(K):
        p[k], q[k], u[k] = pi[k] * b[k, 0], 1.0, b[k, T - 1]
    for t in range(T):
        back = T - 1 - t
        if t > 0:
            for k in range(K):
                ahead = behind = 0.0
                for j in range(K):
                    ahead += p[j] * A[j, k]
                    behind += A[k, j] * u[j]
                following[k], q[k] = ahead * b[k, t], behind
            for k in range(K):
                p[k], u[k] = following[k], q[k] * b[k, back]
        if t % STRIDE == 0:
            ahead = behind = 0.0
            for k in range(K):
                ahead += p[k]
                behind += u[k]
            least = min(least, min(ahead, behind))
            product *= ahead
            ahead, behind = 1 / ahead, 1 / behind
            for k in range(K):
                p[k] *= ahead
                u[k] *= behind
            if product < PRODUCT:
                log_z += np.log(product)
                product = 1.0
        for k in range(K):
            alpha[k, t], beta[k, back], v[k, back] = p[k], q[k], u[k]
    last = 0.0
    for k in range(K):
        last += p[k]
    return log_z + np.log(product) + np.log(last), min(least, last)


@njit(nogil=True, fastmath=EXACT, error_model="numpy")
def _meet(alpha, beta, room, w, r):
    """r (K, T) = w alpha beta / n, and alpha times w / n; the least n over the two sums, all of one sequence."""
    K, T = alpha.shape
    n, ahead, behind = room[0], room[1], room[2]
    for t in range(T):
        n[t], ahead[t], behind[t] = 0.0, 0.0, 0.0
    for k in range(K):
        a, e = alpha[k], beta[k]
        for t in range(T):
            n[t] += a[t] * e[t]
            ahead[t] += a[t]
            behind[t] += e[t]
    for t in range(T):
        ahead[t] = n[t] / (ahead[t] * behind[t])
        n[t] = w / n[t]
    for k in range(K):
        a, e, own = alpha[k], beta[k], r[k]
        for t in range(T):
            a[t] *= n[t]
            own[t] = a[t] * e[t]
    least = np.inf
    for t in range(T):
        least = min(least, ahead[t]) if ahead[t] >= MET else 0.0
    return least > 0


@njit(nogil=True)
def through(r, weights, edges, pi, A, pairs):
    """log_z of sequences with log densities r (K, N), which become smoothed probabilities; not a number if a state was lost.

    Parameters
    ----------
    r
        log rho, and afterwards the probabilities times the weight of the sequence.
    weights, edges
        Of the sequences, (S,) and (S + 1,).
    pi, A
        Of the start (K,) and of transitions (K, K), which may have zeros.
    pairs
        Takes the expected transitions (K, K).
    """
    K, N = r.shape
    room = np.empty((4, K, N))
    b, alpha, beta, v = room[0], room[1], room[2], room[3]
    steps = np.empty((3, N))
    tops, log_z = steps[0], 0.0
    _relative(r, b, tops)
    for i in range(len(edges) - 1):
        log_z += weights[i] * total(tops[edges[i] : edges[i + 1]])
    for i in range(len(edges) - 1):
        begin, end = edges[i], edges[i + 1]
        own = alpha[:, begin:end]
        log_sum, least = _recursions(b[:, begin:end], pi, A, own, beta[:, begin:end], v[:, begin:end])
        met = _meet(own, beta[:, begin:end], steps[:, begin:end], weights[i], r[:, begin:end])
        if not (met and least >= LEAST):
            return np.nan
        log_z += weights[i] * log_sum
        for k in range(K):
            alpha[k, end - 1] = 0.0  # of the last step none goes on
    for j in range(K):
        for k in range(K):
            pairs[j, k] = A[j, k] * dot(alpha[j, : N - 1], v[k, 1:])
    return log_z
