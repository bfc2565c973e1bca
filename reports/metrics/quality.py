"""Whether importance sampling can repair a variational posterior: PSIS k-hat against the exact log joint, and the repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixtures import Conjugate, Fit
from mixtures.engines.responsibilities import log_sum, log_sum_draws
from reports.metrics import Row
from reports.metrics.agreement import scalars, worst

if TYPE_CHECKING:
    import xarray as xr

USABLE = 0.7

# Draws of which the largest ratios, min(S / 5, 3 sqrt(S)) of them, are more than the five that a Pareto tail needs.
FEWEST = 30


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
    log_likelihood = sum(log_sum_draws(block).sum(1) for _, block in drawn.log_rho(x))
    log_joint = log_likelihood + fit.allocation.log_prior(weights) + fit.family.log_prior(theta)
    log_q = fit.allocation.log_density(weights, fit.posterior.alpha) + fit.family.log_density(
        theta, fit.posterior.theta
    )
    return log_joint - log_q


def smoothed(ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Log weights (S,) of the draws, normalised and with their largest ones smoothed, and Pareto k-hat.

    Pareto-smoothed importance sampling (Vehtari et al. 2024, *JMLR* 25:72). k-hat is missing where the ratios hardly vary or
    are fewer than 30.

    Parameters
    ----------
    ratios : ndarray, shape (S,)
        log p(x, theta) - log q(theta) in nats.
    """
    from arviz_stats.base import array_stats

    if len(ratios) < FEWEST or ratios.std() < 1e-3:
        return ratios - log_sum(ratios), np.nan
    # ArviZ's function takes log likelihoods, whose importance weights are their inverses: hence the sign.
    log_weights, khat = array_stats.psislw(-ratios)
    return log_weights, float(khat)


def khat(method: str, ratios: np.ndarray) -> Row:
    """Pareto k-hat of the importance ratios (Yao et al. 2018, arXiv:1802.02538); see `smoothed`.

    Draws from q stay near one labelling, so the number speaks of that mode and not of its mirror images.
    """
    return Row(method, "khat", "all", smoothed(ratios)[1])


def limit(draws: int) -> float:
    """Largest k-hat of weights that can be relied on: 0.7, less for few draws (Vehtari et al. 2024, section 3.2.4)."""
    return float(min(1 - 1 / np.log10(draws), USABLE))


def usable(khat: float, draws: int) -> bool:
    """Whether weights of this k-hat can be relied on."""
    return khat <= limit(draws)


def corrected_means(method: str, posterior: xr.Dataset, reference: xr.Dataset, log_weights: np.ndarray) -> list[Row]:
    """``mean_shift_corrected``: the shift of every mean from the reference's, in its sds, once q's draws are weighted.

    Parameters
    ----------
    log_weights : ndarray, shape (S,)
        Of the draws of ``posterior``, chain by chain; their exponentials add up to one.

    Raises
    ------
    ValueError
        If they do not, or there are more or fewer of them than draws.
    """
    from arviz_stats.base import array_stats

    weights, draws = np.exp(log_weights), posterior.sizes["chain"] * posterior.sizes["draw"]
    if weights.shape != (draws,) or not abs(weights.sum() - 1) < 1e-6:
        raise ValueError(
            f"the weights have shape {weights.shape} and add up to {weights.sum():.6g}; expected one for each of {draws} "
            "draws, adding up to 1: subtract the logsumexp from their logarithms"
        )
    own, rows = scalars(posterior), []
    for target, truth in scalars(reference).items():
        values, sd = own[target].ravel(), truth.std()
        mean = weights @ values
        spread = np.sqrt(weights @ (values - mean) ** 2)
        shift = (mean - truth.mean()) / sd
        errors = (
            spread * np.linalg.norm(weights),  # the weights' effective sample size is 1 / sum w^2
            float(array_stats.mcse(truth, method="mean")),
            shift * float(array_stats.mcse(truth, method="sd")),
        )
        rows.append(Row(method, "mean_shift_corrected", target, shift, np.linalg.norm(errors) / sd))
    return rows + worst(rows)
