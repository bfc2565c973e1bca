"""Whether ranks are uniform: of chains among all draws, and of points in their leave-one-out predictions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr

LEVEL = 0.99
"""Probability with which all lines of a panel lie in its band, where nothing is wrong."""

SIMULATIONS = 1000

RANKED = 100
"""Draws of a chain that are ranked at most; at least `FEWEST`."""
FEWEST = 20

GRID = 199
"""Values at which the band of leave-one-out probability integral transforms is worked out."""

ROUNDING = 1e-9

Band = tuple[np.ndarray, np.ndarray, np.ndarray]


def ranks(draws: xr.Dataset) -> xr.Dataset:
    """Return the ECDF of every chain's ranks among all draws, less the rank, and the band of exchangeable chains.

    Of each chain about as many draws are ranked as are effective in the chain that mixes least, evenly spaced, since the band
    is that of independent draws (Säilynoja, Bürkner & Vehtari 2022, *Statistics and Computing* 32:32, section 3).

    Parameters
    ----------
    draws
        Scalar variables (chain, draw).

    Returns
    -------
    Dataset
        `difference` (parameter, chain, rank); `low` and `high` (rank); attribute `draws`, those ranked of each chain.
    """
    from arviz_stats.base import array_stats

    values = draws.to_array("parameter").transpose("parameter", "chain", "draw").values
    _, chains, length = values.shape
    alone = values[:, :, None]
    bulk, tail = (array_stats.ess(alone, method=of, prob=prob) for of, prob in (("bulk", None), ("tail", 0.9)))
    kept = int(np.clip(np.minimum(bulk, tail).min(), min(length, FEWEST), min(length, RANKED)))
    values = values[..., np.linspace(0, length, kept, endpoint=False).astype(int)]
    rank, low, high = _band(kept, chains)
    relative = np.sort(array_stats.compute_ranks(values, axis=(-2, -1), relative=True), axis=-1)
    below = (relative[..., None] <= rank).mean(-2)
    return xr.Dataset(
        {"difference": (("parameter", "chain", "rank"), below - rank), "low": ("rank", low), "high": ("rank", high)},
        coords={"parameter": list(draws.data_vars), "rank": rank},
        attrs={"draws": kept},
    )


def astray(ranks: xr.Dataset) -> list[str]:
    """Return the parameters of which a chain leaves the band."""
    difference, low, high = (ranks[name] for name in ("difference", "low", "high"))
    left = (difference < low - ROUNDING) | (difference > high + ROUNDING)
    return [str(name) for name in ranks["parameter"].values[left.any(("chain", "rank")).values]]


@lru_cache
def _band(draws: int, chains: int) -> Band:
    """Ranks, and the lowest and highest ECDF less the rank of any of so many chains.

    At every rank the same quantiles of the hypergeometric distribution of a chain's draws up to there; which, is simulated.
    """
    from scipy.stats import hypergeom

    rng, rank = np.random.default_rng(0), np.arange(draws + 1) / draws
    counts = np.arange(draws + 1)
    below = hypergeom.cdf(
        counts, draws * chains, draws, chains * counts[1:, None]
    )  # (rank, count), from the first rank on
    above = np.concatenate([np.ones((draws, 1)), 1 - below[:, :-1]], axis=1)
    smallest = []
    for _ in range(SIMULATIONS):
        chain = rng.permutation(np.repeat(np.arange(chains), draws))
        found = (chain[:, None] == np.arange(chains)).cumsum(0)[chains - 1 :: chains]
        smallest.append(min(np.take_along_axis(tail, found, 1).min() for tail in (below, above)))
    level = np.quantile(smallest, 1 - LEVEL)
    low, high = (below < level).sum(1), (above >= level).sum(1) - 1
    return rank, np.append(0, low) / draws - rank, np.append(0, high) / draws - rank


@lru_cache
def pit_band(points: int) -> Band:
    """Return values in [0, 1], and the lowest and highest ECDF there of so many uniform numbers, less the value."""
    from reports.studies.calibration.judgement import Band as Uniform

    uniform = Uniform.of(points, GRID, np.random.default_rng(0))
    low, high = uniform.limits(1 - LEVEL)
    return uniform.z, low - uniform.z, high - uniform.z


def outside(pit: xr.DataArray, band: Band) -> list[str]:
    """Return the features of which values (obs, feature) in [0, 1] have an ECDF that leaves the band."""
    z, low, high = band
    ecdf = (pit.transpose("feature", "obs").values[..., None] <= z).mean(1)
    left = (ecdf - z < low - ROUNDING) | (ecdf - z > high + ROUNDING)
    return [str(feature) for feature in pit["feature"].values[left.any(1)]]
