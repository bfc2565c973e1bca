"""The recursions of the Kalman filter and smoother in compiled loops; `mixtures.engines.kalman` has them in the plain.

Covariances are updated as sums of squares (Joseph's form), so that they stay positive semi-definite whatever is near-singular.
Where the same is seen at every step they settle: once one differs from the one before by rounding alone, it is kept, with its
gain, until something else is seen.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, njit, void
from numba.core import types

# Relative change of a covariance, over that of its last digit, that is rounding; pivots that are zero but for rounding.
SETTLED, ZERO = 4 * np.finfo(float).eps, 1e-14


@njit(nogil=True)
def _close(P, old):
    """Whether two covariances differ by rounding alone."""
    H = len(P)
    for i in range(H):
        for j in range(i, H):
            gap = P[i, j] - old[i, j]
            if gap * gap > H * H * SETTLED * SETTLED * P[i, i] * P[j, j]:
                return False
    return True


@njit(nogil=True)
def _add(total, P):
    """total += P."""
    H = len(P)
    for i in range(H):
        for j in range(H):
            total[i, j] += P[i, j]


@njit(nogil=True)
def _congruent(A, P, out, room):
    """out += A P A^T, the upper triangle computed and mirrored."""
    n, m = A.shape
    for i in range(n):
        for j in range(m):
            total = 0.0
            for k in range(m):
                total += A[i, k] * P[k, j]
            room[i, j] = total
    for i in range(n):
        for j in range(i, n):
            total = 0.0
            for k in range(m):
                total += room[i, k] * A[j, k]
            out[i, j] += total
            if j > i:
                out[j, i] = out[i, j]


@njit(nogil=True)
def _predicted(A, Q, P, out, room):
    """out = A P A^T + Q, PRML 13.88."""
    out[:] = Q
    _congruent(A, P, out, room)


@njit(nogil=True)
def _update(P, g, K, room):
    """P given one more observation g^T z + N(0, 1), in Joseph's form; its gain goes to K (H,), its variance is returned."""
    H = len(P)
    f = 1.0
    for i in range(H):
        total = 0.0
        for j in range(H):
            total += P[i, j] * g[j]
        K[i] = total
        f += total * g[i]
    for i in range(H):  # room = (I - K g^T) P
        for j in range(H):
            room[i, j] = P[i, j] - K[i] / f * K[j]
    for i in range(H):
        K[i] /= f
    for i in range(H):  # P = room (I - K g^T)^T + K K^T
        total = 0.0
        for j in range(H):
            total += room[i, j] * g[j]
        for j in range(i, H):
            P[i, j] = room[i, j] - total * K[j] + K[i] * K[j]
    for i in range(H):
        for j in range(i):
            P[i, j] = P[j, i]
    return f


@njit(nogil=True, cache=True)
def _root(P, L):
    """L with L L^T = P, whose columns are zero where P adds nothing to those before."""
    n = len(P)
    L[:] = 0.0
    for j in range(n):
        pivot = P[j, j]
        for k in range(j):
            pivot -= L[j, k] * L[j, k]
        if pivot <= ZERO * P[j, j]:
            continue
        L[j, j] = np.sqrt(pivot)
        for i in range(j + 1, n):
            total = P[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            L[i, j] = total / L[j, j]


@njit(nogil=True)
def _gain(A, Q, P, J, V, room, L, wide):
    """J = P A^T (A P A^T + Q)^-1 (PRML 13.102), and V = (I - J A) P (I - J A)^T + J Q J^T."""
    H = len(P)
    _predicted(A, Q, P, wide, room)
    _root(wide, L)
    for i in range(H):  # row i of J solves L L^T J_i = (A P)_i
        for j in range(H):
            total = 0.0
            for k in range(H):
                total += A[j, k] * P[k, i]
            for k in range(j):
                total -= L[j, k] * J[i, k]
            J[i, j] = total / L[j, j] if L[j, j] > 0 else 0.0
        for j in range(H - 1, -1, -1):
            total = J[i, j]
            for k in range(j + 1, H):
                total -= L[k, j] * J[i, k]
            J[i, j] = total / L[j, j] if L[j, j] > 0 else 0.0
    for i in range(H):
        for j in range(H):
            total = 1.0 if i == j else 0.0
            for k in range(H):
                total -= J[i, k] * A[k, j]
            wide[i, j] = total
    V[:] = 0.0
    _congruent(wide, P, V, room)
    _congruent(J, Q, V, room)


def _read(dtype, ndim):
    return types.Array(dtype, ndim, "C", readonly=True)


@njit(
    int64(
        _read(float64, 2),
        _read(float64, 3),
        _read(int64, 1),
        _read(float64, 2),
        _read(float64, 2),
        _read(float64, 1),
        _read(float64, 2),
        boolean,
        float64[:, ::1],
        float64[:, :, ::1],
        int64[::1],
        float64[::1],
    ),
    nogil=True,
    cache=True,
)
def forward(y, G, which, A, Q, m0, P0, begun, means, covs, place, scales):
    """Filtered means (T, H), and covariances covs[place], of which as many as are distinct are written; the number of these.

    What is seen at step t is y_t = G_t z_t + N(0, I), with G_t = G[which[t]]; ``scales`` (T,) take log p(y_t | y_1 .. y_(t-1))
    less its constant. The first step has the moments m0 and P0 unless it has ``begun``: its mean and covs[0] are then given.
    """
    (T, r), H = y.shape, len(A)
    m, P, room, K, f = np.empty(H), np.empty((H, H)), np.empty((H, H)), np.empty((r, H)), np.ones(r)
    slot, settled, same, first = -1, False, -1, 0
    if begun:
        slot, first = 0, 1
        place[0] = 0
    log_f = 0.0
    for t in range(first, T):
        now = which[t]
        if t == 0:
            m[:] = m0
        else:
            for i in range(H):
                total = 0.0
                for j in range(H):
                    total += A[i, j] * means[t - 1, j]
                m[i] = total
        if not (settled and now == same):
            if t == 0:
                P[:] = P0
            else:
                _predicted(A, Q, covs[slot], P, room)
            log_f = 0.0
            for i in range(r):
                f[i] = _update(P, G[now, i], K[i], room)
                log_f += np.log(f[i])
            settled = t > 0 and now == same and _close(P, covs[slot])
            if not settled:
                slot += 1
                covs[slot] = P
            same = now
        total = log_f
        for i in range(r):
            e = y[t, i]
            for j in range(H):
                e -= G[now, i, j] * m[j]
            for j in range(H):
                m[j] += K[i, j] * e
            total += e * e / f[i]
        scales[t] = -total / 2
        means[t] = m
        place[t] = slot
    return slot + 1


@njit(
    void(
        _read(float64, 2),
        _read(float64, 3),
        _read(int64, 1),
        _read(float64, 2),
        _read(float64, 2),
        _read(int64, 1),
        float64[:, ::1],
        float64[:, ::1],
        float64[:, :, ::1],
        float64[:, :, ::1],
        float64[:, :, ::1],
        float64[:, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def backward(means, covs, place, A, Q, which, smoothed, V, within, sums, each, pairs):
    """Smoothed means (T, H), of which the last is given, with its covariance V (H, H), which becomes that of the first.

    Added to: ``within`` (patterns, H, H), sums of the covariances by what was seen; ``sums`` (3, H, H), those of z_t before
    another, of z_t after another, and of cov(z_(t+1), z_t). ``each`` (T, H, H) and ``pairs`` (T - 1, H, H) take them step by
    step unless they are empty.
    """
    T, H = means.shape
    J, rest, room, L, wide, old, cross = np.zeros((7, H, H))
    gap = np.empty(H)
    slot, settled = -1, False
    for t in range(T - 1, -1, -1):
        if t < T - 1:
            if place[t] != slot:
                slot, settled = place[t], False
                _gain(A, Q, covs[slot], J, rest, room, L, wide)
            for i in range(H):
                total = smoothed[t + 1, i]
                for j in range(H):
                    total -= A[i, j] * means[t, j]
                gap[i] = total
            for i in range(H):  # PRML 13.100
                total = means[t, i]
                for j in range(H):
                    total += J[i, j] * gap[j]
                smoothed[t, i] = total
            if not settled:
                for i in range(H):
                    for j in range(H):
                        sums[1, i, j] += V[i, j]
                        total = 0.0
                        for k in range(H):
                            total += V[i, k] * J[j, k]
                        cross[i, j] = total  # PRML 13.104
                old[:] = V
                V[:] = rest
                _congruent(J, old, V, room)  # PRML 13.101
                settled = _close(V, old)
            else:
                _add(sums[1], V)
            _add(sums[0], V)
            _add(sums[2], cross)
            if pairs.size:
                pairs[t] = cross
        _add(within[which[t]], V)
        if each.size:
            each[t] = V


@njit(
    void(
        _read(float64, 2),
        _read(float64, 3),
        _read(int64, 1),
        _read(float64, 2),
        _read(float64, 2),
        _read(float64, 2),
        float64[:, ::1],
    ),
    nogil=True,
    cache=True,
)
def draw(means, covs, place, A, Q, u, z):
    """States z (T, H), of which the last is given, drawn backwards with normal numbers u (T, H) (Carter & Kohn 1994)."""
    T, H = means.shape
    J, rest, room, L, wide = np.zeros((5, H, H))
    slot, gap = -1, np.empty(H)
    for t in range(T - 2, -1, -1):
        if place[t] != slot:
            slot = place[t]
            _gain(A, Q, covs[slot], J, rest, room, L, wide)
            _root(rest, L)
        for i in range(H):
            total = z[t + 1, i]
            for j in range(H):
                total -= A[i, j] * means[t, j]
            gap[i] = total
        for i in range(H):
            total = means[t, i]
            for j in range(H):
                total += J[i, j] * gap[j] + L[i, j] * u[t, j]
            z[t, i] = total
