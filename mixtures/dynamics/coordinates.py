r"""Better coordinates for the states, between the passes of an ascent.

Where A and C are free, states T z with transition T A T^-1 and emission C T^-1 explain the data as well; the prior alone has a
preference, and passes move towards it in many small steps. The best T given q(z) takes them in one, and no pass over the data
(Luttinen 2013, *Fast variational Bayesian linear state-space model*, ECML PKDD, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mixtures.dynamics.model import LinearDynamics
from mixtures.dynamics.passes import State
from mixtures.dynamics.regression import Moments
from mixtures.dynamics.rows import Rows
from mixtures.errors import CollapseError

# From the state to B(s), and to its derivative, the natural parameters, as moments.
Objective = Callable[[State], tuple[float, State]]


def movable(model: LinearDynamics) -> bool:
    """Whether the moments of T z follow from those of z: nothing known was subtracted from them."""
    if model.loadings is not None or model.diffuse.any():
        return False
    moves, observes, begins = model.parts
    return not (moves.offset or observes.offset or begins.offset) and len(moves.noisy) == len(begins.noisy) == model.H


def moved(model: LinearDynamics, objective: Objective, s: State, n: float) -> State:
    """The state with the states z in their best coordinates, at which B(s) + n log|det T| is highest.

    Parameters
    ----------
    model : LinearDynamics
        One that is `movable`. Of noises without correlations T is diagonal, for other moments are not there.
    objective : callable
    s : tuple of Moments
    n : float
        Number of states, whose entropy in nats grows by log|det T| each.
    """
    from scipy.optimize import minimize

    H = model.H
    scales = isinstance(model.moves, Rows) or isinstance(model.begins, Rows)
    start = np.ones(H) if scales else np.eye(H).ravel()
    lowered = partial(_lowered, objective, s, n)
    found = minimize(lowered, start, jac=True, method="L-BFGS-B")
    if not found.fun < lowered(start)[0]:
        return s
    return transformed(s, _square(found.x, H))


def transformed(s: State, T: np.ndarray) -> State:
    """The moments where states are T z; of noises of their own, T is diagonal."""
    moves, observes, begins = s
    return (
        Moments(moves.n, _both(moves.yy, T), T @ moves.yu @ T.T, T @ moves.uu @ T.T),
        Moments(observes.n, observes.yy, observes.yu @ T.T, T @ observes.uu @ T.T),
        Moments(begins.n, _both(begins.yy, T), T @ begins.yu, begins.uu),
    )


def slope(s: State, eta: State) -> np.ndarray:
    """Derivative of B(s) in E, (H, H), where the states become (1 + E) z: that of the moments, times eta."""
    (moves, observes, begins), (by_moves, by_observes, by_begins) = s, eta
    total = _square_slope(by_moves.yy, moves.yy) + _square_slope(by_moves.uu, moves.uu)
    total += by_moves.yu @ moves.yu.T + by_moves.yu.T @ moves.yu
    total += _square_slope(by_observes.uu, observes.uu) + by_observes.yu.T @ observes.yu
    return total + _square_slope(by_begins.yy, begins.yy) + by_begins.yu @ begins.yu.T


def _lowered(objective: Objective, s: State, n: float, numbers: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus B(T s) / n - log|det T|, and its derivative in the numbers of T; infinite where T loses a direction."""
    H = len(s[0].yy)
    T = _square(numbers, H)
    there = transformed(s, T)
    try:
        value, eta = objective(there)
        inverse = np.linalg.inv(T)
    except (CollapseError, np.linalg.LinAlgError):
        return np.inf, np.zeros_like(numbers)
    by_T = (slope(there, eta) / n + np.eye(H)) @ inverse.T
    own = np.diag(by_T) if len(numbers) == H else by_T
    return -value / n - np.linalg.slogdet(T)[1], -own.ravel()


def _square(numbers: np.ndarray, H: int) -> np.ndarray:
    return np.diag(numbers) if len(numbers) == H else numbers.reshape(H, H)


def _both(yy: np.ndarray, T: np.ndarray) -> np.ndarray:
    """T yy T^T, of which noises of their own have the diagonal alone."""
    return np.diag(T) ** 2 * yy if yy.ndim == 1 else T @ yy @ T.T


def _square_slope(by: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Derivative in E of sum(by * a), where a becomes (1 + E) a (1 + E)^T: of one matrix, its diagonal or several, (H, H)."""
    if a.ndim == 1:
        return np.diag(2 * by * a)
    each = (by + by.swapaxes(-1, -2)) @ a
    return each.sum(0) if each.ndim == 3 else each
