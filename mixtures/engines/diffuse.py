"""The first steps of a sequence of which directions of the first state are diffuse, of infinite variance, in compiled loops.

Until the data have determined them, moments are held as functions of what they are, z_t = m_t + E_t delta + N(0, P_t), and
every number seen is an observation of delta; then delta is integrated out (Durbin & Koopman 2012, section 5.7).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mixtures.engines.recursions import _congruent, _gain, _predicted, _root, _set, _update

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
    inverse = np.empty((q, q))
    for j in range(q):
        for i in range(q):
            inverse[i, j] = 0.0
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


@njit(nogil=True, error_model="numpy")
def _taken(y, g, m, E, P, K, room, row, root):
    """Take one number y = g^T z + N(0, 1) into the moments of z and the root of delta; its share of the log likelihood."""
    (H, q), told = E.shape, False
    for i in range(H):
        told |= g[i] != 0.0
    if not told:
        return -(y**2) / 2
    f = _update(P, g, K, room)
    row[q] = y
    for j in range(q):
        row[j] = 0.0
    for i in range(H):
        row[q] -= g[i] * m[i]
        for j in range(q):
            row[j] += g[i] * E[i, j]
    for i in range(H):
        m[i] += K[i] * row[q]
        for j in range(q):
            E[i, j] -= K[i] * row[j]
    for j in range(q + 1):
        row[j] /= np.sqrt(f)
    return -np.log(f) / 2 - _rotate(root, row) ** 2 / 2


@njit(nogil=True, cache=True, error_model="numpy")
def windows(y, G, kind, edges, A, Q, m0, P0, E0, m, E, P, delta, cov, means, V0, opened, scales):
    """Filter every sequence until its delta is determined; the number of the first in which it never is, or minus one.

    Filled are, of S sequences between ``edges`` in N rows, m (N, H), E (N, H, q) and P (N, H, H) at as many steps as it takes,
    which go to ``opened`` (S,), and delta (S, q) and cov (S, q, q), its moments given these. The last of the steps has in
    ``means`` (N, H) and V0 (S, H, H) its moments with delta integrated out, and in ``scales`` (N,) the log likelihood of them
    all under a flat density of delta, in nats.
    """
    H, q = E0.shape
    room, K, row, root = np.empty((H, H)), np.empty(H), np.empty(q + 1), np.empty((q, q + 1))
    wide = np.empty((H, q))
    for s in range(len(edges) - 1):
        log_z, opened[s] = 0.0, 0
        for i in range(q):
            for j in range(q + 1):
                root[i, j] = 0.0
        for t in range(edges[s], edges[s + 1]):
            starts = t == edges[s]
            if starts:
                _set(P[t], P0)
            else:
                _predicted(A, Q, P[t - 1], P[t], room)
            for i in range(H):
                m[t, i] = m0[i] if starts else 0.0
                for j in range(q):
                    E[t, i, j] = E0[i, j] if starts else 0.0
                for k in range(0 if starts else H):
                    m[t, i] += A[i, k] * m[t - 1, k]
                    for j in range(q):
                        E[t, i, j] += A[i, k] * E[t - 1, k, j]
            for number in range(y.shape[1]):
                log_z += _taken(y[t, number], G[kind[t], number], m[t], E[t], P[t], K, room, row, root)
            if not _told(root):
                continue
            opened[s] = t + 1 - edges[s]
            _solved(root, delta[s], cov[s])
            for j in range(q):
                log_z -= np.log(np.abs(root[j, j]))
            scales[t] = log_z + q * np.log(2 * np.pi) / 2
            _set(V0[s], P[t])
            _congruent(E[t], cov[s], V0[s], wide)
            for i in range(H):
                means[t, i] = m[t, i]
                for j in range(q):
                    means[t, i] += E[t, i, j] * delta[s, j]
            break
        if opened[s] == 0:
            return s
    return -1


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


@njit(nogil=True, error_model="numpy")
def _regression(E, P, cov, V, slope, rest):
    """Of delta on z at the window's last step: its slope (q, H), and its covariance given z (q, q).

    ``V`` is the filtered covariance of z there with delta integrated out.
    """
    H, q = E.shape
    L, B, own = np.empty((H, H)), np.empty((H, q)), np.empty((q, q))
    _root(V, L)
    for i in range(H):
        for j in range(q):
            B[i, j] = 0.0
            for n in range(q):
                B[i, j] += E[i, n] * cov[n, j]
    _solve(L, B)
    for i in range(q):
        for n in range(q):
            own[i, n], rest[i, n] = 1.0 if i == n else 0.0, 0.0
        for j in range(H):
            slope[i, j] = B[j, i]
            for n in range(q):
                own[i, n] -= B[j, i] * E[j, n]
    _congruent(own, cov, rest, np.empty((q, q)))
    _congruent(slope, P, rest, np.empty((q, H)))


@njit(nogil=True, error_model="numpy")
def _through(m, E, P, delta, cov, A, Q, mean, V, u, v, z):
    """Draw delta given the state at the last of d steps, and the states before; ``mean`` and ``V`` are those integrated."""
    (d, H), q = m.shape, len(delta)
    slope, rest, L, own = np.empty((q, H)), np.empty((q, q)), np.empty((q, q)), np.empty(q)
    _regression(E[d - 1], P[d - 1], cov, V, slope, rest)
    _root(rest, L)
    for i in range(q):
        own[i] = delta[i]
        for j in range(H):
            own[i] += slope[i, j] * (z[d - 1, j] - mean[j])
        for j in range(i + 1):
            own[i] += L[i, j] * v[j]
    J, left, room = np.empty((H, H)), np.empty((H, H)), np.empty((H, H))
    root, wide = np.empty((H, H)), np.empty((H, H))
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
def through(edges, opened, m, E, P, delta, cov, A, Q, means, V0, u, v, z):
    """States z (N, H) before the steps at which `windows` ended, which are given, with normal numbers u (N, H) and v (S, q)."""
    for s in range(len(edges) - 1):
        a, b = edges[s], edges[s] + opened[s]
        if opened[s] > 1:
            last = means[b - 1], V0[s]
            _through(m[a:b], E[a:b], P[a:b], delta[s], cov[s], A, Q, *last, u[a:b], v[s], z[a:b])
