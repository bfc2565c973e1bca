"""Independent labels with truncated stick-breaking weights: a Dirichlet process cut off at K clusters.

    v_k ~ Beta(1, gamma0), k < K      v_K = 1      pi_k = v_k prod_(j<k) (1 - v_j)      z_n | pi ~ Categorical(pi)

Each v_k is the share that cluster k takes of what the clusters before it left (Sethuraman 1994, *Statistica Sinica*
4:639-650). The last takes all that is left, so that the weights sum to one (Ishwaran & James 2001, *JASA* 96:161-173);
CAVI under this prior is that of Blei & Jordan (2006, *Bayesian Analysis* 1:121-143). Sticks are Beta variables given the
labels too, which makes pi a generalised Dirichlet (Connor & Mosimann 1969, *JASA* 64:194-206).

The weights fall with k in expectation: the clusters are not exchangeable, and a posterior remembers the order of its sticks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.special import betaln, digamma, xlogy

from mixtures.allocations.independent import Independent
from mixtures.checks import as_numbers, check_components
from mixtures.errors import CollapseError
from mixtures.seeds import Rng, generator


@dataclass(frozen=True)
class Sticks:
    """Weights of independent sticks v_k ~ Beta(a_k, b_k), k < K, with v_K = 1.

    Parameters
    ----------
    a, b : ndarray, shape (..., K-1)
    order : ndarray of int, shape (K,)
        For each cluster, the stick its weight comes from.
    """

    a: np.ndarray
    b: np.ndarray
    order: np.ndarray

    def __getitem__(self, order: np.ndarray) -> Sticks:
        """The same density with its clusters in the order (K,)."""
        return replace(self, order=self.order[order])


@dataclass(frozen=True)
class StickBreaking(Independent):
    """Weights pi from K - 1 sticks under Beta(1, gamma0).

    Parameters
    ----------
    n_components : int
        K, the truncation.
    gamma0 : float
        Positive concentration: the larger, the more clusters share the weight; a stick takes 1 / (1 + gamma0) of what is
        left in expectation.

    Raises
    ------
    ValueError
        If there is no cluster or gamma0 is not a positive number.
    """

    n_components: int
    gamma0: float = 1.0

    equations: ClassVar[tuple[str, ...]] = (
        "v_k ~ Beta(1, gamma0), k < K",
        "v_K = 1",
        "pi_k = v_k prod_(j<k) (1 - v_j)",
        "z_n | pi ~ Categorical(pi)",
    )

    def __post_init__(self) -> None:
        check_components(self.n_components)
        gamma0 = as_numbers("gamma0", self.gamma0)
        if gamma0.ndim or not 0 < gamma0 < np.inf:
            raise ValueError(f"gamma0 is {self.gamma0!r}; expected one positive number")

    def natural(self, weights: np.ndarray) -> np.ndarray:
        """log pi, shape (..., K); a weight of zero counts as 1e-300, whose logarithm is still a number."""
        return np.log(np.maximum(weights, 1e-300))

    def expected_natural(self, q: Sticks) -> np.ndarray:
        """E[log pi_k] = E[log v_k] + sum_(j<k) E[log(1 - v_j)], shape (..., K)."""
        total, none = digamma(q.a + q.b), np.zeros((*q.a.shape[:-1], 1))
        taken, left = digamma(q.a) - total, np.cumsum(digamma(q.b) - total, axis=-1)
        return (np.append(taken, none, axis=-1) + np.append(none, left, axis=-1))[..., q.order]

    def posterior(self, counts: np.ndarray) -> Sticks:
        """a_k = 1 + N_k and b_k = gamma0 + sum_(j>k) N_j."""
        return Sticks(1 + counts[..., :-1], self.gamma0 + _from_each_on(counts)[..., 1:], np.arange(self.n_components))

    def log_marginal(self, counts: np.ndarray) -> np.ndarray:
        """Log probability of one labelling with these counts, sum_k log B(a_k, b_k) - log B(1, gamma0), shape (...)."""
        q = self.posterior(counts)
        return (betaln(q.a, q.b) + np.log(self.gamma0)).sum(-1)

    def first(self, k: int) -> StickBreaking:
        """The prior of a mixture cut off at k clusters."""
        return StickBreaking(k, self.gamma0)

    def maximum_likelihood(self, counts: np.ndarray) -> np.ndarray:
        """pi_k = N_k / N (PRML 9.22)."""
        return counts / counts.sum(-1, keepdims=True)

    def mode(self, counts: np.ndarray) -> np.ndarray:
        """Mode of the posterior density of pi, shape (..., K).

        With the Jacobian prod_(j<k) 1 / (1 - v_j) of each v_k, the density of pi is in terms of the sticks a product of
        v_k^N_k (1 - v_k)^(b_k - 1 - (K-1-k)), whose factors peak apart.

        Raises
        ------
        CollapseError
            If gamma0 and the counts after some cluster are too small: the density grows without bound, or to no single
            limit, as that cluster takes all that is left.
        """
        q = self.posterior(counts)
        taken, left = q.a - 1, q.b - np.arange(self.n_components - 1, 0, -1)
        unbounded = left < 0
        unbounded[..., :-1] |= left[..., :-1] == 0
        without = unbounded | (taken + left == 0)
        if without.any():
            raise CollapseError(
                f"the posterior density of the weights has no mode at gamma0 = {self.gamma0:g}: too few points are left for "
                f"the last clusters; use fewer components, or gamma0 above {self.n_components - 1}",
                without.any(-1),
            )
        return _weights(taken / (taken + left), left / (taken + left))

    def log_density(self, weights: np.ndarray, q: Sticks) -> np.ndarray:
        """Log generalised Dirichlet density of pi with respect to d pi_1 ... d pi_(K-1), shape (...).

        Each v_k = pi_k / (pi_k + ... + pi_K) brings its Beta density and a Jacobian 1 / (pi_k + ... + pi_K). A weight of
        zero counts as 1e-300, as in `natural`.
        """
        pi = np.maximum(weights, 1e-300)[..., np.argsort(q.order)]
        rest = _from_each_on(pi)
        log_v = xlogy(q.a - 1, pi[..., :-1]) + xlogy(q.b - 1, rest[..., 1:]) - xlogy(q.a + q.b - 1, rest[..., :-1])
        return (log_v - betaln(q.a, q.b)).sum(-1)

    def log_prior(self, weights: np.ndarray) -> np.ndarray:
        """`log_density` of pi under the prior, shape (...)."""
        return self.log_density(weights, self.posterior(np.zeros(self.n_components)))

    def mean(self, q: Sticks) -> np.ndarray:
        """E[pi], a product of expectations over independent sticks, shape (..., K)."""
        return _weights(q.a / (q.a + q.b), q.b / (q.a + q.b))[..., q.order]

    def sample(self, q: Sticks, size: int, rng: Rng) -> np.ndarray:
        """Draws of pi from q, shape (size, K), each stick a ratio of Gammas so that 1 - v keeps its digits."""
        rng = generator(rng)
        taken, left = (rng.standard_gamma(c, (size, *c.shape)) for c in (q.a, q.b))
        return _weights(taken / (taken + left), left / (taken + left))[..., q.order]

    def n_free(self) -> int:
        """Number of free weights, K - 1."""
        return self.n_components - 1


def _weights(taken: np.ndarray, left: np.ndarray) -> np.ndarray:
    """pi (..., K) from v and 1 - v (..., K-1)."""
    one = np.ones((*taken.shape[:-1], 1))
    return np.append(taken, one, axis=-1) * np.append(one, np.cumprod(left, axis=-1), axis=-1)


def _from_each_on(values: np.ndarray) -> np.ndarray:
    """The sum from each entry of the last axis to the end, (..., K)."""
    return np.cumsum(values[..., ::-1], axis=-1)[..., ::-1]
