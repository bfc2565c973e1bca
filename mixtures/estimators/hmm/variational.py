"""Hidden Markov models fitted by variational Bayes: what hmmlearn's two variational classes share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np

from mixtures.allocations.markov import Markov
from mixtures.checks import as_numbers, check_count
from mixtures.engines.responsibilities import fold
from mixtures.estimators.hmm.base import HiddenMarkov, Parameters, Problem
from mixtures.fit import Conjugate
from mixtures.model import Family
from mixtures.rows.sequences import Sequences
from mixtures.sequences import SequenceFit


@dataclass(frozen=True)
class Infer:
    """The VB-M step of R runs: q(pi, A) and q(theta) given q(z), of what is not held (Beal 2003, section 3.4).

    Parameters
    ----------
    family : Family
    allocation : Markov
    emissions : callable
        From statistics (R, K, P) and what the runs begin with to q(theta).
    divergence : callable
        From q(theta) to KL(q(theta) || p(theta)), (R,).
    letters : str
        Parameters that move.
    alpha : ndarray, shape (R, K, 1 + K), or None
    q
        What the runs begin with, fields of shape (R, ...); None where nothing is held.
    """

    family: Family
    allocation: Markov
    emissions: Callable[[np.ndarray, Any], Any]
    divergence: Callable[[Any], np.ndarray]
    letters: str
    alpha: np.ndarray | None = None
    q: Any = None

    @property
    def first(self) -> tuple[np.ndarray, Any]:
        """What the runs begin with."""
        assert self.alpha is not None
        return self.alpha, self.q

    def take(self, runs: np.ndarray) -> Self:
        """The step of some of the runs."""
        return self if self.alpha is None else replace(self, alpha=self.alpha[runs], q=self.q.take(runs))

    def of(self, run: int) -> Self:
        """The step of one run."""
        return self.take(np.array([run]))

    def eta(self) -> np.ndarray:
        """E_q[eta] (R, K, C) of what the runs begin with."""
        return self._eta(*self.first)

    def parameters(self, s: np.ndarray) -> tuple[np.ndarray, Any]:
        """Concentrations (R, K, 1 + K) and q(theta) at the states s (R, K, C)."""
        labels, points = self.allocation.split(s)
        alpha = self.allocation.posterior(labels)
        if self.alpha is not None:
            for letter, columns in (("s", slice(0, 1)), ("t", slice(1, None))):
                if letter not in self.letters:
                    alpha[..., columns] = self.alpha[..., columns]
        return alpha, self.emissions(points, self.q)

    def __call__(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E_q[eta] (R, K, C) and what the lower bound has beside sum log_z, (R,)."""
        alpha, q = self.parameters(s)
        counts = alpha - self.allocation.prior
        chain = (counts * self.allocation.expected_natural(alpha)).sum((-2, -1)) - self.allocation.log_marginal(counts)
        return self._eta(alpha, q), -chain - self.divergence(q)

    def _eta(self, alpha: np.ndarray, q: Any) -> np.ndarray:
        return fold(self.allocation.expected_natural(alpha), self.family.expected_natural(q))


class VariationalHMM(HiddenMarkov):
    """What the models fitted by variational Bayes share; see the classes."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **HiddenMarkov._parameter_constraints,
        "startprob_prior": [None, Real, "array-like"],
        "transmat_prior": [None, Real, "array-like"],
    }
    _method = "cavi"

    startprob_prior: Any
    transmat_prior: Any
    startprob_prior_: np.ndarray
    transmat_prior_: np.ndarray
    startprob_posterior_: np.ndarray
    transmat_posterior_: np.ndarray
    params: str

    @abstractmethod
    def _emissions(self, family: Family, s: np.ndarray, start: Any) -> Any:
        """q(theta) given statistics s (..., K, P); what does not move as it is in ``start``."""

    @abstractmethod
    def _divergence(self, family: Family, q: Any) -> np.ndarray:
        """KL(q(theta) || p(theta)), (...)."""

    @abstractmethod
    def _with_given(self, problem: Problem, q: Any) -> Any:
        """q(theta) (R, ...) with what a user gives in its place."""

    @abstractmethod
    def _emission_attributes(self, family: Family, q: Any) -> Parameters:
        """The emissions' attributes from q(theta) of one run."""

    @abstractmethod
    def _posterior(self) -> tuple[Family, Any]:
        """The family with its priors in coordinates that suit the states, and q(theta)."""

    def _prior_of(self, name: str, default: float, shape: tuple[int, ...]) -> np.ndarray:
        """Concentrations that the constructor has, in this shape."""
        given = getattr(self, name)
        values = as_numbers(name, default if given is None else given)
        try:
            return np.broadcast_to(values, shape).copy()
        except ValueError:
            raise ValueError(f"{name} must be a number or have shape {shape}, and has {values.shape}") from None

    def _prepare(self, x: Sequences, kept: frozenset[str]) -> None:
        K = int(self.n_components)
        check_count("n_components", K, K)
        if "s" not in kept:
            self._set({"startprob_prior_": self._prior_of("startprob_prior", 1 / K, (K,))})
        if "t" not in kept:
            self._set({"transmat_prior_": self._prior_of("transmat_prior", 1 / K, (K, K))})

    def _positive(self, name: str, shape: tuple[int, ...], above: float = 0.0) -> np.ndarray:
        """Hyperparameters that are set, in this shape.

        Raises
        ------
        ValueError
            If the shape is another, or one is not above the bound.
        """
        values = np.asarray(getattr(self, name), dtype=float)
        if values.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, and has {values.shape}")
        if not np.all(np.isfinite(values) & (values > above)):
            raise ValueError(f"{name} holds {values.min():g}; expected more than {above:g}")
        return values

    def _check_given(self, kept: frozenset[str]) -> None:
        K = int(self.n_components)
        for letter, name, shape in (("s", "startprob", (K,)), ("t", "transmat", (K, K))):
            self._positive(f"{name}_prior_", shape)
            if letter in kept:
                self._positive(f"{name}_posterior_", shape)

    def _allocation(self) -> Markov:
        return Markov(self.startprob_prior_, self.transmat_prior_)

    def _update(self, problem: Problem, start: tuple[np.ndarray, Any] | None) -> Infer:
        family = problem.family
        update = Infer(
            family,
            problem.allocation,
            partial(self._emissions, family),
            partial(self._divergence, family),
            "".join(self._letters) if start is None else self.params,
        )
        if start is None:
            return update
        alpha, q = start
        alpha = alpha.copy()
        if "s" in problem.kept:
            alpha[..., 0] = self.startprob_posterior_
        if "t" in problem.kept:
            alpha[..., 1:] = self.transmat_posterior_
        return replace(update, alpha=alpha, q=self._with_given(problem, q))

    def _attributes(self, problem: Problem, parameters: tuple[np.ndarray, Any]) -> Parameters:
        alpha, q = parameters
        mean = problem.allocation.mean(alpha[0])
        return {
            "startprob_posterior_": alpha[0, :, 0].copy(),
            "transmat_posterior_": alpha[0, :, 1:].copy(),
            "startprob_": mean[:, 0].copy(),
            "transmat_": mean[:, 1:].copy(),
        } | self._emission_attributes(problem.family, q.take(np.array(0)))

    def _as_fit(self) -> SequenceFit:
        self._at_parameters()
        (family, q), alpha = self._posterior(), np.column_stack([self.startprob_posterior_, self.transmat_posterior_])
        return SequenceFit(
            method=self._method,
            kind="variational",
            family=family,
            allocation=self._allocation(),
            posterior=Conjugate(alpha, q),
            bound=np.empty(0),
            converged=False,
            seconds={},
        )
