r"""The one pass of a linear dynamical system: the Kalman filter and the smoother (PRML section 13.3).

    z_1 ~ N(m0, P0)    z_t = A z_(t-1) + N(0, Q)    x_t = C_t z_t + N(0, R)

    predict   m = A m,  P = A P A^T + Q                                                        PRML 13.88
    update    f = 1 + g^T P g,  K = P g / f,  m += K (y - g^T m),  P = (I - K g^T) P (I - K g^T)^T + K K^T
    smooth    J = P A^T (A P A^T + Q)^-1                                                       PRML 13.102
              m^ = m + J (m^_(t+1) - A m)                                                      PRML 13.100
              V  = (I - J A) P (I - J A)^T + J Q J^T + J V_(t+1) J^T                           PRML 13.101
              cov(z_(t+1), z_t) = V_(t+1) J^T                                                  PRML 13.104

What x_t tells of z_t is first turned to numbers y_t = G z_t + N(0, I), no more of them than there are states (Jungbacker &
Koopman 2015, *Econometrics Journal* 18:C1-C21), and these are taken in one after another (Koopman & Durbin 2000, *Journal of
Time Series Analysis* 21:281-296). Covariances are sums of squares throughout, never differences.

Some directions of z_1 may be diffuse, of infinite variance. Until the data have determined them, moments are held as functions
of what they are, z_1 = m0 + E delta + N(0, P0), and then delta is integrated out; see `mixtures.engines.window`. What goes
backwards, the smoother and draws of the states, is in `mixtures.engines.backwards`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from mixtures.engines.window import Window
from mixtures.rows.arrays import as_real
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences

LOG_2PI = float(np.log(2 * np.pi))


class System(NamedTuple):
    """A linear dynamical system, or what a pass takes of a distribution over several.

    Attributes
    ----------
    A, Q : ndarray, shape (H, H)
    C : ndarray, shape (D, H), or (N, D, H) for one that is known at every row
    R : ndarray, shape (D, D)
        Positive definite.
    m0 : ndarray, shape (H,)
    P0 : ndarray, shape (H, H)
    E : ndarray, shape (H, q)
        Diffuse directions of the first state.
    before : ndarray, shape (H, H), or None
        Precision U of a factor exp(-z^T U z / 2) at every state that has another after it.
    seen : ndarray, shape (D, H, H) or (H, H), or None
        The same at every state of which x was seen, feature by feature where R is diagonal.
    log_scale : ndarray, shape (D,) or ()
        What is added to log p(x | z) for each feature seen, or each row; in nats.
    """

    A: np.ndarray
    Q: np.ndarray
    C: np.ndarray
    R: np.ndarray
    m0: np.ndarray
    P0: np.ndarray
    E: np.ndarray
    before: np.ndarray | None = None
    seen: np.ndarray | None = None
    log_scale: np.ndarray = np.zeros(())


@dataclass(frozen=True)
class Data:
    """Sequences, whose rows are told apart by what of them was seen.

    Parameters
    ----------
    x : Sequences
        With NaN where a value is missing.
    """

    x: Sequences

    @cached_property
    def filled(self) -> np.ndarray:
        """x with zeros in place of what is missing, (N, D)."""
        return np.ascontiguousarray(np.nan_to_num(self.x.x, nan=0.0), dtype=float)

    @cached_property
    def patterns(self) -> np.ndarray:
        """What was seen, (patterns, D) of bool."""
        return self._split[0]

    @cached_property
    def which(self) -> np.ndarray:
        """The pattern of each row, (N,)."""
        return self._split[1]

    @cached_property
    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        seen = ~np.isnan(self.x.x)
        if seen.all():
            return np.ones((1, seen.shape[1]), bool), np.zeros(len(seen), np.int64)
        patterns, which = np.unique(seen, axis=0, return_inverse=True)
        return patterns, which.reshape(-1).astype(np.int64)

    @cached_property
    def rows(self) -> list[slice | np.ndarray]:
        """The rows of each pattern."""
        if len(self.patterns) == 1:
            return [slice(None)]
        return [np.flatnonzero(self.which == number) for number in range(len(self.patterns))]

    @cached_property
    def after(self) -> slice | np.ndarray:
        """The rows that have another before them."""
        if len(self.x.lengths) == 1:
            return slice(1, None)
        return np.delete(np.arange(len(self.x)), self.x.edges[:-1])

    @cached_property
    def before(self) -> slice | np.ndarray:
        """The rows that have another after them."""
        return slice(None, -1) if len(self.x.lengths) == 1 else np.flatnonzero(~self.last)

    @cached_property
    def last(self) -> np.ndarray:
        """Whether a row is the last one of its sequence, (N,) of bool."""
        last = np.zeros(len(self.x), bool)
        last[self.x.edges[1:] - 1] = True
        return last


def as_data(x: Rows) -> Data:
    """The sequences of x: one, of which one feature may come as a vector, or several as a list of matrices (T, D).

    Raises
    ------
    ValueError
        If the matrices have different numbers of features, or x holds other things than numbers.
    """
    if isinstance(x, Sequences):
        return Data(x)
    if isinstance(x, list | tuple) and len(x) and all(hasattr(part, "__array__") and np.ndim(part) == 2 for part in x):
        parts = [as_real(part) for part in x]
        if len(wide := {part.shape[1] for part in parts}) > 1:
            raise ValueError(
                f"x is a list of matrices of {' and '.join(map(str, sorted(wide)))} features; expected as many in each"
            )
        return Data(Sequences(np.concatenate(parts), [len(part) for part in parts]))
    given = as_real(x)
    return Data(Sequences(given[:, None] if given.ndim == 1 else given))


class Steps(NamedTuple):
    """What is seen of the states: y_t = G_t z_t + N(0, I).

    Attributes
    ----------
    y : ndarray, shape (N, r)
    G : ndarray, shape (kinds, r, H)
    kind : ndarray of int, shape (N,)
    constant : ndarray, shape (N,)
        What log p(x_t | z_t) has beside -|y_t - G_t z_t|^2 / 2, in nats.
    """

    y: np.ndarray
    G: np.ndarray
    kind: np.ndarray
    constant: np.ndarray


def plain(x: np.ndarray, system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One sequence without diffuse directions, as textbooks have it: the readable reference.

    Parameters
    ----------
    x : ndarray, shape (T, D)
        With NaN where a value is missing.
    system : System

    Returns
    -------
    log_z : ndarray, shape (T,)
        log p(x_t | x_1 .. x_(t-1)) in nats.
    mean, V : ndarray, shapes (T, H) and (T, H, H)
        Moments of z_t given all of x.
    pairs : ndarray, shape (T - 1, H, H)
        cov(z_(t+1), z_t) given all of x.
    """
    A, Q, T, H = system.A, system.Q, len(x), len(system.A)
    m, P, mean, V = (np.empty((T, *shape)) for shape in ((H,), (H, H), (H,), (H, H)))
    log_z, pairs = np.zeros(T), np.empty((T - 1, H, H))
    for t in range(T):
        m[t] = A @ m[t - 1] if t else system.m0
        P[t] = A @ P[t - 1] @ A.T + Q if t else system.P0  # PRML 13.88
        seen = ~np.isnan(x[t])
        C = (system.C[t] if system.C.ndim == 3 else system.C)[seen]
        S = C @ P[t] @ C.T + system.R[np.ix_(seen, seen)]
        K, e = np.linalg.solve(S, C @ P[t]).T, x[t, seen] - C @ m[t]  # PRML 13.92
        log_z[t] = -(np.linalg.slogdet(S)[1] + e @ np.linalg.solve(S, e) + seen.sum() * LOG_2PI) / 2  # PRML 13.91
        m[t], P[t] = m[t] + K @ e, P[t] - K @ C @ P[t]  # PRML 13.89, 13.90
    mean[-1], V[-1] = m[-1], P[-1]
    for t in range(T - 2, -1, -1):
        ahead = A @ P[t] @ A.T + Q
        J = np.linalg.solve(ahead, A @ P[t]).T  # PRML 13.102
        mean[t] = m[t] + J @ (mean[t + 1] - A @ m[t])  # PRML 13.100
        V[t] = P[t] + J @ (V[t + 1] - ahead) @ J.T  # PRML 13.101
        pairs[t] = V[t + 1] @ J.T  # PRML 13.104
    return log_z, mean, V, pairs


def collapse(data: Data, system: System) -> Steps:
    """Turn each row of x to numbers of unit variance, of which those that tell nothing of z go to the constant."""
    if system.C.ndim == 3:
        return _row_by_row(data, system)
    (N, D), H = data.x.shape, len(system.A)
    averaged = system.before is not None or system.seen is not None
    y, constant = np.zeros((N, H if averaged else min(H, D))), np.empty(N)
    kind = 2 * data.which + data.last if averaged else data.which
    G = np.zeros((len(data.patterns) * (1 + averaged), y.shape[1], H))
    for number, (seen, rows) in enumerate(zip(data.patterns, data.rows, strict=True)):
        x, R, C = data.filled[rows], system.R, system.C
        if not seen.all():
            x, R, C = x[:, seen], R[np.ix_(seen, seen)], C[seen]
        L = np.linalg.cholesky(R)
        W = np.linalg.solve(L, C)
        level = _log_scale(system, seen) - seen.sum() * LOG_2PI / 2 - np.log(np.diag(L)).sum()
        for last in (False, True) if averaged else (False,):
            own, turn = _triangular(W, _precision(system, seen, last) if averaged else None)
            turn = np.linalg.solve(L.T, turn)
            r = len(own)
            here = data.last[rows] == last if averaged else slice(None)
            part = np.arange(N)[rows][here] if averaged else rows
            turned = x[here] @ turn
            y[part, :r], rest = turned[:, :r], turned[:, r:]  # that of x which z has nothing to do with
            constant[part] = level
            if rest.size:
                constant[part] -= np.einsum("nd,nd->n", rest, rest) / 2
            G[2 * number + last if averaged else number, :r] = own
    return Steps(y, G, kind, constant)


def _row_by_row(data: Data, system: System) -> Steps:
    """`collapse` where C differs from row to row and is known: what was seen is whitened, and nothing more."""
    (N, D), H = data.x.shape, len(system.A)
    width = D if system.before is None else D + H
    y, G, constant = np.zeros((N, width)), np.zeros((N, width, H)), np.empty(N)
    for seen, rows in zip(data.patterns, data.rows, strict=True):
        L, o = np.linalg.cholesky(system.R[np.ix_(seen, seen)]), seen.sum()
        y[rows, :o] = solve_triangular(L, data.filled[rows][:, seen].T, lower=True).T
        G[rows, :o] = np.linalg.solve(L, system.C[rows][:, seen]) if o else 0
        constant[rows] = _log_scale(system, seen) - o * LOG_2PI / 2 - np.log(np.diag(L)).sum()
    if system.before is not None:
        G[~data.last, D:] = _root(system.before)
    return Steps(y, G, np.arange(N), constant)


def _log_scale(system: System, seen: np.ndarray) -> float:
    each = system.log_scale
    return float(each[seen].sum() if each.ndim else each * seen.any())


def _precision(system: System, seen: np.ndarray, last: bool) -> np.ndarray:
    """U of the factor exp(-z^T U z / 2) beside what was seen, (H, H)."""
    U = np.zeros_like(system.A)
    if system.before is not None and not last:
        U = U + system.before
    if system.seen is not None:
        U = U + (system.seen[seen].sum(0) if system.seen.ndim == 3 else system.seen * seen.any())
    return U


def _root(U: np.ndarray) -> np.ndarray:
    """M with M^T M = U, (H, H)."""
    values, vectors = np.linalg.eigh(U)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def _triangular(W: np.ndarray, U: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """G, and the orthogonal (o, .) by which the whitened x are turned, so that their first numbers are G z + N(0, I)."""
    if U is None and len(W) <= W.shape[1]:
        return W, np.eye(len(W))
    turn, G = np.linalg.qr(W if U is None else np.concatenate([W, _root(U)]), mode="complete")
    return G[: W.shape[1]], turn[: len(W)]


def compiled(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays as the compiled loops take them, for which each other layout would be compiled anew."""
    return tuple(a if a.flags.carray else np.array(a, dtype=float, order="C") for a in arrays)


class Track(NamedTuple):
    """All sequences, filtered.

    Attributes
    ----------
    mean : ndarray, shape (N, H)
    covs : ndarray, shape (., H, H)
        The distinct covariances.
    place : ndarray of int, shape (N,)
        Which of them each step has.
    log_z : ndarray, shape (N,)
        log p(x_t | x_1 .. x_(t-1)) in nats; of steps at which z is still diffuse zero, and their sum at the last of them.
    opened : ndarray of int, shape (S,)
        How many steps the window of each sequence has, zero where nothing is diffuse.
    window : Window or None
        Where directions are diffuse; before its last step, means and covariances are NaN.
    """

    mean: np.ndarray
    covs: np.ndarray
    place: np.ndarray
    log_z: np.ndarray
    opened: np.ndarray
    window: Window | None


def track(steps: Steps, edges: np.ndarray, system: System) -> Track:
    """Filter all sequences, which lie between ``edges`` (S + 1,).

    Raises
    ------
    ValueError
        If a sequence does not determine the diffuse directions.
    """
    from mixtures.engines import recursions

    N, H, S = len(steps.y), len(system.A), len(edges) - 1
    mean, covs, place, log_z = np.empty((N, H)), np.empty((N, H, H)), np.zeros(N, np.int64), np.zeros(N)
    opened, V0, window = np.zeros(S, np.int64), np.empty((S, H, H)), None
    A, Q, m0, P0 = compiled(system.A, system.Q, system.m0, system.P0)
    if system.E.shape[1]:
        window = _window(steps, edges, system, mean, V0, opened, log_z)
    count = recursions.forward(*steps[:3], edges, opened, A, Q, m0, P0, V0, mean, covs, place, log_z)
    covs = covs[:count]
    if opened.max() > 1:
        covs = np.concatenate([covs, np.full((1, H, H), np.nan)])
        for begin, d in zip(edges, opened, strict=False):
            mean[begin : begin + d - 1], place[begin : begin + d - 1] = np.nan, count
    return Track(mean, covs, place, log_z + steps.constant, opened, window)


def _window(
    steps: Steps,
    edges: np.ndarray,
    system: System,
    mean: np.ndarray,
    V0: np.ndarray,
    opened: np.ndarray,
    log_z: np.ndarray,
) -> Window:
    """The window of each sequence; see `mixtures.engines.diffuse.windows`."""
    from mixtures.engines import diffuse

    N, (H, q), S = len(steps.y), system.E.shape, len(edges) - 1
    window = Window(*(np.empty(shape) for shape in ((N, H), (N, H, q), (N, H, H), (S, q), (S, q, q))))
    A, Q, m0, P0, E0 = compiled(system.A, system.Q, system.m0, system.P0, system.E)
    lost = diffuse.windows(*steps[:3], edges, A, Q, m0, P0, E0, *window, mean, V0, opened, log_z)
    if lost >= 0:
        raise ValueError(
            f"{edges[lost + 1] - edges[lost]} rows do not determine the {q} diffuse directions of the first state: give more "
            "rows, or a known start"
        )
    return window


def root_of(S: np.ndarray) -> np.ndarray:
    """L with L L^T = S, positive semi-definite, (H, H)."""
    return _root(S).T


def triangle_of(S: np.ndarray) -> np.ndarray:
    """`root_of` by Cholesky's method, with zeros below pivots that are zero but for rounding."""
    from mixtures.engines import recursions

    L, (S,) = np.empty(S.shape), compiled(S)
    recursions._root(S, L)
    return L
