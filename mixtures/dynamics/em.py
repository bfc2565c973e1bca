"""EM for linear dynamical systems, and the posterior mode.

Shumway & Stoffer (1982, *Journal of Time Series Analysis* 3:253-264); Ghahramani & Hinton (1996, *Parameter estimation for
linear dynamical systems*); PRML section 13.3.2.
"""

from __future__ import annotations

from typing import Any

from mixtures.dynamics.checks import check_model, check_moving, checked
from mixtures.dynamics.climbing import ascend
from mixtures.dynamics.fit import DynamicsFit, point
from mixtures.dynamics.model import LinearDynamics
from mixtures.dynamics.passes import At, State
from mixtures.dynamics.regression import Expected, Moments, Regression
from mixtures.rows import Rows
from mixtures.seeds import Rng


def step(model: LinearDynamics, s: State) -> tuple[At, float]:
    """M-step for maximum likelihood, each regression by itself, and 0, for the bound is log p(x | theta) = sum log_z."""
    A, C, m0 = (_peak(part, own, False) for part, own in zip(model.parts, s, strict=True))  # PRML 13.110-13.116
    return (A, C, m0), 0.0


def map_step(model: LinearDynamics, s: State) -> tuple[At, float]:
    """M-step for the posterior mode, and the log prior density there."""
    A, C, m0 = (_peak(part, own, True) for part, own in zip(model.parts, s, strict=True))
    return (A, C, m0), float(model.log_prior(model.theta((A, C, m0))))


def _peak(part: Regression, s: Moments, prior: bool) -> Expected:
    return LinearDynamics.known(part) if part.settled else Expected(*part.peak(s, prior))


def fit(x: Rows, model: LinearDynamics, *, rng: Rng, prior: bool = False, **climb: Any) -> DynamicsFit:
    """Fit a linear dynamical system by EM.

    Parameters
    ----------
    x : ndarray, shape (T, D), or Sequences
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
    """
    check_model(model)
    if prior:
        model = model.with_prior(x)
    else:
        check_moving(checked(x, model), model)
    ascent = ascend(map_step if prior else step, x, model, rng=rng, **climb)
    at, _ = (map_step if prior else step)(model, ascent.s)
    return point("map" if prior else "em", model, at, ascent)


def map_(x: Rows, model: LinearDynamics, *, rng: Rng, **climb: Any) -> DynamicsFit:
    """`fit` with ``prior=True``."""
    return fit(x, model, rng=rng, prior=True, **climb)
