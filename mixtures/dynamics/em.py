"""EM for linear dynamical systems, and the posterior mode.

Shumway & Stoffer (1982, *Journal of Time Series Analysis* 3:253-264); Ghahramani & Hinton (1996, *Parameter estimation for
linear dynamical systems*); PRML section 13.3.2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mixtures.dynamics import stationary
from mixtures.dynamics.checks import UNBOUNDED, bounded, check_model, check_moving, checked
from mixtures.dynamics.climbing import ascend
from mixtures.dynamics.fit import DynamicsFit, point
from mixtures.dynamics.model import LinearDynamics
from mixtures.dynamics.passes import At, State
from mixtures.dynamics.regression import Expected, Moments, Regression
from mixtures.errors import CollapseError
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng

# Variances of a free start are held at this part of those that the ascent begins with: see `step`.
LEAST_START = 1e-6

# Standard deviations of all noises, over the largest value, that rounding of the values may leave.
ROUNDING = 64 * float(np.finfo(float).eps)


def step(model: LinearDynamics, s: State, least: float = 0.0, rounding: float = 0.0) -> tuple[At, float]:
    """M-step for maximum likelihood, each regression by itself, and 0, for the bound is log p(x | theta) = sum log_z.

    One sequence says where it starts, m0, and nothing of how starts vary: its likelihood grows while P0 shrinks to zero, where
    digits run out. So P0 - ``least`` I stays positive semidefinite, and the step is the maximum under this condition.

    Raises
    ------
    CollapseError
        If all noises of a known emission have variances below ``rounding``.
    """
    A, C, m0 = _peaks(model, s, False)  # PRML 13.110-13.116
    if rounding and max(np.diag(A.Sigma).max(initial=0), np.diag(C.Sigma).max()) < rounding:
        raise CollapseError(
            "every noise vanished: the rows follow the model to rounding, and the likelihood has no maximum"
        )
    if least and np.isnan(model.begins.Sigma).all():
        variances, axes = np.linalg.eigh(m0.Sigma)
        m0 = Expected(m0.B, (axes * np.maximum(variances, least)) @ axes.T)
    return (A, C, m0), 0.0


def map_step(model: LinearDynamics, s: State) -> tuple[At, float]:
    """M-step for the posterior mode, and the log prior density there."""
    A, C, m0 = _peaks(model, s, True)
    return (A, C, m0), float(model.log_prior(model.theta((A, C, m0))))


def _peaks(model: LinearDynamics, s: State, prior: bool) -> At:
    """What each regression is at its peak; of a stationary start the first and the last together."""
    moves, observes, begins = model.parts
    if not model.stationary:
        return _peak(moves, s[0], prior), _peak(observes, s[1], prior), _peak(begins, s[2], prior)
    A = Expected(*stationary.peak(moves, s[0], s[2], prior))
    return A, _peak(observes, s[1], prior), model.started(A)


def _peak(part: Regression, s: Moments, prior: bool) -> Expected:
    return LinearDynamics.known(part) if part.settled else Expected(*part.peak(s, prior))


def fit(x: Rows, model: LinearDynamics, *, rng: Rng, prior: bool = False, **climb: Any) -> DynamicsFit:
    """Fit a linear dynamical system by EM.

    Parameters
    ----------
    x : ndarray, shape (T, D), Sequences, or list of ndarray
        NaN where a value is missing.
    model : LinearDynamics
    rng : numpy.random.Generator or int
        Source of the starts.
    prior : bool
        False for maximum likelihood; True for the mode of the posterior density of coefficients and precision matrices, under
        the model's priors or, where it has none, those of `LinearDynamics.with_prior`.
    **climb
        ``init``, ``restarts``, ``tol``, ``max_iter``, ``accelerate``, ``callback``: see `mixtures.dynamics.climbing.ascend`.

    Returns
    -------
    DynamicsFit
        Of kind "point".

    Raises
    ------
    ValueError
        Of maximum likelihood, if a feature never changes, or latent states start diffuse: it has then no bound. For others see
        `mixtures.dynamics.climbing.ascend`.
    """
    check_model(model)
    if prior:
        model, move = model.with_prior(checked(x, model).x), map_step
    else:
        data = checked(x, model)
        check_moving(data, model)
        if not bounded(model):
            raise ValueError(UNBOUNDED)
        latent = np.isnan(model.emission).any()
        least = LEAST_START * (1.0 if latent else float(np.nanvar(data.x.x)))
        rounding = 0.0 if latent else (ROUNDING * float(np.nanmax(np.abs(data.x.x)))) ** 2
        move = partial(step, least=least, rounding=rounding)
    ascent = ascend(move, x, model, rng=rng, move=prior, edge=not prior, **climb)
    at, _ = move(model, ascent.s)
    return point("map" if prior else "em", model, at, ascent)


def map_(x: Rows, model: LinearDynamics, *, rng: Rng, **climb: Any) -> DynamicsFit:
    """`fit` with ``prior=True``."""
    return fit(x, model, rng=rng, prior=True, **climb)
