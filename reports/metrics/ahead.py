"""What a fit of sequences says of a row given those before it: predictive densities, scores and pseudo-residuals.

    p(x_t | x_1 .. x_(t-1), theta) = sum_k P(z_t = k | x_1 .. x_(t-1), theta) p(x_t | theta_k)

Where the rows are among the data of the fit all of its draws weigh the same.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from mixtures import Draws
from mixtures.engines.responsibilities import log_sum, log_sum_draws
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator
from mixtures.sequences import SequenceFit
from reports.metrics import Row

if TYPE_CHECKING:
    import xarray as xr

# Draws over which pseudo-residuals are averaged, and lags of their autocorrelations.
AVERAGED, LAGS = 400, 20

# Total variation between densities of the next row that is small: probabilities of events differ by no more.
LIMIT = 0.05

# A pseudo-residual further from zero is shown as this.
FARTHEST = 8.0


def subset(fit: SequenceFit, some: slice | np.ndarray) -> SequenceFit:
    """The fit with some of its draws, counted through its chains, as one chain."""
    weights, theta = fit.held.flat()
    own = Draws(weights[None, some], {name: v[None, some] for name, v in theta.items()})
    return replace(fit, posterior=own)


def points(fit: SequenceFit, x: Sequences, n: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) picked at random, and of each a point (n, D) drawn from its predictive distribution given those before it.

    The same random numbers pick the same rows, and the same draws where there are as many.
    """
    rng = generator(rng)
    at = np.sort(rng.integers(len(x), size=n))
    u, weights = rng.random((2, n)), fit.held.flat()[0]
    draw = np.minimum((u[0] * len(weights)).astype(int), len(weights) - 1)
    z = np.empty(n, dtype=int)
    for some, p in fit.each_predicted(x):
        own = np.flatnonzero((draw >= some.start) & (draw < some.stop))
        reached = np.cumsum(p[draw[own] - some.start, at[own]], axis=1)[:, :-1]
        z[own] = (u[1, own, None] > reached).sum(1)
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in fit.held.flat()[1].items()}
    return at, fit.family.simulate(flat, z + fit.n_components * draw, rng)


def log_densities(fit: SequenceFit, x: Sequences, at: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log p(x_t = y | x_1 .. x_(t-1), theta) of points y (n, D) at rows t (n,) under every held draw, (chain, draw, n)."""
    found = []
    for some, p in fit.each_predicted(x):
        log_p = np.concatenate([block for _, block in subset(fit, some).log_density(y)], axis=1)
        with np.errstate(divide="ignore"):
            found.append(log_sum_draws(np.log(p[:, at]) + log_p))
    return np.concatenate(found).reshape(*fit.held.weights.shape[:2], len(y))


def train(fit: SequenceFit, x: Sequences) -> np.ndarray:
    """Log of the mean over draws of p(x_t | x_1 .. x_(t-1), theta), (N,)."""
    steps = fit.log_steps(x).reshape(-1, len(x))
    return log_sum(steps.T) - np.log(len(steps))


def heldout(fit: SequenceFit, whole: Sequences, lengths: tuple[int, ...]) -> np.ndarray:
    """log p(x_t | x_1 .. x_(t-1), data) of the last so many rows of every sequence, one after another, (n,).

    Draws are weighed by the rows held out before, so that the sum over a sequence is the log density of all of them together.
    """
    steps = fit.log_steps(whole).reshape(-1, len(whole))
    found = []
    for rows, n in zip(whole.slices(), lengths, strict=True):
        reached = log_sum(np.cumsum(steps[:, rows.stop - n : rows.stop], axis=1).T) - np.log(len(steps))
        found.append(np.diff(reached, prepend=0.0))
    return np.concatenate(found)


def uniform(fit: SequenceFit, x: Sequences, rng: Rng) -> np.ndarray:
    """P(X_t <= x_t | x_1 .. x_(t-1)) of every feature in order, averaged over draws, (N, D); not a number of the others.

    A count's is drawn evenly between the probabilities of less and of no more (Czado, Gneiting & Held 2009, *Biometrics*
    65:1254-1261); of what is missing there is none.
    """
    rng = generator(rng)
    S = fit.held.size
    fit = subset(fit, np.linspace(0, S, min(S, AVERAGED), endpoint=False).astype(int))
    theta = fit.family.to_data(fit.held.flat()[1])
    N, D = x.shape
    ends = np.zeros((2, N, D))
    for some, p in fit.each_predicted(x):
        own = {name: v[some] for name, v in theta.items()}
        for d in range(D):
            each = fit.family.cumulative(own, x.x, d)
            ends[:, :, d] += np.nan if each is None else [(p * F.swapaxes(-1, -2)).sum((0, 2)) for F in each]
    low, high = ends / fit.held.size
    return np.where(np.isnan(x.x), np.nan, low + (high - low) * rng.random((N, D)))


def pseudo_residuals(
    fit: SequenceFit, x: Sequences, features: tuple[str, ...], rng: Rng
) -> tuple[list[Row], xr.Dataset] | None:
    """Forecast pseudo-residuals and their autocorrelations; None where no feature has an order.

    The normal quantile of `uniform`: standard normal and independent of each other where the model is right (Zucchini,
    MacDonald & Langrock 2016, section 6.2.3).

    Returns
    -------
    rows : list of Row
        ``pseudo_mean`` and ``pseudo_sd`` by feature, with standard errors for independent normal ones, and ``pseudo_acf`` of
        "feature, lag l", the standard error that of no autocorrelation.
    found : Dataset
        ``z`` (obs, feature) and ``acf`` (lag, feature).
    """
    import xarray as xr

    rng = generator(rng)
    u = uniform(fit, x, rng)
    ordered = np.flatnonzero(~np.isnan(u).all(0))
    if not len(ordered):
        return None
    z = np.clip(ndtri(u[:, ordered]), -FARTHEST, FARTHEST)
    names = [features[d] for d in ordered]
    lags = np.arange(1, 1 + min(LAGS, int(x.lengths.max()) - 2))
    acf = np.array([autocorrelation(z.T, x.edges, int(lag)) for lag in lags]).reshape(len(lags), len(names))
    rows = []
    for j, name in enumerate(names):
        own = z[~np.isnan(z[:, j]), j]
        n = len(own)
        rows += [
            Row(fit.method, "pseudo_mean", name, float(own.mean()), 1 / np.sqrt(n)),
            Row(fit.method, "pseudo_sd", name, float(own.std()), 1 / np.sqrt(2 * n)),
            *(
                Row(fit.method, "pseudo_acf", f"{name}, lag {lag}", float(v), 1 / np.sqrt(n))
                for lag, v in zip(lags, acf[:, j], strict=True)
            ),
        ]
    found = xr.Dataset(
        {"z": (("obs", "feature"), z), "acf": (("lag", "feature"), acf)}, coords={"feature": names, "lag": lags}
    )
    return rows, found


def autocorrelation(y: np.ndarray, edges: np.ndarray, lag: int) -> np.ndarray:
    """Autocorrelation of series y (..., N) within sequences, of pairs both seen, (...); zero of what does not vary.

    Mean product of deviations from the overall mean over the variance.
    """
    centred = y - np.nanmean(y, axis=-1, keepdims=True)
    pairs = np.concatenate([np.arange(a, max(a, b - lag)) for a, b in pairwise(edges)])
    if not len(pairs):
        return np.full(y.shape[:-1], np.nan)
    products = centred[..., pairs] * centred[..., pairs + lag]
    variance = np.nanmean(centred**2, axis=-1)
    return np.where(variance > 0, np.nanmean(products, axis=-1) / np.where(variance > 0, variance, 1), 0.0)
