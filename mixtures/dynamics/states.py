"""States under given parameters: filtered, smoothed, forecast, drawn, and the innovations.

Every function of x takes one sequence as an array (T, D), or several as `mixtures.rows.sequences.Sequences`, with NaN where a
value is missing, and parameters by the names of `mixtures.dynamics.model`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixtures.checks import check_count, check_whole
from mixtures.dynamics.checks import check_theta, finite
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.stationary import covariance
from mixtures.engines import backwards, kalman
from mixtures.engines.kalman import Data, System, as_data
from mixtures.rows.reading import Rows

STARTS = ("known", "free", "diffuse", "stationary")

Start = str | np.ndarray


class Filtered(NamedTuple):
    """Moments given the past.

    Attributes
    ----------
    log_z : ndarray, shape (N,)
        log p(x_t | x_1 .. x_(t-1)) in nats. While the state is diffuse it is zero, and at the last such step the log
        likelihood of them all under a flat density of the diffuse directions: without the constant of `diffuse_constant`.
    mean, covariance : ndarray, shapes (N, H) and (N, H, H)
        Of z_t given x_1 .. x_t; NaN while it is diffuse.
    predicted, spread : ndarray, shapes (N, D) and (N, D, D)
        Mean and covariance of x_t given x_1 .. x_(t-1); NaN while it is diffuse.
    """

    log_z: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    predicted: np.ndarray
    spread: np.ndarray


class States(NamedTuple):
    """Moments given all of x.

    Attributes
    ----------
    log_z : ndarray, shape (N,)
        As in `Filtered`.
    mean, covariance : ndarray, shapes (N, H) and (N, H, H)
        Of z_t.
    pairs : ndarray, shape (N, H, H)
        cov(z_(t+1), z_t); zero at the last row of a sequence.
    signal, spread : ndarray, shapes (N, D) and (N, D, D)
        Mean and covariance of C z_t.
    """

    log_z: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    pairs: np.ndarray
    signal: np.ndarray
    spread: np.ndarray


def system(theta: Theta, start: Start = "known") -> System:
    """The system with these parameters.

    Parameters
    ----------
    theta : dict of ndarray
    start : {"known", "free", "diffuse", "stationary"}, or ndarray of bool, shape (H,)
        z_1 ~ N(m0, P0) of theta for the first two; an infinite variance for the third; the distribution that the transition
        leaves as it is, with mean zero, for the fourth. An array says which states are diffuse.

    Raises
    ------
    ValueError
        If the start is none of these, or stationary where the transition has no stationary distribution, or the parameters do
        not fit together.
    """
    check_theta(theta)
    A, Q = theta["transition"], theta["state_covariance"]
    H = len(A)
    diffuse = np.zeros(H, bool)
    m0, P0 = theta.get("initial_mean", np.zeros(H)), theta.get("initial_covariance", np.zeros((H, H)))
    if not isinstance(start, str):
        diffuse = np.broadcast_to(np.asarray(start, dtype=bool), H)
    elif start not in STARTS:
        raise ValueError(f"start is {start!r}; expected {', '.join(STARTS)}, or which states are diffuse")
    elif start == "diffuse":
        diffuse = np.ones(H, bool)
    elif start == "stationary":
        m0, P0 = np.zeros(H), covariance(A, Q)
    m0, P0 = np.where(diffuse, 0, m0), np.where(diffuse[:, None] | diffuse, 0, P0)
    return System(A, Q, theta["emission"], theta["observation_covariance"], m0, P0, np.eye(H)[:, diffuse])


def _posed(x: Rows, theta: Theta, start: Start) -> tuple[Data, System]:
    """The sequences, and the system that they are seen through."""
    data, own = finite(x), system(theta, start)
    D = own.C.shape[-2]
    if data.x.shape[1] != D:
        raise ValueError(f"x has {data.x.shape[1]} features; the emission has {D}")
    if own.C.ndim == 3 and len(own.C) != len(data.x):
        raise ValueError(f"emission is known at {len(own.C)} rows; x has {len(data.x)}")
    return data, own


def start_of(model: LinearDynamics) -> Start:
    """The start of a model, as `system` takes it."""
    return model.diffuse


def diffuse_constant(x: Rows, start: Start, H: int) -> float:
    """What is added to the sum of log_z where each diffuse direction counts log(2 pi) / 2 as any value does, in nats."""
    directions = H * (start == "diffuse") if isinstance(start, str) else int(np.sum(start))
    return -directions * len(as_data(x).x.lengths) * kalman.LOG_2PI / 2


def filter_(x: Rows, theta: Theta, start: Start = "known") -> Filtered:
    """Moments of states and rows given what came before."""
    data, own = _posed(x, theta, start)
    part, H = kalman.track(kalman.collapse(data, own), data.x.edges, own), len(own.A)
    mean, covariance = part.mean, part.covs[part.place]
    ahead, P = np.full_like(mean, np.nan), np.full((len(mean), H, H), np.nan)
    ahead[1:], P[1:] = mean[:-1] @ own.A.T, own.A @ covariance[:-1] @ own.A.T + own.Q
    first = data.x.edges[:-1]
    diffuse = own.E.shape[1] > 0
    ahead[first], P[first] = (np.nan, np.nan) if diffuse else (own.m0, own.P0)
    predicted = (own.C @ ahead[:, :, None])[..., 0]
    spread = own.C @ P @ own.C.swapaxes(-1, -2) + own.R
    return Filtered(part.log_z, mean, covariance, predicted, spread)


def smooth(x: Rows, theta: Theta, start: Start = "known") -> States:
    """Moments of states given all rows."""
    data, own = _posed(x, theta, start)
    found = backwards.smooth(data, own, each=True)
    signal = (own.C @ found.mean[:, :, None])[..., 0]
    return States(found.log_z, found.mean, found.V, found.pairs, signal, own.C @ found.V @ own.C.swapaxes(-1, -2))


def log_steps(x: Rows, theta: Theta, start: Start = "known") -> np.ndarray:
    """log p(x_t | x_1 .. x_(t-1), theta) of each row in nats, (N,); of a diffuse start see `Filtered`."""
    data, own = _posed(x, theta, start)
    return kalman.track(kalman.collapse(data, own), data.x.edges, own).log_z


def log_likelihood(x: Rows, theta: Theta, start: Start = "known") -> np.ndarray:
    """log p(sequence | theta) of each sequence in nats, (S,); of a diffuse start see `Filtered`."""
    data = as_data(x)
    return np.add.reduceat(log_steps(data.x, theta, start), data.x.edges[:-1])


def innovations(x: Rows, theta: Theta, start: Start = "known") -> np.ndarray:
    """Standardised one-step-ahead errors (N, D): L^-1 (x_t - E x_t), L the root of their covariance; NaN where there is none.

    If the model is right they are independent and standard normal (Durbin & Koopman 2012, section 2.12).
    """
    data, found = as_data(x), filter_(x, theta, start)
    errors = np.full(found.predicted.shape, np.nan)
    whole = np.isfinite(found.predicted).all(1)
    for seen, rows in zip(data.patterns, data.rows, strict=True):
        own = np.arange(len(whole))[rows]
        own = own[whole[own]]
        if seen.any() and len(own):
            L = np.linalg.cholesky(found.spread[own][:, seen][:, :, seen])
            gaps = data.filled[own][:, seen] - found.predicted[own][:, seen]
            errors[np.ix_(own, seen)] = np.linalg.solve(L, gaps[:, :, None])[..., 0]
    return errors


def forecast(x: Rows, theta: Theta, h: int, start: Start = "known") -> tuple[np.ndarray, np.ndarray]:
    """Means (S, h, D) and covariances (S, h, D, D) of the h rows after the end of each sequence.

    Raises
    ------
    ValueError
        If h is not positive, or the emission differs from row to row, whose next rows are not known.
    """
    check_count("h", h, np.shape(theta["emission"])[-2] ** 2, "step")
    data, own = _posed(x, theta, start)
    if own.C.ndim == 3:
        raise ValueError("the emission differs from row to row, and those to come are not known")
    part, D, S = kalman.track(kalman.collapse(data, own), data.x.edges, own), len(own.C), len(data.x.lengths)
    mean, spread = np.empty((S, h, D)), np.empty((S, h, D, D))
    for i, last in enumerate(data.x.edges[1:] - 1):
        m, P = part.mean[last], part.covs[part.place[last]]
        for step in range(h):
            m, P = own.A @ m, own.A @ P @ own.A.T + own.Q
            mean[i, step], spread[i, step] = own.C @ m, own.C @ P @ own.C.T + own.R
    return mean, spread


def simulate(theta: Theta, T: int, rng: np.random.Generator, start: Start = "known") -> tuple[np.ndarray, np.ndarray]:
    """One sequence of rows (T, D) and its states (T, H) from the model; diffuse states begin at zero."""
    own = system(theta, start)
    H, D = len(own.A), own.C.shape[-2]
    check_count("T", T, H + D, "row")
    if own.C.ndim == 3 and len(own.C) < T:
        raise ValueError(f"T is {T}; the emission is known at {len(own.C)} rows")
    roots = [kalman.root_of(S) for S in (own.Q, own.R, own.P0)]
    u, v = rng.standard_normal((T, H)), rng.standard_normal((T, D))
    z = np.empty((T, H))
    z[0] = own.m0 + roots[2] @ u[0]
    for t in range(1, T):
        z[t] = own.A @ z[t - 1] + roots[0] @ u[t]
    C = own.C[:T] if own.C.ndim == 3 else own.C
    return (C @ z[:, :, None])[..., 0] + v @ roots[1].T, z


def draw(x: Rows, theta: Theta, rng: np.random.Generator, start: Start = "known") -> np.ndarray:
    """States (N, H) drawn given all rows, by forward filtering and backward sampling (Carter & Kohn 1994)."""
    data, own = _posed(x, theta, start)
    u, v = rng.standard_normal((len(data.x), len(own.A))), rng.standard_normal((len(data.x.lengths), own.E.shape[1]))
    return backwards.draw(data, own, u, v)


def impulse_response(theta: Theta, h: int) -> np.ndarray:
    """C A^j for j = 0 .. h, shape (..., h + 1, D, H), which changes with the coordinates of the states; see `responses`."""
    A, C = theta["transition"], theta["emission"]
    check_whole("h", h)
    check_count("h + 1", h + 1, np.size(C), "step")
    found = [C]
    for _ in range(h):
        found.append(found[-1] @ A)
    return np.stack(found, axis=-3)


def responses(theta: Theta, h: int) -> np.ndarray:
    """Covariances of x_(t+j) and the shock that states brought to x_t: C A^j Q C^T for j = 0 .. h, shape (..., h + 1, D, D).

    Unlike C A^j these are the same whatever coordinates the states have.
    """
    C, Q = theta["emission"], theta["state_covariance"]
    return impulse_response(theta, h) @ (Q @ C.swapaxes(-1, -2))[..., None, :, :]


def eigenvalues(theta: Theta) -> np.ndarray:
    """Eigenvalues of the transition (..., H), complex, the largest in modulus first."""
    values = np.linalg.eigvals(theta["transition"]).astype(complex)
    order = np.lexsort((-values.imag, -values.real, -np.round(np.abs(values), 12)), axis=-1)
    return np.take_along_axis(values, order, axis=-1)
