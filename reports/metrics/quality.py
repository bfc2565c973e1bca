"""Whether importance sampling could repair a variational posterior: PSIS k-hat against the exact log joint."""

from __future__ import annotations

import numpy as np

from mixtures import Conjugate, Fit
from mixtures.responsibilities import normalise
from reports.metrics import Row

USABLE = 0.7


def log_ratios(fit: Fit, drawn: Fit, x: np.ndarray) -> np.ndarray:
    """log p(x, pi, theta) - log q(pi, theta) in nats for every draw from q, shape (S,).

    Both densities are over the same variables, (pi, mu, Lambda) for Gaussian clusters. The mean over draws is the evidence
    lower bound of q(pi, theta) with the labels summed out; where q is exact, every ratio is the log evidence.

    Parameters
    ----------
    fit : Fit
        With its closed-form posterior q.
    drawn : Fit
        The same with draws from q, as `Fit.as_draws` gives them.
    """
    assert isinstance(fit.posterior, Conjugate)
    weights, theta = drawn.held.flat()
    log_likelihood = sum(normalise(block)[0].sum(1) for _, block in drawn.log_rho(x))
    log_joint = log_likelihood + fit.allocation.log_prior(weights) + fit.family.log_prior(theta)
    log_q = fit.allocation.log_density(weights, fit.posterior.alpha) + fit.family.log_density(
        theta, fit.posterior.theta
    )
    return log_joint - log_q


def khat(method: str, ratios: np.ndarray) -> Row:
    """Pareto k-hat of the importance ratios (Yao et al. 2018, arXiv:1802.02538); missing where they hardly vary.

    Draws from q stay near one labelling, so the number speaks of that mode and not of its mirror images.
    """
    from arviz_stats.base import array_stats

    exact = ratios.std() < 1e-3
    # ArviZ's function takes log likelihoods, whose importance weights are their inverses: hence the sign.
    return Row(method, "khat", "all", np.nan if exact else float(array_stats.psislw(-ratios)[1]))
