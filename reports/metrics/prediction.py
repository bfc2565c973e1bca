"""How well a fit predicts: log predictive densities on the points it saw and on points it did not, and PSIS-LOO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixtures.model import Family
from mixtures.seeds import Rng, generator
from reports.metrics import Row, quality

if TYPE_CHECKING:
    import xarray as xr

# Log likelihoods of draws at points: at most so many numbers are held, and PSIS needs at least so many draws.
LARGEST_LOG_LIKELIHOOD, FEWEST_LOO_DRAWS = 2_000_000, 400

ROUNDING = 1e-12
"""Nats within which the log densities of a point under all draws are equal."""


def log_density(method: str, metric: str, log_p: np.ndarray) -> Row:
    """Mean log predictive density in nats a point, with the standard error over the points (N,)."""
    return Row(method, metric, "data", log_p.mean(), _error(log_p))


def impossible(method: str, metric: str, log_p: np.ndarray) -> list[Row]:
    """How many points have a predictive density of zero, if any: the mean log density is then minus infinity."""
    lost = int(np.isneginf(log_p).sum())
    return [Row(method, metric, "data", float(lost))] if lost else []


def paired_difference(method: str, against: str, metric: str, log_p: np.ndarray, other: np.ndarray) -> Row:
    """Mean difference in nats a point from another method on the same points, with its paired standard error.

    Infinite where points are impossible under one of the two alone, and not a number where some are under both.
    """
    with np.errstate(invalid="ignore"):
        difference = log_p - other
        return Row(method, metric, against, difference.mean(), _error(difference))


def leave_one_out(method: str, tree: xr.DataTree, family: Family, rng: Rng) -> tuple[list[Row], xr.Dataset]:
    """Expected log predictive density by Pareto-smoothed importance sampling (Vehtari, Gelman & Gabry 2017), in nats.

    Only for draws from the posterior itself: the weights 1 / p(x_n | theta) turn p(theta | x) into p(theta | x_-n), and an
    approximation of the one into nothing of use; for that see `approximate_leave_one_out`.

    Parameters
    ----------
    tree : DataTree
        Groups ``posterior`` and ``log_likelihood`` with the same draws, and ``observed_data``.
    family : Family
        Of the clusters.
    rng : numpy.random.Generator or int
        Source of the numbers that spread the transform of a count evenly over its step.

    Returns
    -------
    rows : list of Row
        ``elpd_loo``, ``p_loo``, ``elpd_loo_mcse``, the Monte Carlo error of the first, which its standard error over the points
        leaves out, and ``loo_khat_bad``, the number of points whose k-hat is too large.
    pointwise : Dataset
        ``elpd`` and ``pareto_k`` (obs), and ``pit`` (obs, feature), the leave-one-out probability integral transform of every
        feature whose values have an order.
    """
    rng = generator(rng)
    posterior, x = tree["posterior"].to_dataset(), tree["observed_data"].to_dataset()["x"]
    log_likelihood = tree["log_likelihood"]["x"].transpose("chain", "draw", "obs").values
    rows, pointwise, log_weights = psis(method, log_likelihood, posterior)
    pit = _pit(posterior, log_weights, x.values, family, rng)
    if pit:
        names = x["feature"].values[list(pit)]
        pointwise = pointwise.assign(pit=(("obs", "feature"), np.stack(list(pit.values()), axis=1)), feature=names)
    return rows, pointwise


def psis(method: str, log_likelihood: np.ndarray, posterior: xr.Dataset) -> tuple[list[Row], xr.Dataset, np.ndarray]:
    """Rows and pointwise values of `leave_one_out` but ``pit``, and the log weights (S, N), for any model.

    Parameters
    ----------
    log_likelihood : ndarray, shape (chain, draw, N)
        log p(x_n | theta) in nats.
    posterior : Dataset
        The same draws (chain, draw).
    """
    import xarray as xr

    log_weights, pareto_k = pareto_smoothed(log_likelihood, posterior)
    log_p = log_likelihood.reshape(log_weights.shape)
    S, good_k = len(log_p), quality.limit(len(log_p))
    elpd = weighted(log_weights, log_p)
    p = float((weighted(-np.log(S), log_p) - elpd).sum())
    pointwise = xr.Dataset(
        {"elpd": ("obs", elpd), "pareto_k": ("obs", pareto_k)}, attrs={"p": p, "n_samples": S, "good_k": good_k}
    )
    rows = [
        Row(method, "elpd_loo", "data", elpd.sum(), error_of_sum(elpd)),
        Row(method, "p_loo", "data", p),
        Row(method, "elpd_loo_mcse", "data", _monte_carlo(log_weights, log_likelihood)),
        Row(method, "loo_khat_bad", "data", float((pareto_k > good_k).sum())),
    ]
    return rows, pointwise, log_weights


def approximate_leave_one_out(
    method: str, log_likelihood: np.ndarray, log_ratios: np.ndarray
) -> tuple[list[Row], xr.Dataset]:
    """Leave-one-out of the exact posterior through draws from an approximation q of it, in nats.

    The weights p(x, theta) / q(theta) / p(x_n | theta), Pareto-smoothed, turn draws from q into draws from p(theta | x_-n)
    (Magnusson, Andersen, Jonasson & Vehtari 2019, ICML, section 2). How well q itself predicts is another question.

    Parameters
    ----------
    log_likelihood : ndarray, shape (S, N)
        log p(x_n | theta_s) of independent draws from q.
    log_ratios : ndarray, shape (S,)
        log p(x, theta_s) - log q(theta_s), up to a constant.

    Returns
    -------
    rows : list of Row
        ``elpd_loo_approximate``, ``p_loo_approximate``, which compares it with the density under weights p(x, theta) /
        q(theta), ``elpd_loo_mcse_approximate``, its Monte Carlo error, and ``loo_khat_bad_approximate``, the number of points
        whose k-hat is too large.
    pointwise : Dataset
        ``elpd`` and ``pareto_k`` (obs).
    """
    import xarray as xr
    from arviz_stats.base import array_stats

    # ArviZ's function takes log likelihoods, whose importance weights are their inverses: hence the sign.
    log_weights, pareto_k = array_stats.psislw((log_likelihood - log_ratios[:, None]).T)
    pareto_k = np.where(np.isnan(pareto_k), np.inf, pareto_k)  # of weights that are zero to rounding but for one
    log_weights, good_k = log_weights.T, quality.limit(len(log_ratios))
    elpd = weighted(log_weights, log_likelihood)
    p = float((weighted(quality.smoothed(log_ratios)[0][:, None], log_likelihood) - elpd).sum())
    rows = [
        Row(method, "elpd_loo_approximate", "data", elpd.sum(), error_of_sum(elpd)),
        Row(method, "p_loo_approximate", "data", p),
        Row(method, "elpd_loo_mcse_approximate", "data", _monte_carlo(log_weights, log_likelihood[None])),
        Row(method, "loo_khat_bad_approximate", "data", float((pareto_k > good_k).sum())),
    ]
    attrs = {"p": p, "n_samples": len(log_ratios), "good_k": good_k}
    return rows, xr.Dataset({"elpd": ("obs", elpd), "pareto_k": ("obs", pareto_k)}, attrs=attrs)


def error_of_sum(elpd: np.ndarray) -> float:
    """Standard error of the sum of scores (N,) as over other points; missing of a single one."""
    return float(np.sqrt(elpd.size) * elpd.std(ddof=1)) if elpd.size > 1 else np.nan


def pareto_smoothed(log_likelihood: np.ndarray, posterior: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Log weights (S, N) proportional to 1 / p(x_n | theta_s), smoothed and normalised, and Pareto k-hat of every point (N,).

    Of a point that says nothing, such as a row without any value, all weights are equal, and k-hat is minus infinity.

    Parameters
    ----------
    log_likelihood : ndarray, shape (chain, draw, N)
    posterior : Dataset
        The same draws (chain, draw): how many of them are effective, on average over its variables, sets the tail's size.
    """
    import arviz_stats
    from arviz_stats.base import array_stats

    chains, draws, N = log_likelihood.shape
    r_eff = 1.0
    if chains > 1:
        ess = arviz_stats.ess(posterior, method="mean")
        r_eff = np.concatenate([v.values.ravel() for v in ess.data_vars.values()]).mean() / (chains * draws)
    log_p = log_likelihood.reshape(-1, N)
    equal = np.ptp(log_p, axis=0) < ROUNDING
    log_weights, pareto_k = np.full_like(log_p, -np.log(len(log_p))), np.full(N, -np.inf)
    if not equal.all():
        smooth, pareto_k[~equal] = array_stats.psislw(log_p[:, ~equal].T, r_eff=r_eff)
        log_weights[:, ~equal] = smooth.T
    return log_weights, pareto_k


def weighted(log_weights: np.ndarray | float, log_p: np.ndarray) -> np.ndarray:
    """Log density of every point (N,) under draws (S, N) of weights (S, N), or the same for all points (S, 1)."""
    from scipy.special import logsumexp

    return logsumexp(log_weights + log_p, axis=0)


def refitted(method: str, elpd: np.ndarray, log_density: np.ndarray, late: int = 0) -> tuple[list[Row], xr.Dataset]:
    """Leave-one-out of a method's own predictive density, from log densities fitted without (N,) and with (N,) each point.

    Returns
    -------
    rows : list of Row
        ``elpd_loo_refitted``, ``p_loo_refitted`` and ``loo_refits_late``, how many of the fits had not converged.
    pointwise : Dataset
        ``elpd`` (obs).
    """
    import xarray as xr

    p = float(log_density.sum() - elpd.sum())
    rows = [
        Row(method, "elpd_loo_refitted", "data", elpd.sum(), error_of_sum(elpd)),
        Row(method, "p_loo_refitted", "data", p),
        Row(method, "loo_refits_late", "data", late),
    ]
    return rows, xr.Dataset({"elpd": ("obs", elpd)}, attrs={"p": p, "n_samples": 1, "good_k": 0.7})


def _monte_carlo(log_weights: np.ndarray, log_likelihood: np.ndarray) -> float:
    """Monte Carlo error of sum_n log sum_s w_sn p_sn, from log weights (S, N) and log p (chain, draw, N), S = chain * draw.

    By the delta method: one more draw in the place of s moves the sum by its share of the weighted p less its weight.
    """
    from arviz_stats.base import array_stats
    from scipy.special import softmax

    chains, draws, N = log_likelihood.shape
    influence = (softmax(log_weights + log_likelihood.reshape(-1, N), axis=0) - np.exp(log_weights)).sum(1)
    return float(array_stats.mcse(chains * draws * influence.reshape(chains, draws), method="mean"))


def _pit(
    posterior: xr.Dataset, log_weights: np.ndarray, x: np.ndarray, family: Family, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """P(replicate <= x_n | all points but n) of every feature in order (N,), from leave-one-out weights (S, N).

    The distribution function of each feature's mixture stands in for simulated replicates. A count's is drawn evenly between
    those below and at it, and so uniform too under the true model (Czado, Gneiting & Held 2009, *Biometrics* 65:1254-1261).
    """
    from scipy.special import softmax

    draws = posterior.stack(s=("chain", "draw")).transpose("s", "cluster", ...)
    weights, theta = draws["weights"].values, {name: draws[name].values for name in family.dims}
    loo = softmax(log_weights, axis=0)
    found: dict[int, np.ndarray] = {}
    for d in range(x.shape[1]):
        ends = np.zeros((2, len(x)))
        for k in range(weights.shape[1]):
            below = family.cumulative({name: v[:, [k]] for name, v in theta.items()}, x, d)
            if below is None:
                break
            ends += [(loo * weights[:, [k]] * each[:, 0]).sum(0) for each in below]
        else:
            low, high = ends
            found[d] = np.clip(low + (high - low) * (rng.random(len(x)) if (high > low).any() else 0), 0, 1)
    return found


def _error(values: np.ndarray) -> float:
    known = len(values) > 1 and bool(np.isfinite(values).all())
    return float(values.std(ddof=1) / np.sqrt(len(values))) if known else np.nan
