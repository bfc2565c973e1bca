"""Independent labels with Dirichlet weights.

    pi ~ Dirichlet(alpha0)      z_n | pi ~ Categorical(pi)

The weights are a conjugate exponential family of their own: their statistics are the cluster counts, their natural
parameters log pi.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln, xlogy

from mixtures.allocations.independent import Independent
from mixtures.checks import as_number, as_numbers, check_components
from mixtures.seeds import Rng, generator
from mixtures.special import log_rising

SMALLEST, LARGEST = 1e-300, 1e300
"""A concentration, and the sum of all: log Gamma of less or more is no number."""


@dataclass(frozen=True)
class Dirichlet(Independent):
    """Weights pi under Dirichlet(alpha0).

    Parameters
    ----------
    alpha0 : ndarray, shape (K,)
        Positive concentrations.

    Raises
    ------
    ValueError
        If a concentration is not a positive number, or one is too small or their sum too large for the logarithm of a Gamma
        function.
    """

    alpha0: np.ndarray

    equations: ClassVar[tuple[str, ...]] = ("pi ~ Dirichlet(alpha0)", "z_n | pi ~ Categorical(pi)")

    def __post_init__(self) -> None:
        alpha0 = as_numbers("alpha0", self.alpha0)
        if alpha0.ndim != 1 or alpha0.size == 0 or not np.all((alpha0 > 0) & np.isfinite(alpha0)):
            raise ValueError(f"alpha0 is {self.alpha0!r}; expected K positive numbers")
        if alpha0.min() < SMALLEST or alpha0.max() > LARGEST / alpha0.size:
            raise ValueError(
                f"alpha0 is {self.alpha0!r}; expected at least {SMALLEST:g} each and a sum of at most {LARGEST:g}"
            )
        object.__setattr__(self, "alpha0", alpha0)

    @classmethod
    def symmetric(cls, n_components: int, alpha0: float = 1.0) -> Dirichlet:
        """The same concentration for each of K clusters; 1 is the uniform density on the simplex."""
        return cls(np.full(check_components(n_components), as_number("alpha0", alpha0)))

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.alpha0)

    @cached_property
    def log_prior_normaliser(self) -> np.ndarray:
        """log B(alpha0), which every step asks for."""
        return _log_beta(self.alpha0)

    def natural(self, weights: np.ndarray) -> np.ndarray:
        """log pi, shape (..., K); a weight of zero counts as 1e-300, whose logarithm is still a number."""
        return np.log(np.maximum(weights, 1e-300))

    def expected_natural(self, alpha: np.ndarray) -> np.ndarray:
        """E[log pi] under Dirichlet(alpha), shape (..., K) (PRML 10.66)."""
        return digamma(alpha) - digamma(alpha.sum(-1, keepdims=True))

    def posterior(self, counts: np.ndarray) -> np.ndarray:
        """alpha = alpha0 + N_k, shape (..., K) (PRML 10.58)."""
        return self.alpha0 + counts

    def log_marginal(self, counts: np.ndarray) -> np.ndarray:
        """Log probability of one labelling with these counts, log B(alpha0 + N) - log B(alpha0), shape (...)."""
        return self.log_factors(counts).sum(-1) - log_rising(self.alpha0.sum(), counts.sum(-1))

    def log_factors(self, counts: np.ndarray) -> np.ndarray:
        """log Gamma(alpha_k + N_k) / Gamma(alpha_k): what `log_marginal` owes to each cluster's count, shape (..., K)."""
        return log_rising(self.alpha0, counts)

    def first(self, k: int) -> Dirichlet:
        """The prior of a mixture of the first k clusters, with their concentrations."""
        return Dirichlet(self.alpha0[:k])

    def maximum_likelihood(self, counts: np.ndarray) -> np.ndarray:
        """pi_k = N_k / N (PRML 9.22)."""
        return counts / counts.sum(-1, keepdims=True)

    def mode(self, counts: np.ndarray) -> np.ndarray:
        """Mode of the posterior density, (alpha_k - 1) / (sum alpha - K) (PRML B.20).

        Raises
        ------
        ValueError
            If alpha0 < 1, where the density is unbounded at the faces of the simplex.
        """
        if np.any(self.alpha0 < 1):
            raise ValueError(
                f"MAP needs alpha0 of at least 1, not {self.alpha0.min():g}: below it the posterior is unbounded"
            )
        return self.maximum_likelihood(self.posterior(counts) - 1)

    def log_density(self, weights: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """log Dirichlet(pi | alpha) with respect to d pi_1 ... d pi_(K-1), shape (...) (PRML B.16)."""
        return xlogy(alpha - 1, weights).sum(-1) - _log_beta(alpha)

    def log_prior(self, weights: np.ndarray) -> np.ndarray:
        """`log_density` of pi under the prior, shape (...)."""
        return self.log_density(weights, self.alpha0)

    def mean(self, alpha: np.ndarray) -> np.ndarray:
        """E[pi] under Dirichlet(alpha): the weights of the predictive density (PRML 10.81)."""
        return alpha / alpha.sum(-1, keepdims=True)

    def sample(self, alpha: np.ndarray, size: int, rng: Rng) -> np.ndarray:
        """Draws of pi from Dirichlet(alpha), shape (size, K)."""
        rng = generator(rng)
        return rng.dirichlet(alpha, size)

    def n_free(self) -> int:
        """Number of free weights, K - 1."""
        return len(self.alpha0) - 1


def _log_beta(alpha: np.ndarray) -> np.ndarray:
    return gammaln(alpha).sum(-1) - gammaln(alpha.sum(-1))
