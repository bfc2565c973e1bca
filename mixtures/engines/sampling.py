"""States drawn given all of x, in one compiled call: forward filtering, backward sampling (Carter & Kohn 1994)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from mixtures.engines import diffuse, recursions
from mixtures.engines.triangles import cholesky, lower, orthogonal


class Seen(NamedTuple):
    """The data.

    Attributes
    ----------
    x : ndarray, shape (N, D)
        With zeros in place of what is missing.
    edges : ndarray of int, shape (S + 1,)
        Where sequences begin and end.
    patterns : ndarray of bool, shape (P, D)
        What may be seen of a row.
    which : ndarray of int, shape (N,)
        The pattern of each row.
    """

    x: np.ndarray
    edges: np.ndarray
    patterns: np.ndarray
    which: np.ndarray


@njit(nogil=True, error_model="numpy")
def whitened(R, seen, whole, L):
    """L with L L^T = R, in which features that are not seen have variance one and no correlations; whether R is definite."""
    D = len(R)
    for i in range(D):
        for j in range(D):
            whole[i, j] = R[i, j] if seen[i] and seen[j] else (1.0 if i == j else 0.0)
    return cholesky(whole, L)


@njit(nogil=True, error_model="numpy")
def collapsed(seen, C, loadings, R, y, G, kind):
    """What is seen of the states, y_t = G_t z_t + N(0, I), for the draws alone; see `mixtures.engines.kalman.collapse`."""
    (N, D), (_, r, H) = seen.x.shape, G.shape
    whole, L, turn, W = np.empty((D, D)), np.empty((D, D)), np.empty((D, D)), np.empty((H, D))
    for p in range(len(seen.patterns)):
        if not whitened(R, seen.patterns[p], whole, L):
            return False
        for h in range(H):
            for d in range(D):
                W[h, d] = C[d, h] if seen.patterns[p, d] and not loadings.size else 0.0
        lower(L, W)
        for j in range(D):  # rows of L^-T
            for d in range(D):
                turn[j, d] = 1.0 if j == d else 0.0
        lower(L, turn)
        if r < D:
            orthogonal(W, G[p])
        elif not loadings.size:
            for d in range(D):
                for h in range(H):
                    G[p, d, h] = W[h, d]
        for n in range(N):
            if seen.which[n] != p:
                continue
            for j in range(r):
                y[n, j] = 0.0
            for i in range(D):
                e = 0.0
                for d in range(i + 1):
                    e += turn[d, i] * seen.x[n, d]
                if r < D:
                    for j in range(r):
                        y[n, j] += W[j, i] * e
                else:
                    y[n, i] = e
            kind[n] = p
            if loadings.size:
                kind[n] = n
                for h in range(H):
                    for d in range(D):
                        W[h, d] = loadings[n, d, h] if seen.patterns[p, d] else 0.0
                lower(L, W)
                for d in range(D):
                    for h in range(H):
                        G[n, d, h] = W[h, d]
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def states(seen, C, loadings, R, A, Q, m0, P0, E0, u, v, z):
    """Draw z (N, H) with normal numbers u (N, H) and v (S, q); whether everything was definite and delta determined."""
    (N, D), (H, q) = seen.x.shape, E0.shape
    r, kinds = (D, N) if loadings.size else (min(D, H), len(seen.patterns))
    y, G, kind = np.empty((N, r)), np.empty((kinds, r, H)), np.empty(N, np.int64)
    if not collapsed(seen, C, loadings, R, y, G, kind):
        return False
    mean, covs, place, scales = np.empty((N, H)), np.empty((N, H, H)), np.empty(N, np.int64), np.empty(N)
    span = N if q else 0
    m, E, P, delta, cov = (
        np.empty((span, H)),
        np.empty((span, H, q)),
        np.empty((span, H, H)),
        np.empty(q),
        np.empty((q, q)),
    )
    for s in range(len(seen.edges) - 1):
        a, b, d = seen.edges[s], seen.edges[s + 1], 0
        if q:
            d, _ = diffuse.window(y[a:b], G, kind[a:b], A, Q, m0, P0, E0, m, E, P, delta, cov)
            if d == 0:
                return False
            diffuse.integrated(m[d - 1], E[d - 1], P[d - 1], delta, cov, mean[a + d - 1], covs[0])
        f = a + max(d - 1, 0)
        recursions.forward(y[f:b], G, kind[f:b], A, Q, m0, P0, q > 0, mean[f:b], covs, place[f:b], scales[f:b])
        diffuse.draw(mean[a:b], covs, place[a:b], d, m, E, P, delta, cov, A, Q, u[a:b], v[s], z[a:b])
    return True
