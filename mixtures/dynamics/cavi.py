"""Variational Bayes for linear dynamical systems (Beal 2003, chapter 5), with the exact bound.

q(z) q(theta) with q(theta) in three parts, one a regression. The smoother takes E[log p(x, z | theta)] as it is: a system with
the parameters E[Lambda]^-1 E[Lambda B] and E[Lambda]^-1, and beside it factors exp(-z^T U z / 2), for E[B^T Lambda B] is more
than the product of means (Barber & Chiappa 2007, *Unified inference for variational Bayesian linear Gaussian state-space
models*).
"""

from __future__ import annotations

from typing import Any

from mixtures.dynamics.checks import check_model, checked
from mixtures.dynamics.climbing import ascend
from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.model import LinearDynamics
from mixtures.dynamics.passes import At, State
from mixtures.dynamics.regression import Expected, Moments, Regression
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng

STATIONARY = (
    "a stationary start ties P0 to the transition, of which q has then no conjugate form: fit it by em, map, gibbs or the PyMC "
    "twin, or by cavi with another start"
)
"""Why a stationary start cannot be fitted."""


def step(model: LinearDynamics, s: State) -> tuple[At, float]:
    """q(theta) given q(z): what the smoother takes of it, and minus its divergence from the prior, every constant kept.

    With q(z) at its optimum the bound is sum log_z - KL(q(theta) || p(theta)), and each divergence is sum(s * eta) minus a log
    marginal likelihood, as in `mixtures.methods.cavi.step`.
    """
    (A, a), (C, c), (m0, m) = (_updated(part, own) for part, own in zip(model.parts, s, strict=True))
    return (A, C, m0), a + c + m


def _updated(part: Regression, s: Moments) -> tuple[Expected, float]:
    """What q(B, Lambda) tells the smoother, and minus its divergence from the prior."""
    if part.settled:
        return LinearDynamics.known(part), 0.0
    at = part.expected(part.posterior(s))
    fitted = sum(float((a * b).sum()) for a, b in zip(s, part.natural(at), strict=True))
    return at, part.log_marginal(s) - fitted


def fit(x: Rows, model: LinearDynamics, *, rng: Rng, **climb: Any) -> DynamicsFit:
    """Fit a linear dynamical system by variational Bayes.

    Parameters
    ----------
    x : ndarray, shape (T, D), Sequences, or list of ndarray
        NaN where a value is missing. Of correlated features, what is missing of a row that was seen in part has its place in q
        beside the states, which leaves the bound below that of features with noises of their own.
    model : LinearDynamics
        Where it has no priors, they are those of `LinearDynamics.with_prior`.
    rng : numpy.random.Generator or int
        Source of the starts.
    **climb
        ``init``, ``restarts``, ``tol``, ``max_iter``, ``accelerate``, ``callback``: see `mixtures.dynamics.climbing.ascend`.

    Raises
    ------
    ValueError
        If the start is stationary; for others see `mixtures.dynamics.climbing.ascend`.

    Returns
    -------
    DynamicsFit
        Of kind "variational". Its bound is a lower bound on log p(x) in nats; of a diffuse start, which has no normalised
        density, on the log of the likelihood under a flat one integrated over the priors.
    """
    check_model(model)
    if model.stationary:
        raise ValueError(STATIONARY)
    model = model.with_prior(checked(x, model).x)
    ascent = ascend(step, x, model, rng=rng, **climb)
    q = tuple(own if part.settled else part.posterior(own) for part, own in zip(model.parts, ascent.s, strict=True))
    return DynamicsFit(
        "cavi",
        "variational",
        model,
        (q[0], q[1], q[2]),
        ascent.data.x,
        ascent.bound,
        ascent.converged,
        {"run": ascent.seconds},
        ascent.info,
    )
