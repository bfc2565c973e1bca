"""From a pass of the smoother to the expected second moments that the three regressions of the model need."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.regression import Expected, Moments, Regression
from mixtures.dynamics.rows import Rows
from mixtures.engines import backwards, kalman
from mixtures.engines.backwards import Smoothed, Sums
from mixtures.engines.kalman import Data
from mixtures.rows.sequences import Sequences

State = tuple[Moments, Moments, Moments]
At = tuple[Expected, Expected, Expected]


class Pass(NamedTuple):
    """What a pass returns: sum of log_z in nats, and the expected moments of the three regressions."""

    log_z: float
    s: State


def one_pass(model: LinearDynamics, data: Data, at: At) -> Pass:
    """Smooth all sequences, and add up expected second moments.

    Parameters
    ----------
    model : LinearDynamics
    data : Data
    at : tuple of Expected
        Parameters, or what q(theta) says of them.
    """
    moves, _, begins = at
    found = backwards.smooth(data, model.system(at))
    S = len(data.x.lengths)
    log_z = found.log_z.sum() + (len(data.x) - S) * moves.log_scale.sum() + S * begins.log_scale.sum()
    if begins.extra is not None:
        log_z -= S * begins.extra.sum() / 2
    return Pass(float(log_z), _moments(model, data, found, at))


def moments(model: LinearDynamics, data: Data, z: np.ndarray, at: At) -> State:
    """The moments of the three regressions where the states z (N, H) are known."""
    H, S = model.H, len(data.x.lengths)
    within = np.zeros((len(z) if model.loadings is not None else len(data.patterns), H, H))
    none = np.zeros((0, H, H))
    sums = Sums(within, np.zeros((3, H, H)), np.zeros((S, H, H)))
    return _moments(model, data, Smoothed(np.zeros(len(z)), z, sums, none, none), at)


def complete(model: LinearDynamics, data: Data, z: np.ndarray, theta: Theta, rng: np.random.Generator) -> Data:
    """The data, with what is missing of rows whose noises are correlated drawn given the states and what was seen."""
    if isinstance(model.observes, Rows) or data.patterns.all():
        return data
    C, R, x = theta["emission"], theta["observation_covariance"], data.filled.copy()
    signal = (C @ z[:, :, None])[..., 0]
    for seen, rows in zip(data.patterns, data.rows, strict=True):
        if not seen.all():
            fill, noise = _filling(R, seen)
            v = np.where(seen, x[rows] - signal[rows], 0) @ fill.T
            v += rng.standard_normal(v.shape) @ kalman.triangle_of(noise).T
            x[rows] = np.where(seen, x[rows], signal[rows] + v)
    return Data(Sequences(x, data.x.lengths))


def _moments(model: LinearDynamics, data: Data, found: Smoothed, at: At) -> State:
    return _moves(model.moves, data, found), _observes(model, data, found, at[1]), _begins(model.begins, data, found)


def _moves(part: Regression, data: Data, found: Smoothed) -> Moments:
    """Moments of z_t - (known A) z_(t-1), and of z_(t-1) (PRML 13.105-13.107)."""
    A, (before, after, cross) = part.known, found.sums.steps
    u, y = found.mean[data.before], found.mean[data.after]
    if part.offset:
        y = y - u @ A.T
        after = after - A @ cross.T - cross @ A.T + A @ before @ A.T
        cross = cross - A @ before
    yu = y.T @ u + cross
    return part.moments(len(u), part.inner(y.T @ y + after), yu[part.noisy], u.T @ u + before)


def _begins(part: Regression, data: Data, found: Smoothed) -> Moments:
    """Moments of z_1 - (known m0) (PRML 13.110, 13.111)."""
    noisy, S = part.noisy, len(data.x.lengths)
    y = found.mean[data.x.edges[:-1]] - part.known[:, 0]
    yy = y.T @ y + found.sums.first.sum(0)
    return part.moments(S, part.inner(yy), y.sum(0)[noisy, None], np.full((1, 1), float(S)))


def _observes(model: LinearDynamics, data: Data, found: Smoothed, at: Expected) -> Moments:
    """Moments of x_t - (known C) z_t and of z_t over what was seen, pattern by pattern (PRML 13.115, 13.116).

    Features with noises of their own count where they were seen. Of correlated ones, what is missing of a row that was seen
    in part is replaced by its moments given the rest.
    """
    part = model.observes
    total: Moments | None = None
    for number, (seen, rows) in enumerate(zip(data.patterns, data.rows, strict=True)):
        if not seen.any():
            continue
        x, z, whole = data.filled[rows], found.mean[rows], isinstance(part, Rows) or seen.all()
        fill, noise = (np.diag(seen * 1.0), 0.0) if whole else _filling(at.Sigma, seen)
        if model.loadings is not None:
            slopes, V = fill @ model.loadings[rows], found.sums.within[rows]
            y = x @ fill.T - np.einsum("ndh,nh->nd", slopes, z)
            yy = y.T @ y + np.einsum("ndh,nhk,nek->de", slopes, V, slopes) + len(x) * noise
            sums = part.moments(len(x), yy, np.zeros((len(seen), 0)), np.zeros((0, 0)))
        else:
            V, y = found.sums.within[number], x if whole else x @ fill.T
            yy, yu, slope = len(x) * noise, 0.0, -part.known if whole else at.B - fill @ at.B - part.known
            if part.offset or not whole:
                y = y + z @ slope.T
                yy, yu = yy + slope @ V @ slope.T, slope @ V
            sums = part.moments(len(x), y.T @ y + yy, y.T @ z + yu, z.T @ z + V)
        if isinstance(part, Rows) and not seen.all():
            sums = Moments(*(np.where(seen.reshape(-1, *(1,) * (a.ndim - 1)), a, 0) for a in sums))
        total = sums if total is None else total.plus(sums)
    assert total is not None
    return total


def _filling(R: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F and S: given the noise v_o of what was seen, that of all features is F v + N(0, S), both (D, D)."""
    D = len(R)
    F, S, o, m = np.zeros((D, D)), np.zeros((D, D)), np.flatnonzero(seen), np.flatnonzero(~seen)
    F[o, o] = 1
    F[np.ix_(m, o)] = np.linalg.solve(R[np.ix_(o, o)], R[np.ix_(o, m)]).T
    S[np.ix_(m, m)] = R[np.ix_(m, m)] - F[np.ix_(m, o)] @ R[np.ix_(o, m)]
    return F, S
