"""A posterior in tables: every parameter with its interval and Monte Carlo error, and every cluster with its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.metrics.agreement import Marginal
from reports.metrics.parameters import KINDS, natural
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
        ``weights``, ``means`` and ``covariances`` (chain, draw, cluster, ...), of more than one draw.
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


def clusters(posterior: xr.Dataset, responsibilities: xr.DataArray) -> xr.Dataset:
    """Size, weight, location and spread of every cluster.

    Parameters
    ----------
    posterior : Dataset
        As in `parameters`; a single draw is a point estimate.
    responsibilities : DataArray
        (obs, cluster).

    Returns
    -------
    Dataset
        ``size`` (cluster), the sum of the responsibilities, and ``members`` (cluster), the points that belong there most
        probably; ``weight`` (quantile, cluster), ``location`` and ``spread``, the sd of a cluster's points,
        (quantile, cluster, feature): median and central 90% interval, missing for a point estimate.
    """
    import xarray as xr

    weights = posterior["weights"].transpose("chain", "draw", "cluster")
    covariances = posterior["covariances"].transpose("chain", "draw", "cluster", "feature", "feature_")
    means = posterior["means"].transpose("chain", "draw", "cluster", "feature")
    sds = means.copy(data=np.sqrt(np.diagonal(covariances.values, axis1=-2, axis2=-1)))
    r = responsibilities.transpose("obs", "cluster").values
    drawn = xr.Dataset({"weight": weights, "location": means, "spread": sds})
    found = drawn.quantile([INTERVAL[0], 0.5, INTERVAL[1]], ("chain", "draw"))
    if weights.isel(cluster=0).size == 1:
        found = found.where(found["quantile"] == 0.5)
    return found.assign(size=("cluster", r.sum(0)), members=("cluster", np.bincount(r.argmax(1), minlength=r.shape[1])))
