"""States drawn given all of x again and again: forward filtering, backward sampling (Carter & Kohn 1994)."""

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


@njit(nogil=True, cache=True, error_model="numpy")
def collapsed(seen, C, loadings, R, y, G, kind):
    """What is seen of the states, y_t = G_t z_t + N(0, I); see `mixtures.engines.kalman.collapse`.

    Returned is what log p(x | z) has beside the densities of y and powers of 2 pi, in nats; NaN where R is not definite.
    """
    (N, D), (_, r, H), rest = seen.x.shape, G.shape, 0.0
    whole, L, turn, W = np.empty((D, D)), np.empty((D, D)), np.empty((D, D)), np.empty((H, D))
    for p in range(len(seen.patterns)):
        if not whitened(R, seen.patterns[p], whole, L):
            return np.nan
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
                rest -= np.log(L[i, i])
                if r < D:
                    rest -= e * e / 2
                    for j in range(r):
                        y[n, j] += W[j, i] * e
                else:
                    y[n, i] = e
            for j in range(r if r < D else 0):
                rest += y[n, j] * y[n, j] / 2
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
    return rest


class Room(NamedTuple):
    """Where a filter reads and writes, again and again.

    Attributes
    ----------
    seen : Seen
    loadings : ndarray, shape (N, D, H) or (0, D, H)
    E0 : ndarray, shape (H, q)
    steps, window, filtered : tuple of ndarray
        Of `collapsed`, `mixtures.engines.diffuse.windows` and `mixtures.engines.recursions.forward`.
    V0, opened, scales : ndarray, shapes (S, H, H), (S,) and (N,)
    """

    seen: Seen
    loadings: np.ndarray
    E0: np.ndarray
    steps: tuple[np.ndarray, np.ndarray, np.ndarray]
    window: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    filtered: tuple[np.ndarray, np.ndarray, np.ndarray]
    V0: np.ndarray
    opened: np.ndarray
    scales: np.ndarray


@njit(nogil=True, error_model="numpy")
def log_p(room, C, R, A, Q, m0, P0):
    """log p(x) in nats, less powers of 2 pi; NaN where R is not definite, or diffuse directions are not determined."""
    edges, opened, scales = room.seen.edges, room.opened, room.scales
    total = collapsed(room.seen, C, room.loadings, R, *room.steps)
    if np.isnan(total):
        return np.nan
    if room.E0.shape[1]:
        last = room.filtered[0], room.V0, opened, scales
        if diffuse.windows(*room.steps, edges, A, Q, m0, P0, room.E0, *room.window, *last) >= 0:  # type: ignore[call-arg]
            return np.nan
    recursions.forward(*room.steps, edges, opened, A, Q, m0, P0, room.V0, *room.filtered, scales)  # type: ignore[call-arg]
    for s in range(len(opened)):
        for t in range(edges[s] + max(opened[s] - 1, 0), edges[s + 1]):
            total += scales[t]
    return total


class States:
    """Draws of the states of all sequences, one after another in the same memory.

    Parameters
    ----------
    seen : Seen
    loadings : ndarray, shape (N, D, H) or (0, D, H)
        An emission that is known at every row.
    E0 : ndarray, shape (H, q)
        Diffuse directions of the first states.
    """

    def __init__(self, seen: Seen, loadings: np.ndarray, E0: np.ndarray) -> None:
        (N, D), (H, q), S = seen.x.shape, E0.shape, len(seen.edges) - 1
        r, kinds = (D, N) if loadings.size else (min(D, H), len(seen.patterns))
        self.seen, self.loadings, self.E0 = seen, loadings, E0
        self.steps = np.empty((N, r)), np.empty((kinds, r, H)), np.empty(N, np.int64)
        self.mean, self.covs, self.place = np.empty((N, H)), np.empty((N, H, H)), np.empty(N, np.int64)
        self.scales, self.opened, self.V0 = np.empty(N), np.zeros(S, np.int64), np.empty((S, H, H))
        rows = N if q else 0
        self.window = np.empty((rows, H)), np.empty((rows, H, q)), np.empty((rows, H, H)), *_deltas(S, q)
        filtered = self.mean, self.covs, self.place
        self.room = Room(seen, loadings, E0, self.steps, self.window, filtered, self.V0, self.opened, self.scales)

    def draw(
        self,
        C: np.ndarray,
        R: np.ndarray,
        A: np.ndarray,
        Q: np.ndarray,
        m0: np.ndarray,
        P0: np.ndarray,
        u: np.ndarray,
        v: np.ndarray,
        z: np.ndarray,
    ) -> bool:
        """Draw z (N, H) with normal numbers u (N, H) and v (S, q); whether everything was definite and delta determined."""
        seen, edges, place = self.seen, self.seen.edges, (self.mean, self.covs, self.place)
        if np.isnan(collapsed(seen, C, self.loadings, R, *self.steps)):
            return False
        if self.window[0].size:
            last = self.mean, self.V0, self.opened, self.scales
            if diffuse.windows(*self.steps, edges, A, Q, m0, P0, self.E0, *self.window, *last) >= 0:
                return False
        recursions.forward(*self.steps, edges, self.opened, A, Q, m0, P0, self.V0, *place, self.scales)
        recursions.draw(*place, edges, self.opened, A, Q, u, z)
        if self.opened.max() > 1:
            diffuse.through(edges, self.opened, *self.window, A, Q, self.mean, self.V0, u, v, z)
        return True


def _deltas(S: int, q: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for the moments of delta of every sequence."""
    return np.empty((S, q)), np.empty((S, q, q))
