"""What the Pareto tail of weights and of draws says: whether importance sampling can repair q, and which moments exist.

PSIS k-hat of a variational posterior is that of its importance ratios against the exact log joint. The k-hat of the draws
themselves tells whether their distribution has a mean and an sd that a sample can estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mixtures import Conjugate, Fit
from mixtures.engines.responsibilities import log_sum
from mixtures.seeds import Rng, generator
from reports.metrics import Row
from reports.metrics.agreement import IQR, Marginal, worst
from reports.metrics.parameters import kind, natural, scalars

if TYPE_CHECKING:
    import xarray as xr

USABLE = 0.7

# Resamples of the ratios from which the interval of k-hat is taken, and its probability.
RESAMPLES, INTERVAL = 100, 0.9

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
    log_joint = drawn.total_log_likelihood(x).ravel() + fit.allocation.log_prior(weights) + fit.family.log_prior(theta)
    log_q = fit.allocation.log_density(weights, fit.posterior.alpha) + fit.family.log_density(
        theta, fit.posterior.theta
    )
    return log_joint - log_q


def smoothed(ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Log weights (S,) of the draws, normalised and with their largest ones smoothed, and Pareto k-hat.

    Pareto-smoothed importance sampling (Vehtari et al. 2024, *JMLR* 25:72). k-hat is missing where the ratios hardly vary or
    are fewer than 30, and infinite where all but one of the weights are zero to rounding.

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
    return log_weights, np.inf if np.isnan(khat) else float(khat)


def khat(method: str, ratios: np.ndarray) -> Row:
    """Pareto k-hat of the importance ratios (Yao et al. 2018, arXiv:1802.02538); see `smoothed`.

    Draws from q stay near one labelling, so the number speaks of that mode and not of its mirror images.
    """
    return Row(method, "khat", "all", smoothed(ratios)[1])


def khat_interval(method: str, ratios: np.ndarray, rng: Rng) -> list[Row]:
    """``khat_low`` and ``khat_high``: the central 90% of k-hat over 100 resamples of the ratios with replacement."""
    rng = generator(rng)
    found = [smoothed(rng.choice(ratios, len(ratios)))[1] for _ in range(RESAMPLES)]
    if not np.isfinite(found).all():
        return []
    low, high = np.quantile(found, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return [Row(method, "khat_low", "all", float(low)), Row(method, "khat_high", "all", float(high))]


def limit(draws: int) -> float:
    """Largest k-hat of weights that can be relied on: 0.7, less for few draws (Vehtari et al. 2024, section 3.2.4)."""
    return float(min(1 - 1 / np.log10(draws), USABLE))


def usable(khat: float, draws: int) -> bool:
    """Whether weights of this k-hat can be relied on."""
    return khat <= limit(draws)


def tail_khat(method: str, posterior: xr.Dataset, *, independent: bool) -> list[Row]:
    """``tail_khat``: Pareto k-hat of the draws of every unbounded parameter, in the units of the data; see `moments`.

    The larger of both tails, as the R package posterior's ``pareto_khat`` gives it. Weights and correlations are bounded, have
    all moments, and have no row; nor has a posterior of fewer than 30 draws, nor one whose tail is a single value.
    """
    from arviz_stats.base import array_stats

    rows = []
    for target, values in natural(posterior).items():
        own = kind(target)
        if own is None or own.bounded or values.size < FEWEST:
            continue
        ends = np.quantile(values, [0, 0.05, 0.95, 1])
        if ends[0] < ends[1] and ends[2] < ends[3]:
            efficiency = {"r_eff": 1.0} if independent else {}
            rows.append(Row(method, "tail_khat", target, float(array_stats.pareto_khat(values, **efficiency))))
    return rows


def moments(target: str, khat: float | None, draws: int) -> tuple[bool, bool]:
    """Whether the mean and the sd of a parameter may be reported, by the k-hat of its draws.

    A mean needs a k-hat below `limit`, 0.7 for many draws: the rule for sample means of Vehtari et al. (2024, *JMLR* 25:72,
    section 3.2), since the distribution has as many finite moments as 1 / k. An sd is the mean of squares, whose k is twice as
    large, so that it needs half of that. Bounded parameters have both; where k-hat is missing, neither is reported.
    """
    own = kind(target)
    if own is not None and own.bounded:
        return True, True
    if khat is None or np.isnan(khat):
        return False, False
    return khat < limit(draws), 2 * khat < limit(draws)


def corrected_medians(
    method: str, posterior: xr.Dataset, reference: Mapping[str, Marginal], log_weights: np.ndarray
) -> list[Row]:
    """``median_shift_corrected``: the shift of every median from the reference's once q's draws are weighted.

    In the unit of ``median_shift``. The standard error of a weighted median is half of what it moves when its probability
    changes by sqrt(sum_s w_s^2 (1[x_s <= median] - 1/2)^2) to either side.

    Parameters
    ----------
    posterior : xarray.Dataset
    reference : mapping of str to Marginal
        As `reports.metrics.agreement.marginals` gives it.
    log_weights : ndarray, shape (S,)
        Of the draws of ``posterior``, chain by chain; their exponentials add up to one.

    Raises
    ------
    ValueError
        If they do not, or there are more or fewer of them than draws.
    """
    weights, draws = np.exp(log_weights), posterior.sizes["chain"] * posterior.sizes["draw"]
    if weights.shape != (draws,) or not abs(weights.sum() - 1) < 1e-6:
        raise ValueError(
            f"the weights have shape {weights.shape} and add up to {weights.sum():.6g}; expected one for each of {draws} "
            "draws, adding up to 1: subtract the logsumexp from their logarithms"
        )
    rows = reweighted(method, scalars(posterior), reference, weights)
    return rows + worst(rows)


def reweighted(
    method: str, own: Mapping[str, np.ndarray], reference: Mapping[str, Marginal], weights: np.ndarray
) -> list[Row]:
    """`corrected_medians` of scalars (chain, draw) by name, under weights (S,) that add up to one."""
    rows = []
    for target, truth in reference.items():
        if not truth.unit > 0:
            continue
        values = own[target].ravel()
        order = np.argsort(values)
        reached = np.cumsum(weights[order])

        def quantile(p: float, ordered: np.ndarray = values[order], reached: np.ndarray = reached) -> float:
            return float(ordered[min(int(np.searchsorted(reached, p)), len(ordered) - 1)])

        median = quantile(0.5)
        spread = float(np.linalg.norm(weights * ((values <= median) - 0.5)))
        own_error = (quantile(0.5 + spread) - quantile(0.5 - spread)) / 2
        shift = (median - truth.quantile(0.5)) / truth.unit
        unit_error = np.hypot(truth.error(0.25), truth.error(0.75)) / IQR
        errors = own_error, truth.error(0.5), shift * unit_error
        rows.append(Row(method, "median_shift_corrected", target, shift, float(np.linalg.norm(errors)) / truth.unit))
    return rows
