"""Bivariate residuals: what of the association of two columns the classes leave unexplained.

    BVR_ij = sum_ab (n_ab - m_ab)^2 / m_ab / ((C_i - 1) (C_j - 1))

over the levels a of column i and b of column j, with n_ab how often both were seen and m_ab how often that is expected
(Vermunt & Magidson 2016, *Technical Guide for Latent GOLD 5.1*). Within a class the columns are independent by
assumption; a residual well above one speaks against that. Its distribution is not that of a mean square of chi-squares
(Oberski, van Kollenburg & Vermunt 2013, *Advances in Data Analysis and Classification* 7:267-279).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixtures import Fit
from reports.metrics import Row
from reports.metrics.nominal import Nominal, nominal, parameters, probabilities

if TYPE_CHECKING:
    import xarray as xr

# Levels of all columns together beyond which no table of pairs is made, and pairs of which each has a row of its own.
MOST_LEVELS = 2000
MOST_ROWS = 100


def expected_pairs(fit: Fit) -> np.ndarray:
    """Predictive probability of every two levels (L, L): E[sum_k pi_k mu_ka mu_kb], exact for a posterior in closed form.

    Of two levels of one column it has no meaning.
    """
    weights, theta = parameters(fit)
    mu = probabilities(fit.family, theta)
    flat = mu.reshape(-1, mu.shape[-1])
    return (flat * weights.reshape(-1, 1)).T @ flat / len(weights)


def bivariate(x: np.ndarray, levels: Nominal, expected: np.ndarray) -> np.ndarray:
    """The residual of every two columns (J, J), not a number on the diagonal.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Codes; a row in which one of two columns is missing has no part in their residual.
    levels : Nominal
    expected : ndarray, shape (L, L)
        Probabilities of two levels; see `expected_pairs`.
    """
    z, first, degrees = levels.indicators(x), levels.first, np.array(levels.levels) - 1
    observed = z.T @ z
    seen = np.add.reduceat(np.add.reduceat(observed, first, 0), first, 1)
    m = expected * np.repeat(np.repeat(seen, levels.levels, 0), levels.levels, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where((m == 0) & (observed == 0), 0.0, (observed - m) ** 2 / m)
        found = np.add.reduceat(np.add.reduceat(each, first, 0), first, 1) / np.outer(degrees, degrees)
    np.fill_diagonal(found, np.nan)
    return np.where(np.outer(degrees, degrees) > 0, found, np.nan)


def residuals(fit: Fit, x: np.ndarray, features: tuple[str, ...]) -> tuple[list[Row], xr.Dataset] | None:
    """The bivariate residuals of a fit; None where fewer than two columns have levels, or all together too many.

    Parameters
    ----------
    fit : Fit
        A point, a posterior in closed form or draws.
    x : ndarray, shape (N, D)
    features : tuple of str

    Returns
    -------
    rows : list of Row
        ``bvr`` of a pair "a ~ b", the largest first; of many pairs the largest.
    found : Dataset
        ``bvr`` (item, item_).
    """
    import xarray as xr

    levels = nominal(fit.family)
    if not 1 < len(levels.columns) <= sum(levels.levels) <= MOST_LEVELS:
        return None
    bvr = bivariate(x, levels, expected_pairs(fit))
    names = [features[d] for d in levels.columns]
    pairs = [(a, b) for a, b in zip(*np.triu_indices(len(names), 1), strict=True) if not np.isnan(bvr[a, b])]
    worst = sorted(pairs, key=lambda pair: -bvr[pair])[:MOST_ROWS]
    rows = [Row(fit.method, "bvr", f"{names[a]} ~ {names[b]}", float(bvr[a, b])) for a, b in worst]
    return rows, xr.Dataset({"bvr": (("item", "item_"), bvr)}, coords={"item": names, "item_": names})
