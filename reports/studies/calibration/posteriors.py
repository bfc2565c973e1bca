"""What each method says of one data set, as draws: of its posterior, or for EM of its estimate over resampled data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from mixtures import Fit
from mixtures.fit import Draws
from mixtures.methods import cavi, em, exact, gibbs
from mixtures.methods.gibbs import ROUNDING
from mixtures.model import Theta
from reports.studies.calibration.prior import Problem, Settings, as_posed, labels, model
from reports.studies.calibration.quantities import quantities

# EM's resamples are drawn again where it collapses; beyond so many for each draw asked for, it has failed.
RESAMPLES = 10

# Markov chains are run again, and joined, until their smallest effective sample size is the number of draws asked for.
RUNS = 8

# One engine, the quickest for so few rows; of sequences the compiled one.
PLAIN: dict[str, Any] = {"engine": "plain"}
AUTO: dict[str, Any] = {"engine": "auto"}

# A sweep costs the same for one chain as for many, so that many short chains are the quickest way to so many draws.
GIBBS: dict[str, Any] = {"walkers": 32, "tune": 60, "chains": 32, "draws": 60}
NUTS: dict[str, Any] = {"chains": 4, "tune": 500, "draws": 500}
ADVI: dict[str, Any] = {"steps": 10_000, "restarts": 2}


class Sample(NamedTuple):
    """L draws of one chain, as near to independent as can be, and how they came about.

    Attributes
    ----------
    weights : ndarray, shape (L, K), or as the allocation has them
    theta : dict of ndarray, shape (L, K, ...)
    converged : bool
        Whether the optimiser settled, or the chains had an effective sample size of L or more.
    ess : float
        Smallest bulk effective sample size over the quantities, before thinning; missing where draws are independent.
    lost : float
        How many resamples were drawn again because EM collapsed on them; missing for all but the bootstrap.
    """

    weights: np.ndarray
    theta: Theta
    converged: bool
    ess: float = np.nan
    lost: float = np.nan


def bootstrap(problem: Problem, rng: np.random.Generator) -> Sample:
    """Maximum-likelihood fits to data sets simulated from the fit to x, each begun at that fit.

    The parametric bootstrap (McLachlan & Peel 2000, *Finite Mixture Models*). Resampled rows would repeat
    points, and clusters collapse on those.

    Raises
    ------
    CollapseError
        If EM has no fit to x.
    ArithmeticError
        If too many resamples had none.
    """
    x, family, allocation = problem.posed
    L, engine = problem.settings.draws, _engine(problem)
    fit = em.fit(x, family, allocation, rng=rng, **engine)
    theta = {name: v[0, 0] for name, v in fit.held.theta.items()}
    fits: list[Fit] = []
    tried = 0
    while len(fits) < L and tried < RESAMPLES * L:
        missing = L - len(fits)
        z = [labels(fit.held.weights[0, 0], problem.settings, rng) for _ in range(missing)]
        resamples = [as_posed(family.simulate(theta, each, rng), problem.settings) for each in z]
        found = em.fit_many(
            resamples, [family] * missing, allocation, rng=rng, init=fit, restarts=1, tol=1e-6, **engine
        )
        fits += [each for each in found if isinstance(each, Fit)]
        tried += missing
    if len(fits) < L:
        raise ArithmeticError(f"EM collapsed on {tried - len(fits)} of {tried} resamples; {L} fits are needed")
    return Sample(*_joined([each.held for each in fits]), fit.converged, lost=tried - L)


def independent(fit: Fit, problem: Problem, rng: np.random.Generator) -> Sample:
    """Independent draws of a fit that has them."""
    return Sample(*fit.parameters(problem.settings.draws, rng), fit.converged)


def chains(run: Callable[[], Fit], problem: Problem) -> Sample:
    """Draws of Markov chains, evenly spaced, of so many runs that every quantity has an effective sample size of L or more."""
    from arviz_stats.base import array_stats

    L = problem.settings.draws
    runs: list[Draws] = []
    ess = 0.0
    while ess < L and len(runs) < RUNS:
        runs.append(run().held)
        weights, theta = _joined(runs)
        values = [_ordered(v) for v in quantities(*problem.posed, weights, theta).values()]
        moving = [v.reshape(-1, runs[0].weights.shape[1]) for v in values if np.ptp(v) > ROUNDING * np.abs(v).max()]
        ess = min((float(array_stats.ess(v, method="bulk")) for v in moving), default=np.inf)
    kept = np.linspace(0, len(weights), L, endpoint=False).astype(int)
    return Sample(weights[kept], {name: v[kept] for name, v in theta.items()}, ess >= L, ess=ess)


def _engine(problem: Problem) -> dict[str, Any]:
    return AUTO if problem.settings.sequences else PLAIN


def _ordered(values: np.ndarray) -> np.ndarray:
    """The values (S,), or their ranks where some are infinite, which have the same bulk effective sample size."""
    return values if np.isfinite(values).all() else rankdata(values)


def _joined(draws: Sequence[Draws]) -> tuple[np.ndarray, Theta]:
    """Weights (S, ...) and theta (S, K, ...) of several sets of draws."""
    weights, thetas = zip(*(each.flat() for each in draws), strict=True)
    return np.concatenate(weights), {name: np.concatenate([theta[name] for theta in thetas]) for name in thetas[0]}


@cache
def _compiled(program: str, settings: Settings) -> Any:
    """NUTS, or ADVI of one rank, compiled once in this process for every data set of these settings."""
    from models.methods import advi, nuts

    family, allocation = model(settings)
    like = as_posed(np.zeros((settings.rows, settings.dimension)), settings)
    if program == "nuts":
        return nuts.Compiled(like, family, allocation, **NUTS)
    return advi.Compiled(like, family, allocation, rank=program, draws=max(1000, settings.draws), **ADVI)


def _cavi(problem: Problem, rng: np.random.Generator) -> Sample:
    return independent(cavi.fit(*problem.posed, rng=rng, **_engine(problem)), problem, rng)


def _exact(problem: Problem, rng: np.random.Generator) -> Sample:
    return independent(exact.fit(*problem.posed), problem, rng)


def _advi(problem: Problem, rng: np.random.Generator) -> Sample:
    return independent(_compiled("meanfield", problem.settings).fit(problem.x, rng=rng), problem, rng)


def _full_rank(problem: Problem, rng: np.random.Generator) -> Sample:
    return independent(_compiled("fullrank", problem.settings).fit(problem.x, rng=rng), problem, rng)


def _gibbs(problem: Problem, rng: np.random.Generator) -> Sample:
    return chains(lambda: gibbs.fit(*problem.posed, rng=rng, **GIBBS | _engine(problem)), problem)


def _nuts(problem: Problem, rng: np.random.Generator) -> Sample:
    return chains(lambda: _compiled("nuts", problem.settings).fit(problem.x, rng=rng), problem)


POSTERIORS: dict[str, Callable[[Problem, np.random.Generator], Sample]] = {
    "em": bootstrap,
    "cavi": _cavi,
    "advi": _advi,
    "advi-fullrank": _full_rank,
    "gibbs": _gibbs,
    "nuts": _nuts,
    "exact": _exact,
}
