"""A posterior in tables: every parameter with its interval and Monte Carlo error, and every cluster with its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.metrics.agreement import Marginal
from reports.metrics.parameters import KINDS, by_feature, natural
from reports.metrics.quality import moments

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

INTERVAL = 0.05, 0.95


def parameters(posterior: xr.Dataset, khat: Mapping[str, float], *, independent: bool) -> pd.DataFrame:
    """Location, spread and Monte Carlo errors of every distinct, free parameter, in the units of the data.

    Parameters
    ----------
    posterior : Dataset
        ``weights`` and the clusters' parameters (chain, draw, cluster, ...), of more than one draw.
    khat : mapping
        Parameter -> Pareto k-hat of its draws, which says whether its mean and its sd exist.
    independent : bool
        Whether the draws are independent.

    Returns
    -------
    DataFrame
        Indexed by parameter, weights first: ``median``, ``low`` and ``high`` (ends of the central 90% interval), ``mean`` and
        ``sd`` (missing where they do not exist), and the Monte Carlo error of each, as ``median_se``.
    """
    import pandas as pd

    kinds, drawn, found = list(KINDS), natural(posterior), {}
    for name in sorted(drawn, key=lambda name: kinds.index(name.partition("[")[0])):
        values = drawn[name]
        draws = Marginal(values, independent)
        row: dict[str, float] = {}
        for key, p in {"low": INTERVAL[0], "median": 0.5, "high": INTERVAL[1]}.items():
            row |= {key: draws.quantile(p), f"{key}_se": draws.error(p)}
        for key, exists in zip(("mean", "sd"), moments(name, khat.get(name), values.size), strict=True):
            of = _mean(values, independent) if key == "mean" else _sd(values, independent)
            row |= dict(zip((key, f"{key}_se"), of if exists else (np.nan, np.nan), strict=True))
        found[name] = row
    return pd.DataFrame.from_dict(found, orient="index")


def _mean(values: np.ndarray, independent: bool) -> tuple[float, float]:
    """The mean of draws (chain, draw) and its Monte Carlo error."""
    from arviz_stats.base import array_stats

    if independent:
        return values.mean(), values.std(ddof=1) / np.sqrt(values.size)
    return values.mean(), float(array_stats.mcse(values, method="mean"))


def _sd(values: np.ndarray, independent: bool) -> tuple[float, float]:
    """The sd of draws (chain, draw) and its Monte Carlo error, by the delta method from that of the mean square."""
    from arviz_stats.base import array_stats

    sd = values.std(ddof=1)
    if independent:
        return sd, ((values - values.mean()) ** 2).std() / (2 * sd * np.sqrt(values.size)) if sd > 0 else 0.0
    return sd, float(array_stats.mcse(values, method="sd"))


def clusters(posterior: xr.Dataset, responsibilities: xr.DataArray) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    """Size and weight of every cluster, and what it says of every feature.

    Parameters
    ----------
    posterior : Dataset
        As in `parameters`; a single draw is a point estimate.
    responsibilities : DataArray
        (obs, cluster).

    Returns
    -------
    sizes : Dataset
        ``size`` (cluster), the sum of the responsibilities, ``members`` (cluster), the points that belong there most probably,
        and ``weight`` (quantile, cluster): median and central 90% interval, missing for a point estimate.
    by_feature : dict of Dataset
        By feature, the quantiles (quantile, cluster) of what `reports.metrics.parameters.by_feature` says of it.
    """
    import xarray as xr

    quantiles = [INTERVAL[0], 0.5, INTERVAL[1]]
    point = posterior.sizes["chain"] * posterior.sizes["draw"] == 1

    def summarised(drawn: xr.Dataset) -> xr.Dataset:
        found = drawn.quantile(quantiles, ("chain", "draw"))
        return found.where(found["quantile"] == 0.5) if point else found

    r = responsibilities.transpose("obs", "cluster").values
    members = np.bincount(r.argmax(1), minlength=r.shape[1])
    sizes = summarised(xr.Dataset({"weight": posterior["weights"]}))
    sizes = sizes.assign(size=("cluster", r.sum(0)), members=("cluster", members))
    return sizes, {feature: summarised(drawn) for feature, drawn in by_feature(posterior).items()}
