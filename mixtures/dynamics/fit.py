"""The result of a fit of a linear dynamical system, the same for every method: a posterior over theta, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mixtures.checks import check_count
from mixtures.dynamics import states
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.passes import At, State
from mixtures.dynamics.states import Filtered, States
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator

if TYPE_CHECKING:
    from mixtures.dynamics.climbing import Ascent

# Draws over which a function of the states is averaged.
DRAWS = 200


class Normal(NamedTuple):
    """Means and covariances of what is averaged over draws."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class DynamicsFit:
    """What a method found out about a linear dynamical system on one data set.

    Parameters
    ----------
    method : str
    kind : {"point", "variational", "mcmc"}
    model : LinearDynamics
    posterior : dict of ndarray, each of shape (chain, draw, ...), or tuple of Moments
        Draws of theta, a point being one; or the hyperparameters of q(theta), regression by regression.
    x : Sequences
        The data.
    bound : ndarray, shape (passes,)
        Trace of the objective in nats; empty where the method has none. Of a diffuse start, without the constant of its diffuse
        directions.
    converged : bool
    seconds : dict
        Wall-clock seconds under "run" and, where something is compiled, "compile".
    info : dict
    sample_stats : dict of ndarray, shape (chain, draw)
    """

    method: str
    kind: Literal["point", "variational", "mcmc"]
    model: LinearDynamics
    posterior: Theta | State
    x: Sequences
    bound: np.ndarray
    converged: bool
    seconds: dict[str, float]
    info: dict[str, Any] = field(default_factory=dict)
    sample_stats: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def theta(self) -> Theta:
        """Parameters by name: the point, or the means of B and the inverse of the mean of Lambda.

        Under draws and under q, means of parameters of latent states say little, for the coordinates are not identified.
        """
        if isinstance(self.posterior, dict):
            return {name: value.mean((0, 1)) for name, value in self.posterior.items()}
        at = [
            self.model.known(part) if part.settled else part.expected(q)
            for part, q in zip(self.model.parts, self.posterior, strict=True)
        ]
        return self.model.theta((at[0], at[1], at[2]))

    def parameters(self, n: int, rng: Rng) -> Theta:
        """``n`` draws of theta by name, (n, ...): independent ones from q, held ones spread evenly over chains and time."""
        rng = generator(rng)
        check_count("n", n, self.model.H**2 + self.model.D * self.model.H)
        if isinstance(self.posterior, dict):
            flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in self.posterior.items()}
            chosen = np.linspace(0, len(flat["transition"]), n, endpoint=False).astype(int)
            return {name: v[chosen] for name, v in flat.items()}
        drawn = [self._drawn(self.posterior, rng) for _ in range(n)]
        return {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}

    def _drawn(self, q: State, rng: np.random.Generator) -> Theta:
        from mixtures.dynamics.regression import Expected

        at = [
            self.model.known(part) if part.settled else Expected(*part.sample(own, rng))
            for part, own in zip(self.model.parts, q, strict=True)
        ]
        return self.model.theta((at[0], at[1], at[2]))

    def filtered(self, x: Rows | None = None, draws: int = DRAWS, rng: Rng = 0) -> Filtered:
        """Moments of states and rows given the past, averaged over draws; log_z is the log of the mean density step by step."""
        every = [states.filter_(self._rows(x), theta, self._start) for theta in self._each(draws, rng)]
        log_z = np.array([one.log_z for one in every])
        top = log_z.max(0)
        mean, covariance = _mixed([one.mean for one in every], [one.covariance for one in every])
        predicted, spread = _mixed([one.predicted for one in every], [one.spread for one in every])
        return Filtered(top + np.log(np.exp(log_z - top).mean(0)), mean, covariance, predicted, spread)

    def smoothed(self, x: Rows | None = None, draws: int = DRAWS, rng: Rng = 0) -> States:
        """Moments of states and of C z given all rows, averaged over draws."""
        every = [states.smooth(self._rows(x), theta, self._start) for theta in self._each(draws, rng)]
        mean, covariance = _mixed([one.mean for one in every], [one.covariance for one in every])
        signal, spread = _mixed([one.signal for one in every], [one.spread for one in every])
        pairs = np.mean([one.pairs for one in every], axis=0)
        return States(np.mean([one.log_z for one in every], axis=0), mean, covariance, pairs, signal, spread)

    def innovations(self, x: Rows | None = None) -> np.ndarray:
        """Standardised one-step-ahead errors (N, D) at `theta`; see `mixtures.dynamics.states.innovations`."""
        return states.innovations(self._rows(x), self.theta, self._start)

    def forecast(self, h: int, x: Rows | None = None, draws: int = DRAWS, rng: Rng = 0) -> Normal:
        """Means (S, h, D) and covariances (S, h, D, D) of the h rows after the end of each sequence, averaged over draws."""
        every = [states.forecast(self._rows(x), theta, h, self._start) for theta in self._each(draws, rng)]
        return Normal(*_mixed([mean for mean, _ in every], [spread for _, spread in every]))

    def log_likelihood(self, x: Rows | None = None, draws: int = DRAWS, rng: Rng = 0) -> np.ndarray:
        """log p(sequence | theta) of each sequence under each of some draws, (draws, S), of a point (1, S), in nats.

        Of a diffuse start it is that under a flat density of the diffuse directions: `diffuse_constant` is not counted.
        """
        return np.array([states.log_likelihood(self._rows(x), theta, self._start) for theta in self._each(draws, rng)])

    def log_steps(self, x: Rows | None = None, draws: int = DRAWS, rng: Rng = 0) -> np.ndarray:
        """log p(x_t | x_1 .. x_(t-1), theta) of each row under each of some draws, (draws, N), of a point (1, N), in nats.

        Of a diffuse start see `mixtures.dynamics.states.Filtered`.
        """
        return np.array([states.log_steps(self._rows(x), theta, self._start) for theta in self._each(draws, rng)])

    @property
    def diffuse_constant(self) -> float:
        """What is added to a log likelihood of the data where diffuse directions count log(2 pi) / 2 each, in nats."""
        return states.diffuse_constant(self.x, self._start, self.model.H)

    def simulate(self, T: int, rng: Rng) -> np.ndarray:
        """A sequence (T, D) under one draw of theta, whose diffuse states begin at zero."""
        rng = generator(rng)
        theta = self.parameters(1, rng) if not isinstance(self.posterior, dict) else self._at_random(rng)
        return states.simulate({name: v[0] for name, v in theta.items()}, T, rng, self._start)[0]

    def eigenvalues(self, draws: int = DRAWS, rng: Rng = 0) -> np.ndarray:
        """Eigenvalues of the transition under some draws (draws, H), complex, the largest in modulus first."""
        return np.array([states.eigenvalues(theta) for theta in self._each(draws, rng)])

    def impulse_response(self, h: int, draws: int = DRAWS, rng: Rng = 0) -> np.ndarray:
        """C A^j for j = 0 .. h under some draws, (draws, h + 1, D, H)."""
        return np.array([states.impulse_response(theta, h) for theta in self._each(draws, rng)])

    def responses(self, h: int, draws: int = DRAWS, rng: Rng = 0) -> np.ndarray:
        """C A^j Q C^T for j = 0 .. h under some draws, (draws, h + 1, D, D); see `mixtures.dynamics.states.responses`."""
        return np.array([states.responses(theta, h) for theta in self._each(draws, rng)])

    @property
    def _start(self) -> states.Start:
        return self.model.diffuse

    def _rows(self, x: Rows | None) -> Rows:
        return self.x if x is None else x

    def _each(self, draws: int, rng: Rng) -> Iterator[Theta]:
        """Draws of theta one by one; the one there is of a point."""
        held = self.posterior["transition"].shape[:2] if isinstance(self.posterior, dict) else (draws, 1)
        n = min(draws, held[0] * held[1])
        theta = self.parameters(n, rng)
        return ({name: v[i] for name, v in theta.items()} for i in range(n))

    def _at_random(self, rng: np.random.Generator) -> Theta:
        assert isinstance(self.posterior, dict)
        flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in self.posterior.items()}
        i = int(rng.integers(len(flat["transition"])))
        return {name: v[[i]] for name, v in flat.items()}


def point(method: str, model: LinearDynamics, at: At, ascent: Ascent) -> DynamicsFit:
    """A point estimate; of maximum likelihood with AIC and BIC on the scale of -2 log likelihood, smaller being better.

    What does not change the likelihood is no parameter. N in BIC is the number of values seen. Each diffuse direction of a
    sequence is a parameter, and its value counts log(2 pi) / 2 as any other does (Durbin & Koopman 2012, section 7.4; so does
    statsmodels), which ``log_likelihood`` leaves out: see `DynamicsFit.diffuse_constant`.
    """
    info = ascent.info
    if method == "em":
        x, L = ascent.data.x, float(ascent.bound[-1])
        n, p = float((~np.isnan(x.x)).sum()), model.identified() + len(x.lengths) * int(model.diffuse.sum())
        loss = -2 * (L + states.diffuse_constant(x, model.diffuse, model.H))
        info = info | {
            "log_likelihood": L,
            "parameters": p,
            "aic": loss + 2 * p,
            "bic": loss + p * float(np.log(n)),
        }
    draws = {name: value[None, None] for name, value in model.theta(at).items()}
    seconds = {"run": ascent.seconds}
    return DynamicsFit(method, "point", model, draws, ascent.data.x, ascent.bound, ascent.converged, seconds, info)


def _mixed(means: list[np.ndarray], covariances: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a mixture of distributions with these."""
    mean = np.mean(means, axis=0)
    gaps = np.array(means) - mean
    return mean, np.mean(covariances, axis=0) + np.mean(gaps[..., :, None] * gaps[..., None, :], axis=0)
