"""How far a posterior is from the reference: parameter by parameter, and in quantities that need no labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mixtures import Conjugate, Fit
from mixtures.engines.responsibilities import normalise_draws
from reports.metrics import Row

if TYPE_CHECKING:
    import xarray as xr

# The worst of each metric over the parameters stands under the target "all".
WORST: dict[str, Callable[[float], float]] = {
    "mean_shift": abs,
    "sd_ratio": lambda ratio: abs(np.log(ratio)),
    "coverage95": lambda coverage: abs(coverage - 0.95),
    "wasserstein": abs,
    "wasserstein_floor": abs,
    "mean_shift_corrected": abs,
}

# Pairs of parameters that are named, and scalars above which only weights and means are paired.
NAMED_PAIRS = 5
MOST_PAIRED = 2000


def scalars(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Every distinct scalar parameter by name, each (chain, draw).

    What cannot vary, like a single weight or a covariance of independent features, and what repeats another, like the
    matrices of clusters that share one, is left out.
    """
    found: dict[str, np.ndarray] = {}
    for name, variable in posterior.data_vars.items():
        for index in np.ndindex(*variable.shape[2:]):
            if (name == "covariances" and index[1] > index[2]) or (name == "weights" and variable.shape[2] == 1):
                continue
            labels = [str(posterior[dim].values[i]) for dim, i in zip(variable.dims[2:], index, strict=True)]
            values = variable.values[(..., *index)]
            if name == "covariances" and (not values.any() or any(np.array_equal(values, v) for v in found.values())):
                continue
            found[f"{name}[{', '.join(labels)}]"] = values
    return found


def posterior_agreement(method: str, posterior: xr.Dataset, reference: xr.Dataset) -> list[Row]:
    """Shift, spread, coverage and distance of every scalar parameter from the reference's.

    ``mean_shift`` is the difference of the posterior means in reference sds, ``sd_ratio`` the ratio of the posterior sds,
    ``coverage95`` the probability under the reference of the method's central 95% interval, and ``wasserstein`` the
    Wasserstein-1 distance in reference sds, to be read beside ``wasserstein_floor``, that between two halves of the
    reference. A point estimate has only the first. Standard errors follow from the effective sample sizes.
    """
    from arviz_stats.base import array_stats
    from scipy.stats import wasserstein_distance

    def mcse(values: np.ndarray, of: str) -> float:
        return float(array_stats.mcse(values, method=of))

    rows: list[Row] = []
    own = scalars(posterior)
    for target, truth in scalars(reference).items():
        values, sd = own[target], truth.std()
        shift = (values.mean() - truth.mean()) / sd
        relative = shift * mcse(truth, "sd") / sd
        if values.size == 1:
            rows.append(Row(method, "mean_shift", target, shift, np.hypot(mcse(truth, "mean") / sd, relative)))
            continue
        ratio = values.std() / sd
        ratio_error = ratio * np.hypot(mcse(values, "sd") / values.std(), mcse(truth, "sd") / sd)
        low, high = np.quantile(values, [0.025, 0.975])
        inside = (truth >= low) & (truth <= high)
        coverage = inside.mean()
        # The indicator's own error, and that of the method's quantiles, each of which moves 2.5% of its draws.
        own_error = np.sqrt(2 * 0.025 * 0.95 / float(array_stats.ess(values)))
        coverage_error = np.hypot(np.sqrt(coverage * (1 - coverage) / float(array_stats.ess(truth))), own_error)
        floor = wasserstein_distance(*(half.ravel() for half in halves(truth))) / sd
        rows += [
            Row(
                method,
                "mean_shift",
                target,
                shift,
                np.hypot(np.hypot(mcse(values, "mean"), mcse(truth, "mean")) / sd, relative),
            ),
            Row(method, "sd_ratio", target, ratio, ratio_error),
            Row(method, "coverage95", target, coverage, coverage_error),
            Row(method, "wasserstein", target, wasserstein_distance(values.ravel(), truth.ravel()) / sd),
            Row(method, "wasserstein_floor", target, floor),
        ]
    return rows + worst(rows)


def worst(rows: list[Row]) -> list[Row]:
    """The row of each metric that is furthest from ideal, under the target "all"."""
    by_metric = {metric: [row for row in rows if row.metric == metric] for metric in WORST}
    extremes = [max(those, key=lambda row: WORST[row.metric](row.value)) for those in by_metric.values() if those]
    return [row._replace(target="all") for row in extremes]


def lost_correlations(method: str, posterior: xr.Dataset, reference: xr.Dataset) -> list[Row]:
    """Rank correlations between scalar parameters, less the reference's: what a factorised posterior cannot have.

    Of ranks (Spearman), because a nearly empty cluster's covariances have the tails of their prior, which need not have a
    variance.

    ``correlation_error`` is the difference for the five pairs that differ most, the largest again under the target "all", and
    ``correlation_reference`` the reference's own correlation of these pairs. ``correlation_floor`` is the largest difference
    over all pairs between two halves of the reference. Standard errors are (1 - r^2) / sqrt(ESS), those of normal draws.
    The last weight is left out, since the weights add up to one.
    """
    from arviz_stats.base import array_stats
    from scipy.stats import rankdata

    own, truth = scalars(posterior), scalars(reference)
    weights = [name for name in truth if name.startswith("weights")]
    names = [name for name in truth if name not in weights[-1:] and truth[name].std() > 0 and own[name].std() > 0]
    if len(names) > MOST_PAIRED:
        names = [name for name in names if not name.startswith("covariances")]
    if len(names) < 2 or own[names[0]].size == 1:
        return []

    def correlation(draws: list[np.ndarray]) -> np.ndarray:
        return np.corrcoef([rankdata(values) for values in draws])[np.triu_indices(len(names), 1)]

    def error(r: float, values: tuple[np.ndarray, np.ndarray]) -> float:
        return float((1 - r**2) / np.sqrt(min(float(array_stats.ess(v)) for v in values)))

    r, r_reference = correlation([own[name] for name in names]), correlation([truth[name] for name in names])
    first, second = (correlation([halves(truth[name])[side] for name in names]) for side in (0, 1))
    rows = []
    for pair in np.argsort(-np.abs(r - r_reference), kind="stable")[:NAMED_PAIRS]:
        a, b = (names[places[pair]] for places in np.triu_indices(len(names), 1))
        se_reference = error(r_reference[pair], (truth[a], truth[b]))
        se = np.hypot(error(r[pair], (own[a], own[b])), se_reference)
        rows += [
            Row(method, "correlation_error", f"{a} ~ {b}", r[pair] - r_reference[pair], se),
            Row(method, "correlation_reference", f"{a} ~ {b}", r_reference[pair], se_reference),
        ]
    return [
        *rows,
        rows[0]._replace(target="all"),
        Row(method, "correlation_floor", "all", np.abs(first - second).max()),
    ]


def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws (chain, draw) in two: the even chains and the odd ones, or the first and the second half of a single chain."""
    if len(values) > 1:
        return values[::2], values[1::2]
    return values[:, : values.shape[1] // 2], values[:, values.shape[1] // 2 :]


def predictive_divergence(method: str, log_p: np.ndarray, reference: np.ndarray) -> Row:
    """Kullback-Leibler divergence of the predictive density from the reference's, in nats an observation.

    Parameters
    ----------
    log_p, reference : ndarray, shape (n,)
        Both log densities at draws from the reference's.
    """
    gap = reference - log_p
    return Row(method, "predictive_kl", "data", gap.mean(), gap.std(ddof=1) / np.sqrt(len(gap)))


def per_draw(fit: Fit, x: np.ndarray) -> np.ndarray:
    """Responsibilities under every held draw, shape (S, N, K)."""
    return np.concatenate([normalise_draws(block)[1] for _, block in fit.log_rho(x)], axis=1)


def coclustering(r: np.ndarray) -> np.ndarray:
    """Posterior probability that two points share a cluster, shape (N, N), from responsibilities (S, N, K)."""
    S, N, K = r.shape
    flat = r.transpose(1, 0, 2).reshape(N, S * K)
    together = flat @ flat.T / S
    np.fill_diagonal(together, 1.0)
    return together


def coclustering_error(method: str, together: np.ndarray, reference: np.ndarray) -> Row:
    """Mean absolute difference of two co-clustering matrices over pairs of distinct points."""
    pairs = np.triu_indices(len(together), 1)
    return Row(method, "coclustering_error", "data", np.abs(together - reference)[pairs].mean())


def occupied(method: str, fit: Fit, x: np.ndarray) -> Row:
    """Expected number of clusters that hold at least one of the points: over q(z) of a closed form, over draws otherwise."""
    closed = isinstance(fit.posterior, Conjugate)
    blocks = [fit.responsibilities(x)[None]] if closed else [normalise_draws(block)[1] for _, block in fit.log_rho(x)]
    with np.errstate(divide="ignore"):
        log_empty = sum(np.log1p(-np.minimum(r, 1.0)).sum(1) for r in blocks)
    return Row(method, "occupied", "data", (1 - np.exp(log_empty)).sum(1).mean())
