"""The exact posterior as a sum over labellings, where clusters share a parameter and nothing factorises.

The labellings are enumerated: one of each partition if the clusters are exchangeable a priori, all K^N otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp

from mixtures.methods.exact_cost import exchangeable
from mixtures.methods.exact_posterior import Exact, blocks
from mixtures.methods.partitions import labellings, one_hot
from mixtures.model import Allocation, Family


@dataclass(frozen=True)
class Labellings(Exact):
    """The sum over labellings, for any conjugate family and allocation; a state is a labelling.

    Parameters
    ----------
    z : ndarray of int8, shape (J, N)
        Every labelling, or one of each partition where all clusters are of one kind.
    log_m : ndarray, shape (J,)
        log p(x | z).
    """

    z: np.ndarray
    log_m: np.ndarray

    @classmethod
    def of(cls, t: np.ndarray, family: Family, allocation: Allocation, rows: Any) -> Labellings:
        """The labellings and their marginal likelihoods."""
        K = allocation.n_components
        alike = exchangeable(allocation, len(t))
        z = labellings(len(t), K, alike)
        width = K * (len(t) + t.shape[1] ** 2)
        log_m = [family.log_marginal(one_hot(z[some], K) @ t) for some in blocks(len(z), width)]
        return cls(family, allocation, t, np.zeros(K, int) if alike else np.arange(K), rows, z, np.concatenate(log_m))

    @cached_property
    def counts(self) -> np.ndarray:
        """Points of each cluster, shape (J, K)."""
        return np.stack([(self.z == k).sum(1) for k in range(len(self.kinds))], axis=1)

    @cached_property
    def p(self) -> np.ndarray:
        """Posterior probability of each state, shape (J,)."""
        log_joint = self._log_joint(len(self.kinds))
        return np.exp(log_joint - logsumexp(log_joint))

    @cached_property
    def weights(self) -> np.ndarray:
        """p(z | x) E[pi_k | z], shape (J, K)."""
        counts = self.allocation.labelled(self.z, self.rows, len(self.kinds))
        mean = self.allocation.mean(self.allocation.posterior(counts))
        return self.p[:, None] * self.allocation.ahead(mean, self.z[:, -1])

    def indicators(self, states: np.ndarray) -> np.ndarray:
        """Which points are in the clusters of these labellings, shape (B, K, N)."""
        return one_hot(self.z[states], len(self.kinds))

    def log_evidence(self) -> np.ndarray:
        """log p(x) of the mixture of the first k clusters in nats, k = 1..K, shape (K,)."""
        return np.array([logsumexp(self._log_joint(k)) for k in range(1, len(self.kinds) + 1)])

    def occupied(self) -> np.ndarray:
        """Posterior probability that k clusters have points, k = 1..K, shape (K,)."""
        return np.bincount((self.counts > 0).sum(1), self.p, minlength=len(self.kinds) + 1)[1:]

    def canonical(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of the states, shape (n, N)."""
        return self.z[rng.choice(len(self.z), n, p=self.p)]

    def _log_joint(self, k: int) -> np.ndarray:
        """Log probability of the data and a state under the first k clusters, for the states that use no others."""
        own = self.z.max(1) < k
        counts = self.counts[own, :k]
        labelled = self.allocation.labelled(self.z[own], self.rows, k)
        log_p = self.log_m[own] + self.allocation.first(k).log_marginal(labelled)
        if not self.kinds.any():  # k! / (k - blocks)! labellings have these blocks
            log_p += gammaln(k + 1) - gammaln(k + 1 - (counts > 0).sum(1))
        return log_p
