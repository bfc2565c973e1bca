"""What clusters say of every feature, in one table for columns of all kinds: the profiles that latent class analysis draws.

A number has its mean, a count its rate, a column of two levels the probability of the second, one of more levels that of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

QUANTILES = 0.05, 0.5, 0.95

PROBABILITY, RATE, MEAN = "probability", "rate", "mean"


class Entry(NamedTuple):
    """A row of a profile: of which feature, the name of the level that has this probability, and what the number is."""

    feature: str
    level: str
    what: str

    @property
    def label(self) -> str:
        """What stands beside the row."""
        return f"{self.feature}: {self.level}" if self.level else self.feature


def profile(posterior: xr.Dataset, features: Sequence[str], levels: Mapping[str, Sequence[str]]) -> xr.Dataset:
    """Median and central 90% interval of what each cluster says of every feature.

    Parameters
    ----------
    posterior : Dataset
        ``means``, ``rates`` and ``probabilities`` (chain, draw, cluster, feature[, level]), as far as there are any, with the
        names of the features as coordinates.
    features : sequence of str
        All features, in the order of the rows.
    levels : mapping
        Feature -> the names of its levels, in the order of their codes.

    Returns
    -------
    Dataset
        ``value`` (quantile, entry, cluster), whose ends are missing for a single draw; ``feature``, ``level``, ``what`` and
        ``label`` (entry), which leaves out a level that all share.
    """
    import xarray as xr

    found = dict(_entries(posterior, levels))
    ordered = sorted(found, key=lambda entry: features.index(entry.feature))
    coded_alike = len({entry.level for entry in ordered}) == 1
    draws = np.stack([found[entry] for entry in ordered])
    value = np.quantile(draws, QUANTILES, axis=1)
    if draws.shape[1] == 1:
        value[[0, 2]] = np.nan
    text = {name: ("entry", [getattr(entry, name) for entry in ordered]) for name in Entry._fields}
    labels = [entry.feature if coded_alike else entry.label for entry in ordered]
    return xr.Dataset(
        {"value": (("quantile", "entry", "cluster"), value), "label": ("entry", labels), **text},
        coords={"quantile": list(QUANTILES), "cluster": posterior["cluster"].values},
    )


def _entries(posterior: xr.Dataset, levels: Mapping[str, Sequence[str]]) -> Iterator[tuple[Entry, np.ndarray]]:
    """Every row of a profile with its draws (S, K)."""
    for name, what in (("means", MEAN), ("rates", RATE), ("probabilities", PROBABILITY)):
        if name not in posterior:
            continue
        variable = posterior[name].transpose("chain", "draw", "cluster", ...)
        values = variable.values.reshape(-1, *variable.shape[2:])
        for d, feature in enumerate(map(str, variable[variable.dims[3]].values)):
            if what != PROBABILITY:
                yield Entry(feature, "", what), values[:, :, d]
                continue
            own = list(levels[feature])
            if values.ndim == 3:
                yield Entry(feature, own[1], what), values[:, :, d]
            else:
                for c in range(1 if len(own) == 2 else 0, len(own)):
                    yield Entry(feature, own[c], what), values[:, :, d, c]


def as_posterior(theta: Mapping[str, np.ndarray], kinds: Mapping[str, str]) -> xr.Dataset:
    """Parameters of clusters (K, ...), in the units of x, as the single draw that `profile` takes.

    Parameters
    ----------
    theta : mapping
        As families name them.
    kinds : mapping
        Feature -> what it holds, one of `mixtures.tables.KINDS`.
    """
    import xarray as xr

    holds = {"means": ("gaussian",), "rates": ("poisson",), "probabilities": ("bernoulli", "categorical")}
    variables, coords = {}, {}
    for name in (name for name in holds if name in theta):
        dims = ("chain", "draw", "cluster", f"{name}_feature", "level")[: theta[name].ndim + 2]
        variables[name] = (dims, np.asarray(theta[name])[None, None])
        coords[f"{name}_feature"] = [feature for feature, kind in kinds.items() if kind in holds[name]]
    return xr.Dataset(variables, coords=coords).assign_coords(cluster=range(len(next(iter(theta.values())))))


def standard(
    of: xr.Dataset, x: np.ndarray, features: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> xr.DataArray:
    """The medians of a profile (entry, cluster), less the mean of all rows and over their sd; 0 where these do not vary.

    Of levels these are the mean and the sd of an indicator. Missing values are left out.
    """
    median = of["value"].sel(quantile=0.5)
    columns = np.stack([_column(entry, x, features, levels) for entry in entries(of)])
    centre, sd = np.nanmean(columns, axis=1), np.nanstd(columns, axis=1)
    scaled = (median.values - centre[:, None]) / np.where(sd > 0, sd, np.inf)[:, None]
    return median.copy(data=scaled)


def entries(of: xr.Dataset) -> list[Entry]:
    """The rows of a profile."""
    return [Entry(*map(str, row)) for row in zip(*(of[name].values for name in Entry._fields), strict=True)]


def _column(entry: Entry, x: np.ndarray, features: Sequence[str], levels: Mapping[str, Sequence[str]]) -> np.ndarray:
    own: Any = x[:, features.index(entry.feature)]
    if entry.what != PROBABILITY:
        return own
    code = list(levels[entry.feature]).index(entry.level)
    return np.where(np.isnan(own), np.nan, own == code)


def separation(scaled: xr.DataArray, feature: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    """How far the clusters lie apart in every feature: the variance of `standard` over clusters, of levels their sum.

    For two levels that is the share of a column's variance between clusters (the correlation ratio).
    """
    w = weights / weights.sum()
    values = scaled.transpose("entry", "cluster").values
    between = ((values - values @ w[:, None]) ** 2) @ w
    found: dict[str, float] = {}
    for name, own in zip(feature, between, strict=True):
        found[str(name)] = found.get(str(name), 0.0) + float(own)
    return found
