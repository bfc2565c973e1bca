"""What a sweep of the Gibbs sampler draws given the states, in compiled loops; see `mixtures.dynamics.compiled`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from mixtures.engines.recursions import _root
from mixtures.engines.sampling import log_p, whitened
from mixtures.engines.triangles import cholesky, lower, upper

LOG_2PI = float(np.log(2 * np.pi))


class Part(NamedTuple):
    """A regression of D' noisy features on U regressors (`mixtures.dynamics.regression`) as arrays.

    Attributes
    ----------
    joint, common, settled : bool
        Whether noises are correlated, whether they have one variance, and whether nothing is free.
    noisy : ndarray of int, shape (D',)
    known : ndarray, shape (D, U)
    free : ndarray of bool, shape (D', U)
    noise : ndarray, shape (D', D')
        NaN where it is free.
    n, yy, yu, uu : ndarray, shapes (D',), (D', D'), (D', U) and (D', U, U)
        The prior as moments; of correlated noises ``uu`` has its first entry alone.
    """

    joint: bool
    common: bool
    settled: bool
    noisy: np.ndarray
    known: np.ndarray
    free: np.ndarray
    noise: np.ndarray
    n: np.ndarray
    yy: np.ndarray
    yu: np.ndarray
    uu: np.ndarray


@njit(nogil=True, cache=True, error_model="numpy")
def complete(seen, C, loadings, R, z, x, v):
    """Draw what is missing of rows whose noises are correlated, with normal numbers v, a row for each of these in turn of their
    patterns; whether R is definite. See `mixtures.dynamics.passes.complete`.
    """
    (N, D), H = seen.x.shape, z.shape[1]
    L, whole, fill, noise = np.empty((D, D)), np.empty((D, D)), np.empty((D, D)), np.empty((D, D))
    e, row = np.empty(D), 0
    for p in range(len(seen.patterns)):
        own, gaps = seen.patterns[p], False
        for d in range(D):
            gaps |= not own[d]
        if not gaps:
            continue
        if not whitened(R, own, whole, L):
            return False
        for d in range(D):
            for f in range(D):
                fill[d, f] = R[f, d] if own[f] and not own[d] else 0.0
        lower(L, fill)
        upper(L, fill)
        for d in range(D):
            for f in range(D):
                noise[d, f] = 0.0 if own[d] or own[f] else R[d, f]
                for i in range(D):
                    noise[d, f] -= 0.0 if own[d] or own[f] else fill[d, i] * R[i, f]
        _root(noise, L)
        for n in range(N):
            if seen.which[n] != p:
                continue
            for d in range(D):
                e[d] = 0.0
                for h in range(H):
                    e[d] += (loadings[n, d, h] if loadings.size else C[d, h]) * z[n, h]
            for d in range(D):
                if not own[d]:
                    x[n, d] = e[d]
                    for i in range(D):
                        x[n, d] += fill[d, i] * (seen.x[n, i] - e[i]) + L[d, i] * v[row, i]
            row += 1
    return True


@njit(nogil=True, error_model="numpy")
def _empty(n, yy, yu, uu):
    """Set moments to zero."""
    D, U = yu.shape
    for d in range(D):
        n[d] = 0.0
        for f in range(D):
            yy[d, f] = 0.0
        for j in range(U):
            yu[d, j] = 0.0
            for k in range(U):
                uu[d, j, k] = 0.0


@njit(nogil=True, error_model="numpy")
def _take(part, e, u, row, n, yy, yu, uu):
    """Add one row to the moments, with residuals e (D',) and regressors u (., U), of which ``row`` counts."""
    D, U = yu.shape
    for i in range(D):
        n[i] += 1
        for j in range(D):
            if part.joint or i == j:
                yy[i, j] += e[i] * e[j]
        for k in range(U):
            yu[i, k] += e[i] * u[row, k]
    for k in range(U):
        for j in range(U):
            uu[0, k, j] += u[row, k] * u[row, j]


@njit(nogil=True, error_model="numpy")
def _spread(part, uu):
    """Give every feature with a noise of its own the second moments of the regressors."""
    if not part.joint:
        for i in range(1, len(uu)):
            for j in range(uu.shape[1]):
                for k in range(uu.shape[1]):
                    uu[i, j, k] = uu[0, j, k]


@njit(nogil=True, cache=True, error_model="numpy")
def moved(part, edges, z, n, yy, yu, uu):
    """Moments of z_t - (known A) z_(t-1), and of z_(t-1)."""
    D, U = yu.shape
    _empty(n, yy, yu, uu)
    e = np.empty(D)
    for s in range(len(edges) - 1):
        for t in range(edges[s] + 1, edges[s + 1]):
            for i in range(D):
                e[i] = z[t, part.noisy[i]]
                for j in range(U):
                    e[i] -= part.known[part.noisy[i], j] * z[t - 1, j]
            _take(part, e, z, t - 1, n, yy, yu, uu)
    _spread(part, uu)


@njit(nogil=True, cache=True, error_model="numpy")
def begun(part, edges, z, n, yy, yu, uu):
    """Moments of z_1 - (known m0)."""
    D = len(part.noisy)
    e, u = np.empty(D), np.empty((1, 1))
    u[0, 0] = 1.0
    _empty(n, yy, yu, uu)
    for s in range(len(edges) - 1):
        for i in range(D):
            e[i] = z[edges[s], part.noisy[i]] - part.known[part.noisy[i], 0]
        _take(part, e, u, 0, n, yy, yu, uu)
    _spread(part, uu)


@njit(nogil=True, cache=True, error_model="numpy")
def observed(part, seen, x, loadings, z, n, yy, yu, uu):
    """Moments of x_t - (known C) z_t and of z_t, of features with noises of their own over the rows in which they were seen."""
    (N, D), H, U = x.shape, z.shape[1], yu.shape[1]
    e, zz = np.empty(D), np.empty((len(seen.patterns), U, U))
    _empty(n, yy, yu, uu)
    for p in range(len(zz)):
        for h in range(U):
            for k in range(U):
                zz[p, h, k] = 0.0
    for t in range(N):
        p = seen.which[t]
        for d in range(D):
            e[d] = x[t, d]
            for h in range(H):
                e[d] -= (loadings[t, d, h] if loadings.size else part.known[d, h]) * z[t, h]
        if part.joint:
            _take(part, e, z, t, n, yy, yu, uu)
            continue
        for d in range(D):
            if seen.patterns[p, d]:
                n[d] += 1
                yy[d, d] += e[d] * e[d]
                for h in range(U):
                    yu[d, h] += e[d] * z[t, h]
        for h in range(U):
            for k in range(U):
                zz[p, h, k] += z[t, h] * z[t, k]
    for p in range(0 if part.joint else len(zz)):
        for d in range(D):
            if seen.patterns[p, d]:
                for h in range(U):
                    for k in range(U):
                        uu[d, h, k] += zz[p, h, k]


@njit(nogil=True, error_model="numpy")
def _add_prior(part, n, yy, yu, uu):
    """Moments of the posterior in the place of those of the data."""
    D, U = yu.shape
    for d in range(D):
        n[d] += part.n[d]
        for f in range(D):
            yy[d, f] += part.yy[d, f]
        for j in range(U):
            yu[d, j] += part.yu[d, j]
            for k in range(U):
                uu[d, j, k] += part.uu[d, j, k]


@njit(nogil=True, error_model="numpy")
def _solved(part, d, uu, yu, K, L, b):
    """L with L L^T = K, K of feature d with rows and columns of known coefficients those of the identity, and b = K^-1 (yu)."""
    U = len(K)
    for j in range(U):
        for k in range(U):
            K[j, k] = uu[d, j, k] if part.free[d, j] and part.free[d, k] else (1.0 if j == k else 0.0)
    if not cholesky(K, L):
        return False
    for i in range(len(b)):
        for j in range(U):
            b[i, j] = yu[d + i, j] if part.free[d + i, j] else 0.0
    lower(L, b)
    upper(L, b)
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def rows(part, spread, u, B, Sigma, n, yy, yu, uu):
    """Draw B (D, U) and Sigma (D, D) of noises of their own given moments; see `mixtures.dynamics.rows.Rows.sample`.

    The moments are those of the data, and become those of the posterior. ``spread`` has the gamma numbers of the precisions on
    its diagonal, and normal numbers u (D', U) serve for B. Returned is whether the posterior is proper.
    """
    D, U = yu.shape
    K, L, b, S, precision = np.empty((U, U)), np.empty((D, U, U)), np.empty((D, U)), np.empty(D), np.empty(D)
    _add_prior(part, n, yy, yu, uu)
    for d in range(D):
        if not _solved(part, d, uu, yu, K, L[d], b[d : d + 1]):
            return False
        S[d] = yy[d, d]
        for j in range(U):
            S[d] -= b[d, j] * yu[d, j] if part.free[d, j] else 0.0
    for d in range(1, D if part.common else 0):
        S[0] += S[d]
    for d in range(D):
        own = 0 if part.common else d
        precision[d] = spread[own, own] / (S[own] / 2) if np.isnan(part.noise[d, d]) else 1 / part.noise[d, d]
        if not (precision[d] > 0 and precision[d] < np.inf):
            return False
    for d in range(D):
        upper(L[d], u[d : d + 1])
        i = part.noisy[d]
        for j in range(U):
            if part.free[d, j]:
                B[i, j] = part.known[i, j] + b[d, j] + u[d, j] / np.sqrt(precision[d])
        Sigma[i, i] = 1 / precision[d]
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def joint(part, spread, u, B, Sigma, n, yy, yu, uu):
    """Draw B and Sigma of correlated noises given moments; see `rows` and `mixtures.dynamics.joint.Joint.sample`.

    ``spread`` (D', D') is T of T T^T ~ Wishart(I, n), lower triangular.
    """
    D, U = yu.shape
    K, L, b, root, S = np.empty((U, U)), np.empty((U, U)), np.empty((D, U)), np.empty((D, D)), np.empty((D, D))
    _add_prior(part, n, yy, yu, uu)
    if not _solved(part, 0, uu, yu, K, L, b):
        return False
    free = np.isnan(part.noise[0, 0])
    for d in range(D):
        for f in range(D):
            S[d, f] = yy[d, f] if free else part.noise[d, f]
            for j in range(U):
                S[d, f] -= (b[d, j] * yu[f, j] + b[f, j] * yu[d, j]) / 2 if free and part.free[d, j] else 0.0
    if not cholesky(S, root):
        return False
    if free:
        lower(spread, root)  # root = chol(S) T^-T, T T^T ~ Wishart(I, n) (Bartlett 1933)
    upper(L, u)
    for d in range(D):
        i = part.noisy[d]
        for j in range(U):
            if part.free[d, j]:
                B[i, j] = part.known[i, j] + b[d, j]
                for f in range(D):
                    B[i, j] += root[d, f] * u[f, j]
        for f in range(D):
            Sigma[i, part.noisy[f]] = 0.0
            for k in range(D):
                Sigma[i, part.noisy[f]] += root[d, k] * root[f, k]
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def log_density(part, B, Sigma, n, yy, yu, uu):
    """Log likelihood of B and Sigma in nats, from the moments of the data."""
    D, U = yu.shape
    S, L, own, b = np.empty((D, D)), np.empty((D, D)), np.empty((D, D)), np.empty((D, U))
    for d in range(D):
        for j in range(U):
            b[d, j] = B[part.noisy[d], j] - part.known[part.noisy[d], j]
        for f in range(D):
            S[d, f], own[d, f] = 0.0, Sigma[part.noisy[d], part.noisy[f]]
    if not cholesky(own, L):
        return -np.inf
    for d in range(D):
        for f in range(D):
            if d != f and not part.joint:
                continue
            S[d, f] = yy[d, f]
            for j in range(U):
                S[d, f] -= b[d, j] * yu[f, j] + b[f, j] * yu[d, j]
                for k in range(U):
                    S[d, f] += b[d, j] * uu[0 if part.joint else d, j, k] * b[f, k]
    lower(L, S)
    upper(L, S)
    total = 0.0
    for d in range(D):
        total -= n[d] * (LOG_2PI / 2 + np.log(L[d, d])) + S[d, d] / 2
    return total


@njit(nogil=True, error_model="numpy")
def _times(a, b, out):
    """The product of two matrices."""
    for i in range(len(a)):
        for j in range(b.shape[1]):
            out[i, j] = 0.0
            for k in range(len(b)):
                out[i, j] += a[i, k] * b[k, j]


@njit(nogil=True, error_model="numpy")
def _symmetric(a, b, out):
    """out = a b^T of square matrices, where that is symmetric: to the last digit."""
    for i in range(len(out)):
        for j in range(i + 1):
            out[i, j] = 0.0
            for k in range(len(out)):
                out[i, j] += a[i, k] * b[j, k]
            out[j, i] = out[i, j]


@njit(nogil=True, error_model="numpy")
def _around(T, S, half, out):
    """T S T^T, which is symmetric to the last digit."""
    _times(T, S, half)
    _symmetric(half, T, out)


@njit(nogil=True, error_model="numpy")
def _copied(a, out):
    """out = a, of matrices."""
    for i in range(len(a)):
        for j in range(a.shape[1]):
            out[i, j] = a[i, j]


@njit(nogil=True, error_model="numpy")
def _along(G, a, T):
    """T (H, H), in most cases exp(a G), and log|det T|; see `mixtures.dynamics.generalised.along`."""
    trace, turn = 0.0, False
    for i in range(len(G)):
        trace += G[i, i]
        for j in range(len(G)):
            turn |= G[i, j] < 0
    mirror = trace < 0
    first = (2.0 if a != 0 else 0.0) if mirror else np.exp(a) - 1 if trace > 0 else np.sin(a) if turn else a
    for i in range(len(G)):
        for j in range(len(G)):
            T[i, j] = (1.0 if i == j else 0.0) + first * G[i, j]
            for k in range(len(G) if turn and not mirror else 0):
                T[i, j] += (1 - np.cos(a)) * G[i, k] * G[k, j]
    return 0.0 if mirror else a * trace


@njit(nogil=True, error_model="numpy")
def _log_prior(part, B, Sigma):
    """Log prior density of B and Sigma^-1, less a power of |Sigma|."""
    return log_density(part, B, Sigma, part.n, part.yy, part.yu, part.uu)


@njit(nogil=True, cache=True, error_model="numpy")
def move(moves, observes, begins, generators, tied, sizes, log_u, edges, z, A, Q, C, R, m0, P0):
    """Propose other coordinates of the states along each generator in turn; see `mixtures.dynamics.generalised.step`.

    The parameters are changed in their places; m0 has a second axis. Returned is the gain of log p(x, z | theta).
    """
    (D, H), S, gain, prior, start = C.shape, len(edges) - 1, 0.0, -np.inf, 0.0
    T, back, half = np.empty((H, H)), np.empty((H, H)), np.empty((H, H))
    A_, Q_, C_, m0_, P0_ = np.empty((H, H)), np.empty((H, H)), np.empty((D, H)), np.empty((H, 1)), np.empty((H, H))
    first, first_, F = np.empty((H, H)), np.empty((H, H)), len(begins.noisy)
    n, yu, uu = np.empty(F), np.empty((F, 1)), np.empty((F, 1, 1))
    for i in range(F):  # moments of z_1 under a known start
        n[i], yu[i, 0], uu[i, 0, 0] = S, 0.0, S
    for i in range(H):
        for j in range(H):
            first[i, j] = 0.0
            for s in range(S):
                first[i, j] += z[edges[s], i] * z[edges[s], j]
    for own in range(-1, len(generators)):  # at first what there is
        a = sizes[own] if own >= 0 else 0.0
        grown = _along(generators[own], a, T)
        _along(generators[own], -a, back)
        _times(T, A, half)
        _times(half, back, A_)
        _times(C, back, C_)
        _around(T, Q, half, Q_)
        there, begun, volume = _log_prior(moves, A_, Q_) + _log_prior(observes, C_, R), 0.0, -(H + D) * grown
        if tied:
            _around(T, first, half, first_)
            begun = log_density(begins, m0, P0, n, first_, yu, uu)
            there, volume = there + begun, volume + S * grown
        else:
            _times(T, m0, m0_)
            _around(T, P0, half, P0_)
            there += _log_prior(begins, m0_, P0_)
        if own < 0 or log_u[own] < there - prior + volume:
            gain += 0.0 if own < 0 else begun - start + ((S if tied else 0) - edges[-1]) * grown
            prior, start = there, begun
            _copied(A_, A)
            _copied(Q_, Q)
            _copied(C_, C)
            _copied(first_ if tied else first, first)
            _copied(m0 if tied else m0_, m0)
            _copied(P0 if tied else P0_, P0)
    return gain


class Places(NamedTuple):
    """Where the coordinates of a walk stand, and their volume; see `mixtures.dynamics.walk.Walk`."""

    A: np.ndarray
    Q: np.ndarray
    R: np.ndarray
    volume: np.ndarray


@njit(nogil=True, error_model="numpy")
def _noise(part, places, phi, back, half, root, out):
    """Write the covariance whose root, times ``back``, has phi in its places."""
    for i, j, own in places:
        root[i, j] = np.exp(phi[own]) if i == j else phi[own]
        if not part.joint:
            out[i, i] = (back[i, i] * root[i, i]) ** 2
    if part.joint and len(places):
        _times(back, root, half)
        _symmetric(half, half, out)


@njit(nogil=True, error_model="numpy")
def height(moves, observes, room, places, frame, roots, halves, phi, C, m0, P0, A, Q, R):
    """Log density of phi given x, C, T, m0 and P0, but for a constant; A, Q and R are written where they are free.

    ``frame`` has T, T^-1, the identity (D, D) and A' (H, H), ``roots`` those of Q' and R, in which phi takes its places, and
    ``halves`` room for matrices of their shapes.
    """
    T, back, same, turned = frame
    for i, j, own in places.A:
        turned[i, j] = phi[own]
    if len(places.A):
        _times(back, turned, halves[0])
        _times(halves[0], T, A)
    _noise(moves, places.Q, phi, back, halves[0], roots[0], Q)
    _noise(observes, places.R, phi, same, halves[1], roots[1], R)
    total = log_p(room, C, R, A, Q, m0, P0) + _log_prior(moves, A, Q) + _log_prior(observes, C, R)
    for own in range(len(phi)):
        total -= places.volume[own] * phi[own]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def walk(moves, observes, room, places, frame, roots, halves, path, log_u, C, m0, P0, A, Q, R):
    """Take or leave steps of a random walk, which are given in ``path`` (n + 1, d) after where it begins; the number taken.

    ``path`` becomes where the walk was, and A, Q and R where it ends; see `height`.
    """
    A_, Q_, R_, d, here, taken = A.copy(), Q.copy(), R.copy(), path.shape[1], -np.inf, -1
    for n in range(len(path)):  # at first what there is
        for own in range(d if n else 0):
            path[n, own] += path[n - 1, own]
        there = height(moves, observes, room, places, frame, roots, halves, path[n], C, m0, P0, A_, Q_, R_)
        if n == 0 or log_u[n - 1] < there - here:
            here, taken = there, taken + 1
            _copied(A_, A)
            _copied(Q_, Q)
            _copied(R_, R)
        else:
            for own in range(d):
                path[n, own] = path[n - 1, own]
    return taken
