"""The recursions of the Kalman filter and smoother in compiled loops; `mixtures.engines.kalman` has them in the plain.

Covariances are updated as sums of squares (Joseph's form), so that they stay positive semi-definite whatever is near-singular.
Where the same is seen at every step they settle: once one differs from the one before by rounding alone, it is kept, with its
gain, until something else is seen.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Relative change of a covariance, over that of its last digit, that is rounding; pivots that are zero but for rounding.
SETTLED, ZERO = 4 * np.finfo(float).eps, 1e-14


@njit(nogil=True, error_model="numpy")
def _set(out, P):
    """out = P, by a loop, which is compiled in a tenth of the time of a slice."""
    for i in range(len(P)):
        for j in range(len(P)):
            out[i, j] = P[i, j]


@njit(nogil=True, error_model="numpy")
def _close(P, old):
    """Whether two covariances differ by rounding alone."""
    H = len(P)
    for i in range(H):
        for j in range(i, H):
            gap = P[i, j] - old[i, j]
            if gap * gap > H * H * SETTLED * SETTLED * P[i, i] * P[j, j]:
                return False
    return True


@njit(nogil=True, error_model="numpy")
def _add(total, P, times):
    """total += times P."""
    H = len(P)
    for i in range(H):
        for j in range(H):
            total[i, j] += times * P[i, j]


@njit(nogil=True, error_model="numpy")
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


@njit(nogil=True, error_model="numpy")
def _predicted(A, Q, P, out, room):
    """out = A P A^T + Q, PRML 13.88."""
    _set(out, Q)
    _congruent(A, P, out, room)


@njit(nogil=True, error_model="numpy")
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


@njit(nogil=True, cache=True, error_model="numpy")
def _root(P, L):
    """L with L L^T = P, whose columns are zero where P adds nothing to those before."""
    n = len(P)
    for j in range(n):
        for i in range(n):
            L[i, j] = 0.0
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


@njit(nogil=True, error_model="numpy")
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
    for i in range(H):
        for j in range(H):
            V[i, j] = 0.0
    _congruent(wide, P, V, room)
    _congruent(J, Q, V, room)


@njit(nogil=True, cache=True, error_model="numpy")
def forward(y, G, which, edges, opened, A, Q, m0, P0, V0, means, covs, place, scales):
    """Filtered means (N, H), and covariances covs[place], of which as many as are distinct are written; the number of these.

    What is seen at step t is y_t = G_t z_t + N(0, I), with G_t = G[which[t]]; ``scales`` (N,) take log p(y_t | y_1 .. y_(t-1))
    less its constant. Sequences lie between ``edges`` (S + 1,). The first step of one has the moments m0 and P0, unless
    ``opened`` (S,) is positive: the mean of the step of that number is then given, and V0 (S, H, H) its covariance.
    """
    r, H = y.shape[1], len(A)
    m, P, room, K, f = np.empty(H), np.empty((H, H)), np.empty((H, H)), np.empty((r, H)), np.empty(r)
    slot, log_f = -1, 0.0
    for s in range(len(edges) - 1):
        begin, settled, same = edges[s], False, -1
        if opened[s]:
            begin, slot = begin + opened[s], slot + 1
            _set(covs[slot], V0[s])
            place[begin - 1] = slot
        for t in range(begin, edges[s + 1]):
            now, starts = which[t], t == edges[s]
            for i in range(H):
                m[i] = m0[i] if starts else 0.0
                for j in range(0 if starts else H):
                    m[i] += A[i, j] * means[t - 1, j]
            if not (settled and now == same):
                if starts:
                    _set(P, P0)
                else:
                    _predicted(A, Q, covs[slot], P, room)
                log_f = 0.0
                for i in range(r):
                    f[i] = _update(P, G[now, i], K[i], room)
                    log_f += np.log(f[i])
                settled = now == same and _close(P, covs[slot])
                if not settled:
                    slot += 1
                    _set(covs[slot], P)
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
            for i in range(H):
                means[t, i] = m[i]
            place[t] = slot
    return slot + 1


@njit(nogil=True, error_model="numpy")
def _held(sums, within, V, cross, steps):
    """Add what so many steps have in common."""
    _add(sums[0], V, steps)
    _add(sums[1], V, steps)
    _add(sums[2], cross, steps)
    _add(within, V, steps)


@njit(nogil=True, cache=True, error_model="numpy")
def backward(means, covs, place, edges, opened, A, Q, which, smoothed, first, within, sums, each, pairs):
    """Smoothed means (N, H), and in ``first`` (S, H, H) the covariances of the first states, or of those that are given.

    Added to: ``within`` (patterns, H, H), sums of the covariances by what was seen; ``sums`` (3, H, H), those of z_t before
    another, of z_t after another, and of cov(z_(t+1), z_t). ``each`` and ``pairs`` (N, H, H) take them step by step unless they
    are empty. While covariances have settled, steps are counted, and added as one.
    """
    H = means.shape[1]
    J, rest, room, L = np.empty((H, H)), np.empty((H, H)), np.empty((H, H)), np.empty((H, H))
    wide, old, cross, gap = np.empty((H, H)), np.empty((H, H)), np.empty((H, H)), np.empty(H)
    for s in range(len(edges) - 1):
        last, begin, V = edges[s + 1] - 1, edges[s] + max(opened[s] - 1, 0), first[s]
        slot, settled, steps = -1, False, 0
        _set(V, covs[place[last]])
        _add(within[which[last]], V, 1.0)
        for i in range(H):
            smoothed[last, i] = means[last, i]
        if each.size:
            _set(each[last], V)
        for t in range(last - 1, begin - 1, -1):
            if steps and (place[t] != slot or which[t] != which[t + 1]):
                _held(sums, within[which[t + 1]], V, cross, float(steps))
                steps = 0
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
            if settled:
                steps += 1
            else:
                _set(old, V)
                _add(sums[1], old, 1.0)
                for i in range(H):
                    for j in range(H):
                        total = 0.0
                        for k in range(H):
                            total += old[i, k] * J[j, k]
                        cross[i, j] = total  # PRML 13.104
                _set(V, rest)
                _congruent(J, old, V, room)  # PRML 13.101
                settled = _close(V, old)
                _add(sums[0], V, 1.0)
                _add(sums[2], cross, 1.0)
                _add(within[which[t]], V, 1.0)
            if each.size:
                _set(each[t], V)
                _set(pairs[t], cross)
        if steps:
            _held(sums, within[which[begin]], V, cross, float(steps))


@njit(nogil=True, cache=True, error_model="numpy")
def draw(means, covs, place, edges, opened, A, Q, u, z):
    """States z (N, H) drawn backwards with normal numbers u (N, H) (Carter & Kohn 1994); see `backward`."""
    H = means.shape[1]
    J, rest, room, L = np.empty((H, H)), np.empty((H, H)), np.empty((H, H)), np.empty((H, H))
    wide, gap = np.empty((H, H)), np.empty(H)
    for s in range(len(edges) - 1):
        last, begin, slot = edges[s + 1] - 1, edges[s] + max(opened[s] - 1, 0), -1
        _root(covs[place[last]], L)
        for i in range(H):
            z[last, i] = means[last, i]
            for j in range(i + 1):
                z[last, i] += L[i, j] * u[last, j]
        for t in range(last - 1, begin - 1, -1):
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
