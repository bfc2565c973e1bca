"""Gibbs sampling for linear dynamical systems, with forward filtering and backward sampling of the states.

    z ~ p(z | theta, x)      x_m ~ p(x_m | theta, x_o, z)      theta ~ p(theta | x, z)

The states of a sequence are drawn together, the last one first (Carter & Kohn 1994, *Biometrika* 81:541-553;
Frühwirth-Schnatter 1994, *Journal of Time Series Analysis* 15:183-202). Values missing of rows whose noises are correlated are
drawn with them. Given both, each of the three regressions of the model has its conjugate posterior. No step needs a gradient,
nor the density that the states leave when they are integrated out: with the twin it has the filter alone in common.

Where the noise of the states is small the states say much of its variance, and draws follow each other slowly, so that several
sweeps are made for each draw that is kept.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from mixtures.dynamics.checks import checked
from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.passes import State, complete, moments
from mixtures.dynamics.regression import Expected
from mixtures.dynamics.starts import starts
from mixtures.dynamics.states import responses
from mixtures.engines import backwards
from mixtures.engines.kalman import Data
from mixtures.errors import ConvergenceWarning
from mixtures.methods.gibbs import RHAT, split_rhat
from mixtures.rows import Rows
from mixtures.seeds import Rng, generator

# Sweeps between two calls of ``tell``.
TOLD = 100


class Sweep(NamedTuple):
    """Where a chain is: the states (N, H), the moments of the completed data, and theta drawn given them."""

    z: np.ndarray
    s: State
    theta: Theta


def fit(
    x: Rows,
    model: LinearDynamics,
    *,
    rng: Rng,
    draws: int = 1000,
    tune: int = 500,
    chains: int = 4,
    thin: int = 5,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> DynamicsFit:
    """Sample the posterior by Gibbs sweeps.

    Parameters
    ----------
    x : ndarray, shape (T, D), or Sequences
        NaN where a value is missing.
    model : LinearDynamics
        Under its priors or, where it has none, those of `LinearDynamics.with_prior`.
    rng : numpy.random.Generator or int
    draws, chains : int
        Kept draws of each chain, and the number of chains, each from a start of its own.
    tune, thin : int
        Discarded sweeps, and sweeps for each draw that is kept.
    tell : callable
        Called after every hundred sweeps with how many have been made, and their total.

    Returns
    -------
    DynamicsFit
        Of kind "mcmc". ``sample_stats`` has ``lp`` = log p(x, z, theta) in nats. ``info`` has ``rhat``, the largest split R-hat
        of lp, R, and the responses C A^j Q C^T for j = 0 and 1, which are the same in whatever coordinates the states have; of
        these ``converged`` says whether it is below 1.01.

    Raises
    ------
    ValueError
        If a count is below 1, x or the model is not what the other needs, or the model has no conjugate prior.

    Warns
    -----
    ConvergenceWarning
        If the chains have not converged.
    """
    if min(draws, tune, chains, thin) < 1:
        raise ValueError(f"draws is {draws}, tune {tune}, chains {chains} and thin {thin}; each must be at least 1")
    began, rng, data, model = time.perf_counter(), generator(rng), checked(x, model), model.with_prior(x)
    first = [model.theta(at) for at in starts(model, data, chains + 1, rng)[1:]]
    total, each = chains * (tune + draws * thin), tune + draws * thin
    held = []
    for chain, (theta, own) in enumerate(zip(first, rng.spawn(chains), strict=True)):
        told = partial(_tell, tell, chain * each, total)
        held.append(run(model, data, theta, own, draws, tune, thin, told))
    posterior = {name: np.stack([kept[name] for kept, _ in held]) for name in model.dims}
    if model.loadings is not None:
        posterior["emission"] = np.broadcast_to(model.loadings, (chains, draws, *model.loadings.shape))
    lp = np.stack([own for _, own in held]) + model.log_prior(posterior)
    rhat = float(split_rhat(_told(posterior, lp)).max())
    if rhat >= RHAT:
        warnings.warn(
            f"the chains have not converged: R-hat is {rhat:.3f}; raise draws or thin", ConvergenceWarning, stacklevel=2
        )
    return DynamicsFit(
        "gibbs",
        "mcmc",
        model,
        posterior,
        data.x,
        np.empty(0),
        rhat < RHAT,
        {"run": time.perf_counter() - began},
        {"rhat": rhat, "tune": tune, "thin": thin},
        {"lp": lp},
    )


def run(
    model: LinearDynamics,
    data: Data,
    theta: Theta,
    rng: np.random.Generator,
    draws: int,
    tune: int,
    thin: int,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[Theta, np.ndarray]:
    """One chain from ``theta`` on, by compiled sweeps: the draws that are kept, and log p(x, z | theta) of each.

    Raises
    ------
    ValueError
        If the model has no conjugate prior, or the data do not determine its diffuse directions.
    CollapseError
        If a matrix that is positive definite is not to rounding.
    """
    from mixtures.dynamics.compiled import Chain

    sweep(model, data, theta, np.random.default_rng(0))  # what is to be refused is refused here, in words
    chain, total = Chain(model, data, theta), tune + draws * thin
    kept, lp = {name: np.empty((draws, *now.shape)) for name, now in chain.now.items()}, np.empty(draws)
    for number in range(total):
        place, rest = divmod(number - tune, thin)
        held = number >= tune and rest == thin - 1
        log_z = chain.sweep(rng, held)
        if held:
            lp[place] = log_z
            for name, now in chain.now.items():
                kept[name][place] = now
        if number % TOLD == TOLD - 1 or number == total - 1:
            tell(number + 1)
    return kept, lp


def _tell(tell: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    tell(before + done, total)


def sweep(model: LinearDynamics, data: Data, theta: Theta, rng: np.random.Generator) -> Sweep:
    """States and missing values given theta, then theta given them: the readable reference of `run`."""
    u = rng.standard_normal((len(data.x), model.H))
    v = rng.standard_normal((len(data.x.lengths), int(model.diffuse.sum())))
    at = model.at(theta)
    z = backwards.draw(data, model.system(at), u, v)
    whole = complete(model, data, z, theta, rng)
    s = moments(model, whole, z, at)
    moves, observes, begins = (
        model.known(part) if part.settled else Expected(*part.sample(part.posterior(own), rng))
        for part, own in zip(model.parts, s, strict=True)
    )
    return Sweep(z, s, model.theta((moves, observes, begins)))


def log_joint(model: LinearDynamics, now: Sweep) -> float:
    """log p(x, z, theta) in nats, theta of coefficients and precision matrices."""
    at = model.at(now.theta)
    likelihood = sum(
        float((part.natural(own).flat() * s.flat()).sum())
        for part, own, s in zip(model.parts, at, now.s, strict=True)
        if len(part.noisy)
    )
    return likelihood + float(model.log_prior(now.theta))


def _told(posterior: Theta, lp: np.ndarray) -> np.ndarray:
    """What of the draws needs no coordinates of the states, (chain, draw, .)."""
    parts = [lp[..., None], posterior["observation_covariance"].reshape(*lp.shape, -1)]
    if posterior["emission"].ndim == 4:
        parts.append(responses(posterior, 1).reshape(*lp.shape, -1))
    else:
        parts.append(posterior["state_covariance"].reshape(*lp.shape, -1))
    return np.concatenate(parts, axis=-1)
