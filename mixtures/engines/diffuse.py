"""The first steps of a sequence of which directions of the first state are diffuse, of infinite variance, in compiled loops.

Until the data have determined them, moments are held as functions of what they are, z_t = m_t + E_t delta + N(0, P_t), and
every number seen is an observation of delta; then delta is integrated out (Durbin & Koopman 2012, section 5.7).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.recursions import _congruent, _gain, _predicted, _root, _update
from mixtures.engines.recursions import draw as drawn_backwards

# Part of a diffuse direction that the others must leave over for it to be told apart from them.
TOLD = 1e-9


@njit(nogil=True, error_model="numpy")
def _rotate(root, row):
    """Take a row into the triangular root (q, q + 1) by rotations; what is left of its last number is returned."""
    q = len(root)
    for j in range(q):
        if row[j] == 0.0:
            continue
        size = np.hypot(root[j, j], row[j])
        c, s = root[j, j] / size, row[j] / size
        for k in range(j, q + 1):
            above, below = root[j, k], row[k]
            root[j, k] = c * above + s * below
            row[k] = c * below - s * above
    return row[q]


@njit(nogil=True, error_model="numpy")
def _told(root):
    """Whether the rows so far determine every direction."""
    q = len(root)
    for j in range(q):
        size = 0.0
        for i in range(j + 1):
            size += root[i, j] ** 2
        if not np.abs(root[j, j]) > TOLD * np.sqrt(size):
            return False
    return True


@njit(nogil=True, error_model="numpy")
def _solved(root, delta, cov):
    """Moments of delta: T delta = y + N(0, I), of which root (q, q + 1) is [T, y]."""
    q = len(root)
    inverse = np.zeros((q, q))
    for j in range(q):
        inverse[j, j] = 1 / root[j, j]
        for i in range(j - 1, -1, -1):
            total = 0.0
            for k in range(i + 1, j + 1):
                total -= root[i, k] * inverse[k, j]
            inverse[i, j] = total / root[i, i]
    for i in range(q):
        delta[i] = 0.0
        for k in range(q):
            delta[i] += inverse[i, k] * root[k, q]
        for j in range(q):
            cov[i, j] = 0.0
            for k in range(q):
                cov[i, j] += inverse[i, k] * inverse[j, k]


@njit(nogil=True, cache=True, error_model="numpy")
def window(y, G, kind, A, Q, m0, P0, E0, m, E, P, delta, cov):
    """Filter until delta is determined; the number d of steps that it took, zero if it never is, and their log likelihood.

    Filled are m (T, H), E (T, H, q) and P (T, H, H) at the first d steps, and delta (q,) and cov (q, q), its moments given
    these. The log likelihood is that under a flat density of delta, in nats.
    """
    (T, r), (H, q) = y.shape, E0.shape
    room, K, row, root = np.empty((H, H)), np.empty(H), np.empty(q + 1), np.zeros((q, q + 1))
    log_z = 0.0
    for t in range(T):
        if t == 0:
            m[0], E[0], P[0] = m0, E0, P0
        else:
            _predicted(A, Q, P[t - 1], P[t], room)
            for i in range(H):
                m[t, i] = 0.0
                E[t, i] = 0.0
                for k in range(H):
                    m[t, i] += A[i, k] * m[t - 1, k]
                    for j in range(q):
                        E[t, i, j] += A[i, k] * E[t - 1, k, j]
        for number in range(r):
            g = G[kind[t], number]
            told = False
            for i in range(H):
                told |= g[i] != 0.0
            if not told:
                log_z -= y[t, number] ** 2 / 2
                continue
            f = _update(P[t], g, K, room)
            row[q] = y[t, number]
            for j in range(q):
                row[j] = 0.0
            for i in range(H):
                row[q] -= g[i] * m[t, i]
                for j in range(q):
                    row[j] += g[i] * E[t, i, j]
            for i in range(H):
                m[t, i] += K[i] * row[q]
                for j in range(q):
                    E[t, i, j] -= K[i] * row[j]
            row /= np.sqrt(f)
            log_z -= np.log(f) / 2 + _rotate(root, row) ** 2 / 2
        if _told(root):
            _solved(root, delta, cov)
            for j in range(q):
                log_z -= np.log(np.abs(root[j, j]))
            return t + 1, log_z + q * np.log(2 * np.pi) / 2
    return 0, log_z


@njit(nogil=True, cache=True, error_model="numpy")
def integrated(m, E, P, delta, cov, mean, V):
    """The filtered moments, mean (H,) and V (H, H), of a step with delta integrated out."""
    H, q = E.shape
    V[:] = P
    for i in range(H):
        mean[i] = m[i]
        for j in range(q):
            mean[i] += E[i, j] * delta[j]
    _congruent(E, cov, V, np.empty((H, q)))


@njit(nogil=True, error_model="numpy")
def _solve(L, B):
    """X with L L^T X = B in the place of B (H, n), where L, which `_root` has made, has columns of zeros."""
    H, n = B.shape
    for j in range(n):
        for i in range(H):
            total = B[i, j]
            for k in range(i):
                total -= L[i, k] * B[k, j]
            B[i, j] = total / L[i, i] if L[i, i] > 0 else 0.0
        for i in range(H - 1, -1, -1):
            total = B[i, j]
            for k in range(i + 1, H):
                total -= L[k, i] * B[k, j]
            B[i, j] = total / L[i, i] if L[i, i] > 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def regression(E, P, cov, V, slope, rest):
    """Of delta on z at the window's last step: its slope (q, H), and its covariance given z (q, q).

    ``V`` is the filtered covariance of z there with delta integrated out.
    """
    H, q = E.shape
    L, B = np.empty((H, H)), np.zeros((H, q))
    _root(V, L)
    for i in range(H):
        for j in range(q):
            for n in range(q):
                B[i, j] += E[i, n] * cov[n, j]
    _solve(L, B)
    own = np.eye(q)
    for i in range(q):
        for j in range(H):
            slope[i, j] = B[j, i]
            for n in range(q):
                own[i, n] -= B[j, i] * E[j, n]
    rest[:] = 0.0
    _congruent(own, cov, rest, np.empty((q, q)))
    _congruent(slope, P, rest, np.empty((q, H)))


@njit(nogil=True, error_model="numpy")
def _through(m, E, P, delta, cov, A, Q, mean, V, u, v, z):
    """Draw delta given the state at the last of d steps, and the states before; ``mean`` and ``V`` are those integrated."""
    (d, H), q = m.shape, len(delta)
    slope, rest, L, own = np.empty((q, H)), np.empty((q, q)), np.empty((q, q)), delta.copy()
    regression(E[d - 1], P[d - 1], cov, V, slope, rest)
    _root(rest, L)
    for i in range(q):
        for j in range(H):
            own[i] += slope[i, j] * (z[d - 1, j] - mean[j])
        for j in range(i + 1):
            own[i] += L[i, j] * v[j]
    J, left, room, root, wide = np.zeros((5, H, H))
    gap, here = np.empty(H), np.empty(H)
    for t in range(d - 2, -1, -1):
        _gain(A, Q, P[t], J, left, room, root, wide)
        _root(left, root)
        for i in range(H):
            here[i] = m[t, i]
            for j in range(q):
                here[i] += E[t, i, j] * own[j]
        for i in range(H):
            gap[i] = z[t + 1, i]
            for j in range(H):
                gap[i] -= A[i, j] * here[j]
        for i in range(H):
            z[t, i] = here[i]
            for j in range(H):
                z[t, i] += J[i, j] * gap[j] + root[i, j] * u[t, j]


@njit(nogil=True, cache=True, error_model="numpy")
def draw(means, covs, place, d, m, E, P, delta, cov, A, Q, u, v, z):
    """States z (T, H) of a filtered sequence given all of it, the last one first, with normal numbers u (T, H) and v (q,).

    ``covs`` are numbered from the window's last step, d - 1, on; d is zero where nothing is diffuse.
    """
    T, H = means.shape
    L, first = np.empty((H, H)), max(d - 1, 0)
    _root(covs[place[T - 1]], L)
    for i in range(H):
        z[T - 1, i] = means[T - 1, i]
        for j in range(i + 1):
            z[T - 1, i] += L[i, j] * u[T - 1, j]
    drawn_backwards(means[first:], covs, place[first:], A, Q, u[first:], z[first:])
    if d > 1:
        _through(m[:d], E[:d], P[:d], delta, cov, A, Q, means[d - 1], covs[0], u, v, z)
