"""Gibbs sampling for linear dynamical systems, with forward filtering and backward sampling of the states.

    z ~ p(z | theta, x)      x_m ~ p(x_m | theta, x_o, z)      theta ~ p(theta | x, z)

The states of a sequence are drawn together, the last one first (Carter & Kohn 1994, *Biometrika* 81:541-553;
Frühwirth-Schnatter 1994, *Journal of Time Series Analysis* 15:183-202). Values missing of rows whose noises are correlated are
drawn with them. Given both, each of the three regressions of the model has its conjugate posterior.

A stationary start ties the first states to A and Q, which are then proposed by that posterior and accepted by Metropolis'
rule; see `mixtures.dynamics.stationary`. Where the states may have any coordinates, each sweep ends with a move to others; see
`mixtures.dynamics.generalised`.

Where the signal is large beside the noise, or the noise of the states is small, the states say much of A and Q, and draws
follow each other slowly. So several sweeps are made for each draw that is kept; before every fifth sweep A, Q and R walk
without the states (`mixtures.dynamics.walk`); and where that was not enough, chains can be made twice as long until it is.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event, Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixtures.checks import brief, check_chains, check_steps, check_whole
from mixtures.dynamics import generalised, stationary
from mixtures.dynamics.checks import check_model, checked
from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.passes import State, complete, moments
from mixtures.dynamics.regression import Expected, Moments, Regression
from mixtures.dynamics.starts import starts
from mixtures.dynamics.states import eigenvalues, responses
from mixtures.engines import backwards
from mixtures.engines.kalman import Data
from mixtures.errors import ConvergenceWarning
from mixtures.methods.gibbs import RHAT, split_rhat
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator

if TYPE_CHECKING:
    from mixtures.dynamics.compiled import Chain

# Sweeps between two calls of ``tell``.
TOLD = 100

# R-hat from which on chains are made longer: of n halves of chains, n / (R-hat^2 - 1) draws are effective (Vats & Knudson 2021,
# *Statistical Science* 36:518-529), 800 of four chains.
AIM = 1.005


# Rows from which on chains run side by side: sweeps of shorter series spend their time in Python, which takes turns.
THREADED = 500


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
    doublings: int = 0,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> DynamicsFit:
    """Sample the posterior by Gibbs sweeps.

    Parameters
    ----------
    x : ndarray, shape (T, D), Sequences, or list of ndarray
        NaN where a value is missing.
    model : LinearDynamics
        Under its priors or, where it has none, those of `LinearDynamics.with_prior`.
    rng : numpy.random.Generator or int
    draws, chains : int
        Kept draws of each chain, and the number of chains, each from a start of its own.
    tune, thin : int
        Sweeps discarded after those in which the chain learns to walk, and sweeps for each draw that is kept.
    doublings : int
        How often chains whose R-hat is not below 1.005 go on until they are twice as long, with twice the ``tune`` and the
        ``thin``.
    tell : callable
        Called after every hundred sweeps with how many have been made, and their total as far as it is known.

    Returns
    -------
    DynamicsFit
        Of kind "mcmc". ``sample_stats`` has ``lp`` = log p(x, z, theta) in nats. ``info`` has ``tune`` and ``thin`` at the end,
        and ``rhat``, the largest split R-hat of lp, R, the moduli of the eigenvalues of A and the responses C A^j Q C^T for
        j = 0 and 1, which are the same in whatever coordinates the states have; of known emissions, of lp, R and Q.
        ``converged`` says whether it is below 1.01.

    Raises
    ------
    ValueError
        If a count is below 1, ``doublings`` is negative, x or the model is not what the other needs, or the model has no
        conjugate prior.

    Warns
    -----
    ConvergenceWarning
        If the chains have not converged.
    """
    check_model(model)
    check_chains(model.H**2 + model.D * model.H, draws=draws, chains=chains, tune=tune, thin=thin)
    check_steps("thin * draws", thin * draws)
    check_whole("doublings", doublings, 0)
    if not callable(tell):
        raise TypeError(f"tell is {brief(tell)}; expected a function of the steps done and their total")
    began, rng, data, model = time.perf_counter(), generator(rng), checked(x, model), model.with_prior(x)
    first = [model.theta(at) for at in starts(model, data, chains + 1, rng)[1:]]
    own_rngs, walks = rng.spawn(chains), [begin(model, data, theta) for theta in first]
    began, compiling = time.perf_counter(), time.perf_counter() - began
    made, total = 0, chains * (tune + draws * thin)

    def go_on(draws: int, tune: int, thin: int) -> list[tuple[Theta, np.ndarray]]:
        return _together(walks, own_rngs, len(data.x), draws, tune, thin, lambda done: tell(made + done, total))

    held, made = go_on(draws, tune, thin), total
    while (rhat := _rhat(model, held)) >= AIM and doublings > 0:
        dropped = min(-(-tune // thin), draws)
        left, doublings = slice(dropped + (draws - dropped + 1) % 2, None, 2), doublings - 1
        needed, before = draws - len(range(draws)[left]), max(0, tune - draws * thin)
        tune, thin, total = 2 * tune, 2 * thin, made + chains * (before + needed * 2 * thin)
        for number, (more, more_lp) in enumerate(go_on(needed, before, thin)):
            kept, lp = held[number]
            kept = {name: np.concatenate([value[left], more[name]]) for name, value in kept.items()}
            held[number] = kept, np.concatenate([lp[left], more_lp])
        made = total
    posterior, lp = _joined(model, held)
    if rhat >= RHAT:
        warnings.warn(
            f"the chains have not converged: R-hat is {rhat:.3f}; raise draws, thin or doublings",
            ConvergenceWarning,
            stacklevel=2,
        )
    return DynamicsFit(
        "gibbs",
        "mcmc",
        model,
        posterior,
        data.x,
        np.empty(0),
        rhat < RHAT,
        {"compile": compiling, "run": time.perf_counter() - began},
        {"rhat": rhat, "tune": tune, "thin": thin},
        {"lp": lp},
    )


def begin(model: LinearDynamics, data: Data, theta: Theta) -> Chain:
    """A chain that starts at ``theta``, with its sweep compiled, which has not learned to walk.

    Raises
    ------
    ValueError
        If the model has no conjugate prior, or the data do not determine its diffuse directions.
    CollapseError
        If a matrix that is positive definite is not to rounding.
    """
    from mixtures.dynamics.compiled import Chain

    sweep(model, data, theta, np.random.default_rng(0))  # what is to be refused is refused here, in words
    first = Chain(model, data, theta)
    first.sweep(np.random.default_rng(0), True)
    if first.walk.size:
        first.root = np.zeros((first.walk.size,) * 2)
        first.step(np.random.default_rng(0), 1)
    return Chain(model, data, theta)


def _together(
    walks: list[Chain],
    rngs: list[np.random.Generator],
    rows: int,
    draws: int,
    tune: int,
    thin: int,
    tell: Callable[[int], None],
) -> list[tuple[Theta, np.ndarray]]:
    """`run` of each chain, of long series on as many threads as numba was told to use; ``tell`` hears of all together."""
    from mixtures.dynamics.compiled import threads

    done, lock, stopped = [0] * len(walks), Lock(), Event()

    def one(number: int) -> tuple[Theta, np.ndarray]:
        def told(sweeps: int) -> None:
            if stopped.is_set():
                raise CancelledError
            with lock:
                done[number] = sweeps
                tell(sum(done))

        if not walks[number].made:
            walks[number].learn(rngs[number], lambda: told(0))
        return run(walks[number], rngs[number], draws, tune, thin, told)

    at_once = threads() if rows >= THREADED else 1
    if at_once == 1 or len(walks) == 1:
        return [one(number) for number in range(len(walks))]
    with ThreadPoolExecutor(at_once) as pool:
        try:
            return list(pool.map(one, range(len(walks))))
        finally:  # what stops one chain, or this thread, stops all
            stopped.set()


def run(
    chain: Chain,
    rng: np.random.Generator,
    draws: int,
    tune: int,
    thin: int,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[Theta, np.ndarray]:
    """Go on with a chain: the draws that are kept, and log p(x, z | theta) of each.

    Raises
    ------
    CollapseError
        If a matrix that is positive definite is not to rounding.
    """
    total = tune + draws * thin
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


def _joined(model: LinearDynamics, held: list[tuple[Theta, np.ndarray]]) -> tuple[Theta, np.ndarray]:
    """The draws of all chains (chain, draw, ...), and log p(x, z, theta) of each."""
    posterior = {name: np.stack([kept[name] for kept, _ in held]) for name in held[0][0]}
    lp = np.stack([own for _, own in held])
    if model.loadings is not None:
        posterior["emission"] = np.broadcast_to(model.loadings, (*lp.shape, *model.loadings.shape))
    posterior = {name: posterior[name] for name in model.dims}
    return posterior, lp + model.log_prior(posterior)


def _rhat(model: LinearDynamics, held: list[tuple[Theta, np.ndarray]]) -> float:
    """The largest split R-hat of what needs no coordinates of the states."""
    posterior, lp = _joined(model, held)
    return float(split_rhat(_told(model, posterior, lp)).max())


def sweep(model: LinearDynamics, data: Data, theta: Theta, rng: np.random.Generator) -> Sweep:
    """States and missing values given theta, theta given them, and other coordinates: the reference of `Chain.sweep`."""
    u = rng.standard_normal((len(data.x), model.H))
    v = rng.standard_normal((len(data.x.lengths), int(model.diffuse.sum())))
    at = model.at(theta)
    z = backwards.draw(data, model.system(at), u, v)
    whole = complete(model, data, z, theta, rng)
    s = moments(model, whole, z, at)
    moves, observes, begins = (_drawn(part, own, rng) for part, own in zip(model.parts, s, strict=True))
    if model.stationary:
        P0, taken = stationary.metropolis(at[2].Sigma, *moves[:2], s[2], rng)
        moves, begins = moves if taken else at[0], Expected(at[2].B, P0)
    theta, T = generalised.step(model, model.theta((moves, observes, begins)), z[data.x.edges[:-1]], rng)
    z = z @ T.T
    return Sweep(z, moments(model, whole, z, at), theta)


def _drawn(part: Regression, s: Moments, rng: np.random.Generator) -> Expected:
    """A draw from the conjugate posterior of a regression."""
    return LinearDynamics.known(part) if part.settled else Expected(*part.sample(part.posterior(s), rng))


def log_joint(model: LinearDynamics, now: Sweep) -> float:
    """log p(x, z, theta) in nats, theta of coefficients and precision matrices."""
    at = model.at(now.theta)
    likelihood = sum(
        float((part.natural(own).flat() * s.flat()).sum())
        for part, own, s in zip(model.parts, at, now.s, strict=True)
        if len(part.noisy)
    )
    return likelihood + float(model.log_prior(now.theta))


def _told(model: LinearDynamics, posterior: Theta, lp: np.ndarray) -> np.ndarray:
    """What of the draws needs no coordinates of the states, (chain, draw, .)."""
    parts = [lp[..., None], posterior["observation_covariance"].reshape(*lp.shape, -1)]
    if np.isnan(model.emission).any():
        parts += [np.abs(eigenvalues(posterior)), responses(posterior, 1).reshape(*lp.shape, -1)]
    else:
        parts.append(posterior["state_covariance"].reshape(*lp.shape, -1))
    return np.concatenate(parts, axis=-1)
