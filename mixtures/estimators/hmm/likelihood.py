"""Hidden Markov models fitted by EM: at maximum likelihood, or at the posterior mode where a prior is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import xlogy

from mixtures.allocations.markov import Markov
from mixtures.checks import as_numbers
from mixtures.engines.passes import Pass
from mixtures.engines.responsibilities import fold
from mixtures.estimators.hmm.base import HiddenMarkov, Parameters, Problem
from mixtures.model import Family, Theta
from mixtures.rows.sequences import Sequences
from mixtures.sequences import SequenceFit

Emissions = Callable[[np.ndarray, Theta | None], Theta]


@dataclass(frozen=True)
class Maximise:
    """The M-step of R runs: the mode of log p(x, z | pi, A, theta) + log prior, of what is not held.

    Parameters
    ----------
    family : Family
    allocation : Markov
    emissions : callable
        From statistics (R, K, P) and what the runs begin with to theta.
    log_prior : callable
        From theta to the part of its log prior density that depends on it, (R,).
    letters : str
        Parameters that move.
    closed : ndarray of bool, shape (K, 1 + K)
        Starts and transitions that stay at zero.
    base : float
        What the base measure adds to the objective.
    weights : ndarray, shape (R, K, 1 + K), or None
    theta : dict of ndarray, shape (R, K, ...), or None
        What the runs begin with; None where nothing is held.
    """

    family: Family
    allocation: Markov
    emissions: Emissions
    log_prior: Callable[[Theta], np.ndarray]
    letters: str
    closed: np.ndarray
    base: float
    weights: np.ndarray | None = None
    theta: Theta | None = None

    @property
    def first(self) -> tuple[np.ndarray, Theta]:
        """What the runs begin with."""
        assert self.weights is not None
        assert self.theta is not None
        return self.weights, self.theta

    def take(self, runs: np.ndarray) -> Self:
        """The step of some of the runs."""
        if self.weights is None or self.theta is None:
            return self
        theta = {name: value[runs] for name, value in self.theta.items()}
        return replace(self, weights=self.weights[runs], theta=theta)

    def of(self, run: int) -> Self:
        """The step of one run."""
        return self.take(np.array([run]))

    def eta(self) -> np.ndarray:
        """Natural parameters (R, K, C) of what the runs begin with."""
        weights, theta = self.first
        return fold(self.allocation.natural(weights), self.family.natural(theta))

    def parameters(self, s: np.ndarray) -> tuple[np.ndarray, Theta]:
        """Weights (R, K, 1 + K) and theta at the states s (R, K, C)."""
        labels, points = self.allocation.split(s)
        return self._weights(labels), self.emissions(points, self.theta)

    def __call__(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Eta (R, K, C) and what the objective has beside sum log_z, (R,)."""
        weights, theta = self.parameters(s)
        held = xlogy(self.allocation.prior - 1, np.where(self.closed, 1, weights)).sum((-2, -1))
        return fold(self.allocation.natural(weights), self.family.natural(theta)), (
            held + self.log_prior(theta) + self.base
        )

    def _weights(self, labels: np.ndarray) -> np.ndarray:
        counts = np.maximum(labels + self.allocation.prior - 1, 0) * ~self.closed
        weights = self.allocation.maximum_likelihood(counts) * ~self.closed
        weights[..., 0] /= weights[..., 0].sum(-1, keepdims=True)
        weights[..., 1:] /= weights[..., 1:].sum(-1, keepdims=True)
        if self.weights is not None:
            for letter, columns in (("s", slice(0, 1)), ("t", slice(1, None))):
                if letter not in self.letters:
                    weights[..., columns] = self.weights[..., columns]
        return weights


class LikelihoodHMM(HiddenMarkov):
    """What the models fitted by EM share; see the classes."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **HiddenMarkov._parameter_constraints,
        "startprob_prior": [Real, "array-like"],
        "transmat_prior": [Real, "array-like"],
    }
    _method = "em"

    startprob_prior: Any
    transmat_prior: Any
    params: str

    @abstractmethod
    def _emissions(self, family: Family, s: np.ndarray, start: Theta | None) -> Theta:
        """theta given statistics s (..., K, P); what does not move as it is in ``start``."""

    @abstractmethod
    def _log_prior(self, family: Family, theta: Theta) -> np.ndarray:
        """The part of the log prior density that depends on theta, (...)."""

    @abstractmethod
    def _emission_attributes(self, family: Family, theta: Theta) -> Parameters:
        """The emissions' attributes from theta of one run."""

    def _allocation(self) -> Markov:
        K = int(self.n_components)
        alpha0 = self._concentrations("startprob_prior", (K,))
        return Markov(alpha0, self._concentrations("transmat_prior", (K, K)))

    def _concentrations(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Concentrations of at least 1, (shape)."""
        given = as_numbers(name, getattr(self, name))
        try:
            prior = np.broadcast_to(given, shape).copy()
        except ValueError:
            raise ValueError(f"{name} must be a number or have shape {shape}, and has {given.shape}") from None
        if np.isinf(prior).any():
            raise ValueError(f"{name} has infinite values")
        if not np.all(prior >= 1):
            raise ValueError(
                f"{name} holds {prior.min():g}; expected at least 1, for below it the posterior has no mode. The variational "
                "classes take any positive number"
            )
        return prior

    def _prepare(self, x: Sequences, kept: frozenset[str]) -> None:
        if len(x) < self.n_components and set(self.params) - {"s", "t"}:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {len(x)}"
            )

    def _check_given(self, kept: frozenset[str]) -> None:
        K = int(self.n_components)
        for letter, name, shape in (("s", "startprob_", (K,)), ("t", "transmat_", (K, K))):
            if letter in kept:
                self._probabilities(name, shape)

    def _update(self, problem: Problem, start: tuple[np.ndarray, Theta] | None) -> Maximise:
        family, whole = problem.family, start is None
        update = Maximise(
            family,
            problem.allocation,
            partial(self._emissions, family),
            partial(self._log_prior, family),
            "".join(self._letters) if whole else self.params,
            self._closed(problem.kept),
            self._base(problem),
        )
        if start is None:
            return update
        weights, theta = start
        weights = weights.copy()
        if "s" in problem.kept:
            weights[..., 0] = self._probabilities("startprob_", (self.n_components,))
        if "t" in problem.kept:
            weights[..., 1:] = self._probabilities("transmat_", (self.n_components, self.n_components))
        return replace(update, weights=weights, theta=self._with_given(problem, theta))

    def _with_given(self, problem: Problem, theta: Theta) -> Theta:
        """Theta (R, K, ...) with what a user gives in its place."""
        if not set(self._letters) - {"s", "t"} <= problem.kept:
            return theta
        _, own = self._point()
        own = problem.family.from_data_units(own)
        return {name: np.broadcast_to(own[name], value.shape).copy() for name, value in theta.items()}

    def _closed(self, kept: frozenset[str]) -> np.ndarray:
        """Starts and transitions (K, 1 + K) that a user has set to zero."""
        K = int(self.n_components)
        closed = np.zeros((K, 1 + K), bool)
        if "s" in kept:
            closed[:, 0] = np.asarray(self.startprob_) == 0
        if "t" in kept:
            closed[:, 1:] = np.asarray(self.transmat_) == 0
        return closed

    def _pass(self, problem: Problem) -> Pass:
        """The pass over the data, in which a start or transition that stays at zero is impossible."""
        pass_, closed = super()._pass(problem), self._closed(problem.kept)
        if not closed.any():
            return pass_

        def without(eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            eta = eta.copy()
            eta[..., -closed.shape[1] :][..., closed] = -np.inf
            return pass_(eta)

        return without

    def _attributes(self, problem: Problem, parameters: tuple[np.ndarray, Theta]) -> Parameters:
        weights, theta = parameters
        own = {name: value[0] for name, value in theta.items()}
        chain = {"startprob_": weights[0, :, 0].copy(), "transmat_": weights[0, :, 1:].copy()}
        return chain | self._emission_attributes(problem.family, own)

    def _as_fit(self) -> SequenceFit:
        return replace(self._at_parameters(), method=self._method)
