"""What speaks for a linear dynamical system: the criteria by which a latent dimension or a structure is chosen.

All in nats for the whole series, a larger number being better, as in `reports.metrics.criteria`. That densities of different
structures can be compared none starts diffuse here: its density would be that of fewer values. The rows are centred. A known
start is at zero: of every state of a structure with the variance of the rows, of a slope with that of their first differences,
of latent states with the identity for a covariance. Others are stationary or, of several sequences, free: of one sequence a
free variance would be estimated as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixtures.dynamics import LinearDynamics, cavi, em, gibbs, structure
from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.model import Theta
from mixtures.dynamics.regression import Expected, Moments
from mixtures.dynamics.states import eigenvalues
from mixtures.dynamics.structures import NAMES
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator
from reports.metrics import quality
from reports.metrics.coordinates import Coordinates
from reports.metrics.criteria import Candidate, Found, tried
from reports.metrics.evidence import smoothed_mean
from reports.metrics.gaussian_bridge import bridge
from reports.metrics.reference import RHAT

LATENT = "latent"
"""The structure of which nothing is known but the number of states."""

NUMBERED = {"latent": "states", "seasonal": "rows in a period", "autoregression": "values before"}
"""Structures that have a number, and what it counts; of the others it is the number of states."""

LEAST = {"latent": 1, "seasonal": 2, "autoregression": 1}
"""The least such number."""

SLOPED = ("local-linear-trend", "smooth-trend")
"""Structures whose second state is a slope."""

HELD = 0.25
"""Part of each sequence, its last, that is held out."""

GAIN = 1e-6
"""Of a step in nats a row at which an ascent has settled: latent systems have ridges, on which more takes minutes."""

DRAWS, SAMPLED, DOUBLINGS = 1000, 1000, 4
"""Independent draws of q, those of each chain of a sampler, and how often its chains may go on for twice as long."""

STARTS = ("known", "stationary", "free")
"""How states may start, that densities can be compared."""

BRIDGED = 1000
"""Draws of each kind of a bridge."""


def of(candidate: Candidate, D: int, start: str | None = None) -> LinearDynamics:
    """The model of a candidate for D features, as its name has it.

    Parameters
    ----------
    candidate : Candidate
    D : int
    start : str, optional
        Of "free", "stationary", "diffuse" and "known"; by default that of the structure, of latent states free.

    Raises
    ------
    ValueError
        If there is none, it is of another number of features, or it cannot start in this way.
    """
    name, number = candidate
    own = {} if start is None else {"start": start}
    if name == LATENT:
        return LinearDynamics.latent(number, D, **own)
    if D != 1:
        raise ValueError(f"{name} is a structure of one feature, and there are {D}; choose one, or latent systems")
    return structure(name, *([number] if name in NUMBERED else []), **own)


def proper(model: LinearDynamics, x: Sequences) -> LinearDynamics:
    """A structure with a known normal start in the place of its own; latent systems as they are."""
    if np.isnan(model.emission).any():
        return model
    variances = np.full(model.H, np.nanvar(x.x))
    if model.name in SLOPED:
        variances[1] = np.nanvar(np.concatenate([np.diff(part, axis=0) for part in x]))
    return replace(model, diffuse=False, initial_mean=np.zeros(model.H), initial_covariance=np.diag(variances))


@dataclass(frozen=True)
class Setting:
    """What all candidates have in common.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Centred, NaN where a value is missing.
    lengths : tuple of int
    criteria : tuple of str
        Of `reports.metrics.criterion.OF_SYSTEMS`.
    restarts : int
        Starts of EM and VB.
    seed : tuple of int
        A candidate's random numbers depend on this and on the candidate, not on what else is asked for.
    start : str
        How states start, one of `STARTS`.
    """

    x: np.ndarray
    lengths: tuple[int, ...]
    criteria: tuple[str, ...]
    restarts: int
    seed: tuple[int, ...]
    start: str = "known"

    @property
    def points(self) -> Sequences:
        """The rows as the methods take them."""
        return Sequences(self.x, self.lengths)

    def model(self, candidate: Candidate) -> LinearDynamics:
        """The model of a candidate, with its priors from all rows."""
        return self.started(candidate, self.points).with_prior(self.points)

    def started(self, candidate: Candidate, x: Sequences) -> LinearDynamics:
        """The model of a candidate without priors, a known start being that of the rows x."""
        D = self.x.shape[1]
        if self.start == "known" and candidate.covariance != LATENT:
            return proper(of(candidate, D), x)
        return of(candidate, D, self.start)

    def rng(self, candidate: Candidate, part: str) -> np.random.Generator:
        """The random numbers of one part of the work on a candidate."""
        own = [LATENT, *NAMES].index(candidate.covariance), candidate.components, list(PARTS).index(part)
        return np.random.default_rng([*self.seed, *own])

    def beginning(self) -> tuple[Sequences, np.ndarray]:
        """The sequences without their last part, and which rows of all are in that."""
        kept = [n - max(1, int(HELD * n)) if n > 1 else n for n in self.lengths]
        place = np.concatenate([np.arange(n) for n in self.lengths])
        late = place >= np.repeat(kept, self.lengths)
        return Sequences(self.x[~late], kept), late


def examine(candidate: Candidate, part: str, setting: Setting) -> Found:
    """One of `PARTS` of the work on a candidate; what stops it is found under ``missing``."""
    return tried(PARTS[part], candidate, part, setting)


def _climb(setting: Setting) -> dict[str, Any]:
    return {"restarts": setting.restarts, "tol": GAIN}


def _em(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
    """Penalised likelihoods."""
    fit = em.fit(setting.points, setting.model(candidate), rng=rng, **_climb(setting))
    facts = {
        "log_likelihood": fit.info["log_likelihood"],
        "parameters": fit.info["parameters"],
        "converged": fit.converged,
        "reached": fit.info["reached"],
        "starts": fit.info["restarts"],
        "modulus": float(np.abs(eigenvalues(fit.theta))[0]),
    }
    return Found({name: (-fit.info[name] / 2, np.nan) for name in ("aic", "bic")}, facts=facts)


def _cavi(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
    """A bound on the evidence."""
    fit = cavi.fit(setting.points, setting.model(candidate), rng=rng, **_climb(setting))
    facts = {"converged": fit.converged, "reached": fit.info["reached"], "starts": fit.info["restarts"]}
    return Found({"elbo": (float(fit.bound[-1]), np.nan)}, facts=facts)


def _held(method: Any, criterion: str) -> Callable[[Candidate, Setting, np.random.Generator], Found]:
    """The log density of the last part of each sequence, by parameters from what is before it."""

    def part(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
        before, late = setting.beginning()
        fit = method.fit(before, setting.started(candidate, before), rng=rng, **_climb(setting))
        log_p = fit.filtered(setting.points, rng=rng).log_z[late]
        found = Found(facts={"converged": fit.converged})
        found.add(criterion, log_p)
        return found

    return part


def _evidence(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
    """The evidence: of identified parameters by importance sampling from q, where that is reliable, else by a bridge."""
    x, model, found = setting.points, setting.model(candidate), Found()
    own = Coordinates(model, x)
    if not (own.latent or model.stationary):
        fit = cavi.fit(x, model, rng=rng, **_climb(setting))
        log_weights, khat = importance_weights(model, fit, x, rng)
        found.facts["khat"] = khat
        if khat < quality.limit(len(log_weights)):
            found.values["evidence"] = smoothed_mean(log_weights)
            found.facts["evidence"] = "importance"
            return found
    sampled = gibbs.fit(x, model, rng=rng, draws=SAMPLED, doublings=DOUBLINGS)
    found.facts |= {"converged": sampled.converged, "rhat": sampled.info["rhat"]}
    if not sampled.info["rhat"] < RHAT:
        found.doubts["evidence"] = f"its Gibbs chains did not mix (split R-hat {sampled.info['rhat']:.2f})"
    try:
        found.values["evidence"] = bridged(model, sampled, rng)
        found.facts["evidence"] = "bridge"
    except ValueError as error:
        found.missing["evidence"] = str(error)
    return found


def bridged(model: LinearDynamics, fit: DynamicsFit, rng: Rng) -> tuple[float, float]:
    """The log evidence of a sampled system and its standard error, in nats, whatever coordinates its states have.

    Raises
    ------
    ValueError
        If there are too few draws, or a latent system's prior depends on the coordinates of its states.
    """
    rng = generator(rng)
    own = Coordinates(model, fit.x)
    own.check()
    assert isinstance(fit.posterior, dict)
    chains = fit.posterior["transition"].shape[:2]
    v = own.vector({name: value.reshape(-1, *value.shape[2:]) for name, value in fit.posterior.items()})
    return bridge(v.reshape(*chains, -1), None, own.log_density, rng, BRIDGED)


def importance_weights(model: LinearDynamics, fit: DynamicsFit, x: Sequences, rng: Rng) -> tuple[np.ndarray, float]:
    """log p(x, theta) - log q(theta) of independent draws of q, (S,), and the k-hat of these weights."""
    rng = generator(rng)
    theta = fit.parameters(DRAWS, rng)
    likelihood = fit_likelihood(model, x, theta)
    log_weights = likelihood - log_ratio(model, fit, {name: v[None] for name, v in theta.items()})[0]
    return log_weights, float(quality.smoothed(log_weights)[1])


def fit_likelihood(model: LinearDynamics, x: Sequences, theta: Mapping[str, np.ndarray]) -> np.ndarray:
    """log p(x | theta) of draws (n, ...), (n,), in nats."""
    own = Coordinates(model, x)
    return np.array(
        [own.log_likelihood({name: v[i] for name, v in theta.items()}) for i in range(len(theta["transition"]))]
    )


def log_ratio(model: LinearDynamics, found: DynamicsFit, theta: Theta) -> np.ndarray:
    """log q(theta) - log p(theta) of draws (chain, draw, ...): s . eta(theta) less the log of its integral, s = q - prior."""
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in theta.items()}
    n = len(flat["transition"])
    total = np.zeros(n)
    assert not isinstance(found.posterior, dict)
    for number, (part, q) in enumerate(zip(model.parts, found.posterior, strict=True)):
        if part.settled:
            continue
        s = Moments(*(own - before for own, before in zip(q, part.prior_moments, strict=True)))
        at: list[Expected] = [model.at({name: v[i] for name, v in flat.items()})[number] for i in range(n)]
        total += np.array([(part.natural(own).flat() * s.flat()).sum() for own in at]) - part.log_marginal(s)
    return total.reshape(theta["transition"].shape[:2])


PARTS: dict[str, Callable[[Candidate, Setting, np.random.Generator], Found]] = {
    "em": _em,
    "cavi": _cavi,
    "held": _held(em, "held"),
    "held-cavi": _held(cavi, "held-cavi"),
    "gibbs": _evidence,
}
