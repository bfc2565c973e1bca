"""The steps of EM and CAVI for Gaussian clusters in compiled loops, for one state: `mixtures.methods` and the families, again.

They are the same formulas as in the readable files, whose equation numbers stand there, and are tested to give what those
give. All four structures have a mean m_k and a precision Lambda_k, or their expectations, from which eta follows alike.
"""

from __future__ import annotations

from math import lgamma, log, pi

import numpy as np
from numba import njit

from mixtures.engines.softmax import EXACT
from mixtures.engines.triangles import invert

FULL, TIED, DIAGONAL, SPHERICAL = range(4)
DIRICHLET, STICKS, CHAIN = range(3)

LOG_2, LOG_PI, LOG_2PI = log(2), log(pi), log(2 * pi)
FLOOR, EMPTY, SMALLEST_WEIGHT = 1e-200, 1e-8, 1e-300

# Coefficients B_2j / 2j of the asymptotic series of the digamma function, which from LARGE on has all digits.
DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
LARGE = 10.0


@njit(nogil=True)
def digamma(y):
    """The derivative of log Gamma at y > 0 (Abramowitz & Stegun 1972, 6.3.5 and 6.3.18)."""
    before = 0.0
    while y < LARGE:
        before += 1 / y
        y += 1
    a, power, series = 1 / (y * y), 1.0, 0.0
    for c in DIGAMMA:
        power *= a
        series += c * power
    return log(y) - 0.5 / y - series - before


@njit(nogil=True)
def cholesky(A, L):
    """The lower triangular L with L L^T = A, and whether A is positive definite."""
    D = len(A)
    for i in range(D):
        for j in range(i + 1):
            total = A[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                if not total > 0:
                    return False
                L[i, i] = np.sqrt(total)
            else:
                L[i, j] = total / L[j, j]
    return True


@njit(nogil=True)
def precision(A, taken, least, W, L, F):
    """W = A^-1, and log|A|; not a number where an eigenvalue of A in units of the mean squares is at most ``least``.

    That is so where A in these units, less ``least`` times the identity, is not positive definite. L and F are room.
    """
    D = len(A)
    for i in range(D):
        F[i, i] = np.sqrt(max(A[i, i] + taken[i], FLOOR))
    for i in range(D):
        for j in range(i + 1):
            W[i, j] = A[i, j] / F[i, i] / F[j, j]
        W[i, i] -= least
    if not (cholesky(W, L) and cholesky(A, L)):
        return np.nan
    log_det = 0.0
    for j in range(D):
        log_det += 2 * log(L[j, j])
    invert(L, F)
    for i in range(D):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, D):
                total += F[k, i] * F[k, j]
            W[i, j] = W[j, i] = total
    return log_det


@njit(nogil=True)
def weigh(counts, bayes, labels, eta):
    """Log weights, or their expectations, into eta (K, P); the log marginal likelihood of the counts (K,).

    Those of a chain are in columns of their own, and are no part of this.
    """
    kind, concentration, normaliser = labels
    K, total = len(counts), counts.sum()
    if kind == CHAIN:
        for k in range(K):
            eta[k, 0] = 0.0
        return 0.0
    if not bayes:
        for k in range(K):
            eta[k, 0] = log(max(counts[k] / total, SMALLEST_WEIGHT))
        return 0.0
    marginal = -normaliser
    if kind == DIRICHLET:
        total += concentration.sum()
        of_all = digamma(total)
        for k in range(K):
            alpha = concentration[k] + counts[k]
            eta[k, 0] = digamma(alpha) - of_all
            marginal += lgamma(alpha)
        return marginal - lgamma(total)
    left = 0.0
    for k in range(K - 1):
        later = 0.0
        for j in range(K - 1, k, -1):
            later += counts[j]
        a, b = 1 + counts[k], concentration[0] + later
        both = digamma(a + b)
        eta[k, 0] = digamma(a) - both + left
        left += digamma(b) - both
        marginal += lgamma(a) + lgamma(b) - lgamma(a + b)
    eta[K - 1, 0] = left
    return marginal


@njit(nogil=True)
def put(eta, m, Lambda, diagonal, log_det, spread, log_volume):
    """Natural parameters of one cluster, beside the log weight in the first of eta (P,); ``spread`` is E[m^T Lambda m] less
    that of the mean."""
    D = len(m)
    square, p = 0.0, 1 + D
    for i in range(D):
        if diagonal:
            linear = Lambda[i, i] * m[i]
        else:
            linear = 0.0
            for j in range(D):
                linear += Lambda[i, j] * m[j]
                if j >= i:
                    eta[p] = -0.5 * Lambda[i, i] if i == j else -Lambda[i, j]
                    p += 1
        eta[1 + i] = linear
        square += m[i] * linear
    if diagonal:
        for p in range(1 + D, len(eta)):
            eta[p] = -0.5 * Lambda[p - 1 - D, p - 1 - D]
    eta[0] += (log_det - square - spread - D * LOG_2PI) / 2 - log_volume


@njit(nogil=True)
def against(m, Lambda, diagonal, m0, beta0, scale0, share):
    """How far the log prior, but for its power of |Lambda|, is below 0; of the trace in it a share."""
    own = distance = 0.0
    for i in range(len(m)):
        for j in range(len(m)):
            distance += (m[i] - m0[i]) * Lambda[i, j] * (m[j] - m0[j])
            own += 0.0 if diagonal else scale0[i, j] * Lambda[i, j] / 2
    for i in range(scale0.shape[1] if diagonal else 0):
        own += scale0[0, i] * Lambda[i, i]
    return share * own + beta0 / 2 * distance


@njit(nogil=True, error_model="numpy", fastmath=EXACT)
def step(s, eta, structure, bayes, m0, beta0, dof0, scale0, normaliser0, log_volume, least, labels):
    """`step` of `mixtures.methods.em`, or of `mixtures.methods.cavi` where ``bayes``, for a state s (K, P): eta, and the extra.

    The extra is not a number where a cluster is empty, or too tight for its digits or those of the bound. The prior is m0 (D,),
    beta0, dof0 and scale0 (D, D), (1, D) or (1, 1), all zeros for maximum likelihood. Of a posterior mode, which leaves the
    exponent of |Lambda| in the prior as dof0 / 2, or dof0 of independent features, the extra is the log prior without its
    constants.
    """
    K, P = s.shape
    D = len(m0)
    marginal = weigh(s[:, 0], bayes, labels, eta)
    m, taken, A, W = np.empty((K, D)), np.zeros(D), np.zeros((D, D)), np.zeros((D, D))
    L, F = np.empty((D, D)), np.empty((D, D))
    extra = marginal - normaliser0 if bayes else 0.0
    shared, total = 0.0, dof0
    for k in range(K):
        N = s[k, 0]
        beta = beta0 + N
        if not bayes and beta < EMPTY:
            return np.nan
        for i in range(D):
            m[k, i] = (beta0 * m0[i] + s[k, 1 + i]) / beta
        if bayes:
            extra += D / 2 * (LOG_2PI - log(beta)) - N * (D / 2 * LOG_2PI + log_volume)
        spread = D / beta if bayes else 0.0
        if structure in (FULL, TIED):
            p = 1 + D
            for i in range(D):
                taken[i] = beta * m[k, i] ** 2 + (taken[i] if structure == TIED else 0.0)
                for j in range(i, D):
                    own = s[k, p] + beta0 * m0[i] * m0[j] - beta * m[k, i] * m[k, j]
                    if structure == FULL or k == 0:
                        A[j, i] = scale0[i, j] + own
                    else:
                        A[j, i] += own
                    A[i, j] = A[j, i]
                    p += 1
            total = N + (dof0 if structure == FULL else total)
            if structure == TIED and k < K - 1:
                continue
            for i in range(D):
                if beta0 == 0 and not A[i, i] > least * total:
                    return np.nan
            log_det = precision(A, taken, least, W, L, F)
            if not np.isfinite(log_det):
                return np.nan
            for i in range(D):
                for j in range(D):
                    W[i, j] *= total
            expected = D * log(total) - log_det
            if bayes:
                extra += total / 2 * (D * LOG_2 - log_det) + D * (D - 1) / 4 * LOG_PI
                expected = D * LOG_2 - log_det
                for i in range(D):
                    extra += lgamma((total - i) / 2)
                    expected += digamma((total - i) / 2)
            else:
                extra += dof0 / 2 * (expected - 2 * log_volume)
            shared = expected
            if structure == FULL:
                put(eta[k], m[k], W, False, expected, spread, log_volume)
                extra -= 0.0 if bayes else against(m[k], W, False, m0, beta0, scale0, 1.0)
        elif structure == DIAGONAL:
            a = dof0 + N / 2
            expected = D * digamma(a) if bayes else 0.0
            if bayes:
                extra += D * lgamma(a)
            for i in range(D):
                square = beta * m[k, i] ** 2
                b = scale0[0, i] + (s[k, 1 + D + i] + beta0 * m0[i] ** 2 - square) / 2
                if not b / max(b + square / 2, FLOOR) > least or (beta0 == 0 and not b > least * a):
                    return np.nan
                W[i, i] = a / b
                expected -= log(b) if bayes else -log(W[i, i])
                if bayes:
                    extra -= a * log(b)
            put(eta[k], m[k], W, True, expected, spread, log_volume)
            if not bayes:
                extra += dof0 * (expected - 2 * log_volume) - against(m[k], W, True, m0, beta0, scale0, 1.0)
        else:
            a = dof0 + N * D / 2
            square = before = 0.0
            for i in range(D):
                square += beta * m[k, i] ** 2
                before += beta0 * m0[i] ** 2
            b = scale0[0, 0] + (s[k, 1 + D] + before - square) / 2
            if not b / max(b + square / 2, FLOOR) > least or (beta0 == 0 and not b > least * a):
                return np.nan
            for i in range(D):
                W[i, i] = a / b
            expected = D * log(a / b)
            if bayes:
                extra += lgamma(a) - a * log(b)
                expected = D * (digamma(a) - log(b))
            else:
                extra += dof0 / D * (expected - 2 * log_volume) - against(m[k], W, True, m0, beta0, scale0, 1.0)
            put(eta[k], m[k], W, True, expected, spread, log_volume)
    if structure == TIED:
        for k in range(K):
            put(eta[k], m[k], W, False, shared, D / (beta0 + s[k, 0]) if bayes else 0.0, log_volume)
            extra -= 0.0 if bayes else against(m[k], W, False, m0, beta0, scale0, 1 / K)
    if not bayes:
        return extra
    for k in range(K):
        for p in range(P):
            extra -= s[k, p] * eta[k, p]
    return extra
