"""Draws made from exact ones: chains that are right, and draws with a defect of known size that the verdict has to find.

Parameters are spoiled one a block, which is harder to find than all of them: the first weight, a location and a variance, on
the scales on which they are compared. The other two claims are spoiled by replacing a share of the draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import expit

from mixtures import Draws, Fit
from mixtures.families.parameters import log_odds

# Where replaced draws have their means, in the family's units: no draw of the others reaches so far.
FAR = 1e6


def lazy(fit: Fit, stay: float, rng: np.random.Generator) -> Fit:
    """Markov chains with the distribution of independent draws: a step stays with probability ``stay`` or takes a new draw.

    Of n steps (1 - stay) / (1 + stay) n are effective. Nothing is to be found or missed, whatever the modes.
    """
    chains, draws = fit.held.weights.shape[:2]
    moves = rng.random((chains, draws)) >= stay
    at = np.maximum.accumulate(np.where(moves, np.arange(draws), 0), axis=1)

    def taken(v: np.ndarray) -> np.ndarray:
        return np.take_along_axis(v, at[(..., *[None] * (v.ndim - 2))], axis=1)

    held = Draws(taken(fit.held.weights), {name: taken(v) for name, v in fit.held.theta.items()})
    return replace(fit, kind="mcmc", posterior=held)


def narrowed(fit: Fit, ratio: float, rng: np.random.Generator) -> Fit:
    """One scalar of each block drawn towards its median: its intervals are ``ratio`` times as wide.

    Parameters
    ----------
    fit : Fit
        Draws in one labelling.
    ratio : float
        At most 1.
    rng : numpy.random.Generator
        Chooses the location and the variance.
    """
    return _spoiled(fit, lambda v: np.median(v) + ratio * (v - np.median(v)), rng)


def shifted(fit: Fit, size: float, rng: np.random.Generator) -> Fit:
    """One scalar of each block lowered by ``size`` times its IQR / 1.349; as `narrowed`."""
    return _spoiled(fit, lambda v: v - size * np.subtract(*np.quantile(v, [0.75, 0.25])) / 1.349, rng)


def merged(fit: Fit, error: float, together: np.ndarray, rng: np.random.Generator) -> Fit:
    """Draws of which a share have clusters that coincide, so that co-clustering is off by ``error`` on average over pairs.

    A draw whose clusters coincide puts two points together with probability sum_k pi_k^2: 1 where one weight is 1, and 1 / K
    where all are equal; that of the two is taken which is further from the truth.

    Parameters
    ----------
    fit : Fit
    error : float
    together : ndarray, shape (N, N)
        The exact co-clustering probabilities.
    rng : numpy.random.Generator
        Chooses the draws.

    Raises
    ------
    ValueError
        If the error is more than replacing every draw would make, or the fit is of a hidden Markov model.
    """
    _refuse_chains(fit)
    K, pairs = fit.n_components, together[np.triu_indices(len(together), 1)]
    away, weights = max(
        ((np.abs(pairs - (w**2).sum()).mean(), w) for w in (np.eye(K)[0], np.full(K, 1 / K))), key=lambda pair: pair[0]
    )
    if error > away:
        raise ValueError(f"error is {error}; coinciding clusters make at most {away:.3g}")
    chosen = rng.random(fit.held.weights.shape[:2]) < error / away

    def alike(v: np.ndarray) -> np.ndarray:
        return np.where(chosen[(..., *[None] * (v.ndim - 2))], v[:, :, :1], v)

    theta = {name: alike(v) for name, v in fit.held.theta.items()}
    return replace(fit, posterior=Draws(np.where(chosen[..., None], weights, fit.held.weights), theta))


def displaced(fit: Fit, share: float, rng: np.random.Generator) -> Fit:
    """Draws of which a share have all clusters far away: the total variation of the predictive density is that share."""
    chosen = rng.random(fit.held.weights.shape[:2]) < share
    theta = fit.held.theta
    means = theta["means"] + FAR * chosen[..., None, None]
    return replace(fit, posterior=Draws(fit.held.weights, theta | {"means": means}))


def _refuse_chains(fit: Fit) -> None:
    if not fit.allocation.independent:
        raise ValueError(
            "defects are planted in the weights of mixtures; a hidden Markov model has transitions instead"
        )


def _spoiled(fit: Fit, change: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> Fit:
    """The fit with the first weight, a location and a variance changed on the scale on which each is compared."""
    _refuse_chains(fit)
    family, weights = fit.family, fit.held.weights
    means, covariances = (v.copy() for v in family.to_data(fit.held.theta).values())
    K, D = means.shape[2:]
    k, f = rng.integers(K), rng.integers(D)
    means[:, :, k, f] = change(means[:, :, k, f])
    k, f = rng.integers(K), rng.integers(D)
    log_variance = np.log(covariances[:, :, k, f, f])
    factor = np.exp((change(log_variance) - log_variance) / 2)[..., None]
    covariances[:, :, k, f] *= factor  # a row and a column: correlations stay
    covariances[:, :, k, :, f] *= factor
    others = weights[..., 1:].sum(-1)
    odds = change(log_odds(weights[..., 0], others))
    rest = weights[..., 1:] * (expit(-odds) / others)[..., None]
    spoiled = np.concatenate([expit(odds)[..., None], rest], axis=-1)
    return replace(fit, posterior=Draws(spoiled, family.from_data_units({"means": means, "covariances": covariances})))
