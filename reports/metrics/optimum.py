"""Whether maximum likelihood has found its maximum: the likelihood where the other methods are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mixtures import Conjugate, Draws, Fit
from reports.metrics import Row

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

# A log likelihood that is higher by more nats than this is no rounding.
HIGHER = 0.01


def at_mean(fit: Fit) -> Fit:
    """The point at E_q[pi], E_q[theta] of a posterior in closed form; not a number where an expectation does not exist."""
    q: Any = fit.posterior
    weights, theta = fit.allocation.mean(q.alpha), fit.family.mean(q.theta)
    held = Draws(weights[None, None], {name: value[None, None] for name, value in theta.items()})
    return replace(fit, kind="point", posterior=held)


def log_likelihood(fit: Fit, x: np.ndarray, of_draws: xr.Dataset | None = None) -> list[Row]:
    """The log likelihood in nats at a point estimate, at the mean of a closed form, or at the best of some draws.

    Parameters
    ----------
    fit : Fit
    x : ndarray, shape (N, D)
    of_draws : Dataset, optional
        ``x`` (chain, draw, obs), the log likelihoods under draws of the fit.

    Returns
    -------
    list of Row
        ``log_likelihood`` with target "point", "mean" or "draw"; none for a posterior whose draws are not given.
    """
    if isinstance(fit.posterior, Conjugate):
        target, value = "mean", at_mean(fit).log_predictive(x).sum()
    elif fit.kind == "point":
        target, value = "point", fit.log_predictive(x).sum()
    elif of_draws is None:
        return []
    else:
        target, value = "draw", of_draws["x"].sum("obs").max().item()
    return [Row(fit.method, "log_likelihood", target, float(value))]
