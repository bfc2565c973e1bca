r"""Known hidden Markov models: series of which the first part is fitted and the last part is the test.

.. math:: z_1 \sim \mathrm{Uniform}, \qquad P(z_t = k \mid z_{t-1} = j) = a \text{ if } k = j, \text{ else } (1 - a) / (K - 1)

The chain looks the same backwards, and so the points to fit are drawn from where the test begins back in time: the test is
the same however many there are, and fewer of them are the last of more.

A test point is scored given all points before it, in the fitted part too: the log of the mean over draws of p(x_t | x_1 ..
x_(t-1), theta). The draws are those of the posterior given the fitted part, and weigh the same at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mixtures.engines import sequences
from mixtures.engines.responsibilities import log_sum
from mixtures.fit import Conjugate
from mixtures.rows.sequences import Sequences
from mixtures.sequences import SequenceFit, chain


class Emissions(Protocol):
    """What the states emit: a known density of independent points."""

    @property
    def weights(self) -> np.ndarray:
        """(K,)."""

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of a point under these weights."""

    def points(self, labels: np.ndarray, source: np.random.SeedSequence) -> np.ndarray:
        """A point for each label, (n, D); the first of them are the same for every n."""

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        """log p(x_n | z_n = k), (N, K)."""


@dataclass(frozen=True)
class Chain:
    """A known hidden Markov model, the oracle of series.

    Parameters
    ----------
    emissions : Emissions
        With equal weights.
    stay : float
        Probability that a state stays.
    """

    emissions: Any
    stay: float

    @property
    def weights(self) -> np.ndarray:
        """Shares of the states in the long run, (K,)."""
        return self.emissions.weights

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of a point in the long run."""
        return self.emissions.moments

    @property
    def smallest_variance(self) -> float:
        """Of any Gaussian state in any direction."""
        return float(self.emissions.smallest_variance)

    @property
    def transitions(self) -> np.ndarray:
        """A, (K, K)."""
        K = len(self.weights)
        others = (1 - self.stay) / max(1, K - 1)
        return np.full((K, K), others) + (self.stay - others) * np.eye(K)

    def before(self, n: int, source: np.random.SeedSequence) -> tuple[np.ndarray, int]:
        """The n points before the test (n, D), and the state of the last."""
        return self._drawn(self.weights, n, source, backwards=True)

    def after(self, state: int, n: int, source: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
        """The n points (n, D) that follow a state, and their states (n,)."""
        return self._drawn(self.transitions[state], n, source, backwards=False)

    def _drawn(self, first: np.ndarray, n: int, source: np.random.SeedSequence, backwards: bool) -> Any:
        of_states, of_points = source.spawn(2)
        z = chain(np.column_stack([first, self.transitions]), n, np.random.default_rng(of_states))
        x = self.emissions.points(z, of_points)
        return (x[::-1], int(z[0])) if backwards else (x, z)

    def _logs(self, x: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with np.errstate(divide="ignore"):
            log_pi, log_A = np.log(self.weights), np.log(self.transitions)
        return self.emissions.log_densities(x.x)[None], log_pi[None], log_A[None]

    def log_steps(self, x: Sequences) -> np.ndarray:
        """log p(x_t | x_1 .. x_(t-1)), (N,)."""
        return sequences.filtered(*self._logs(x), x.edges)[1][0]

    def responsibilities(self, x: Sequences) -> np.ndarray:
        """Smoothed probabilities of the states, (N, K)."""
        return sequences.smoothed(*self._logs(x), x.edges)[0]


def log_steps(density: Chain | SequenceFit, x: Sequences, draws: int, source: np.random.SeedSequence) -> np.ndarray:
    """log of the mean over draws of p(x_t | x_1 .. x_(t-1), theta), (N,); a closed form is drawn from so many times."""
    if isinstance(density, Chain):
        return density.log_steps(x)
    steps = each_log_steps(density, x, draws, source)
    return log_sum(steps.T) - np.log(len(steps))


def each_log_steps(fit: SequenceFit, x: Sequences, draws: int, source: np.random.SeedSequence) -> np.ndarray:
    """log p(x_t | x_1 .. x_(t-1), theta) under every draw, (S, N)."""
    drawn: Any = fit
    if isinstance(fit.posterior, Conjugate):
        drawn = fit.as_draws(1, draws, np.random.default_rng(source))
    return drawn.log_steps(x).reshape(-1, len(x))


def occupied(fit: SequenceFit, x: Sequences) -> float:
    """Expected number of states with a point, by smoothed probabilities, averaged over draws where there are any."""
    with np.errstate(divide="ignore"):
        if isinstance(fit.posterior, Conjugate):
            return float(-np.expm1(np.log1p(-np.minimum(fit.responsibilities(x), 1)).sum(0)).sum())
        each = [np.log1p(-np.minimum(r, 1)).sum(1) for _, _, r in fit.each_responsibilities(x)]
    return float(-np.expm1(np.concatenate(each)).sum(-1).mean())
