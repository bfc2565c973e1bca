"""What the exact posterior is, however its sum is taken: a mixture of conjugate posteriors over all allocations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from mixtures.model import Allocation, Family, Theta
from mixtures.seeds import Rng, generator

# Numbers that are held at once of what is taken in blocks.
BLOCK_ELEMENTS = 400_000


@dataclass(frozen=True)
class Exact(ABC):
    """A mixture of conjugate posteriors over all allocations.

    A *state* is what a conjugate posterior belongs to: a set of points that one cluster may hold, or a whole labelling.

    Parameters
    ----------
    family, allocation : Family, Allocation
    t : ndarray, shape (N, P)
        The points' sufficient statistics.
    kinds : ndarray, shape (K,)
        Clusters with one prior have one number.
    rows : ndarray or Sequences
        The points as the allocation takes them.
    """

    family: Family
    allocation: Allocation
    t: np.ndarray
    kinds: np.ndarray
    rows: Any

    @property
    @abstractmethod
    def p(self) -> np.ndarray:
        """Posterior probability of each state, for a set of points summed over the clusters that may hold it, shape (J,)."""

    @property
    @abstractmethod
    def weights(self) -> np.ndarray:
        """Weight of each state's clusters in the predictive density, E[pi_k; state | x], shape (J,) or (J, K).

        Of a chain that is the density of the step after the last.
        """

    @abstractmethod
    def indicators(self, states: np.ndarray) -> np.ndarray:
        """Which points are in the clusters of these states, shape (B, N) or (B, K, N)."""

    @abstractmethod
    def canonical(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of the labels up to the names of clusters of one kind, shape (n, N)."""

    @abstractmethod
    def log_evidence(self) -> np.ndarray:
        """log p(x) of the mixture of the first k clusters in nats, k = 1..K, shape (K,)."""

    @abstractmethod
    def occupied(self) -> np.ndarray:
        """Posterior probability that k clusters have points, k = 1..K, shape (K,)."""

    def coclustering(self) -> np.ndarray:
        """Posterior probability that two points share a cluster, shape (N, N)."""
        N, K = len(self.t), len(self.kinds)
        if K == 1:
            return np.broadcast_to(1.0, (N, N))  # which takes no memory, for N may be large then
        together = np.zeros((N, N))
        for rows in blocks(len(self.p), N * K):
            z = self.indicators(np.arange(len(self.p))[rows]).reshape(-1, N)
            p = np.repeat(self.p[rows], len(z) // len(self.p[rows]))
            together += z.T @ (p[:, None] * z)
        return together

    def labels(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent draws of the labels from p(z | x), shape (n, N)."""
        names = np.empty((n, len(self.kinds)), dtype=int)
        for kind in np.unique(self.kinds):
            alike = np.flatnonzero(self.kinds == kind)
            names[:, alike] = rng.permuted(np.tile(alike, (n, 1)), axis=1)
        return np.take_along_axis(names, self.canonical(n, rng), axis=1)

    def sample(self, n: int, rng: Rng) -> tuple[np.ndarray, Theta]:
        """Independent draws of weights (n, K) and theta (n, K, ...) in the family's coordinates, under all labellings."""
        rng, K = generator(rng), len(self.kinds)
        if K == 1:
            z, s = np.zeros((1, len(self.t)), dtype=int), np.broadcast_to(self.t.sum(0), (n, 1, self.t.shape[1]))
        else:
            z = self.labels(n, rng)
            s = np.eye(K)[z].swapaxes(1, 2) @ self.t
        theta = self.family.sample(self.family.posterior(s), 1, rng)
        labelled = self.allocation.labelled(z, self.rows, K)
        counts = np.broadcast_to(labelled, (n, *labelled.shape[1:]))
        weights = [self.allocation.sample(self.allocation.posterior(each), 1, rng)[0] for each in counts]
        return np.array(weights), {name: v[0] for name, v in theta.items()}

    def log_predictive(self, x: np.ndarray) -> np.ndarray:
        """log p(x_new | x) in nats, the average of the states' predictive densities, shape (len(x),)."""
        log_p = np.full(len(x), -np.inf)
        for states, q in self._posteriors(x.size):
            each = self.family.log_predictive(x, q) + np.log(self.weights[states])
            log_p = np.logaddexp(log_p, logsumexp(each.reshape(len(x), -1), axis=1))
        return log_p

    def moments(self) -> dict[str, np.ndarray]:
        """Posterior expectations that need no labels, in the units of x.

        Returns
        -------
        dict
            ``mean`` = E[mu] of the mixture's mean mu = sum_k pi_k mu_k, shape (D,); ``within`` = E[sum_k pi_k Sigma_k];
            ``covariance`` = E[sum_k pi_k (Sigma_k + mu_k mu_k^T)] - E[mu] E[mu]^T, which is the covariance of the
            posterior predictive density, shape (D, D). Not a number where E[Sigma_k] does not exist.
        """
        near = self.family.moments(self.family.posterior(self.t.sum(0, keepdims=True)))[0][0]  # against cancellation
        D = len(near)
        mean, within, second = np.zeros(D), np.zeros((D, D)), np.zeros((D, D))
        for states, q in self._posteriors(D**2):
            w = self.weights[states].ravel()
            means, covariances = self.family.moments(q)
            offset = means.reshape(-1, D) - near
            mean += w @ offset
            second += np.tensordot(w, covariances.reshape(-1, D, D), 1) + (w[:, None] * offset).T @ offset
            within += np.tensordot(w, self.family.to_data(self.family.mean(q))["covariances"].reshape(-1, D, D), 1)
        return {"mean": near + mean, "within": within, "covariance": second - np.outer(mean, mean)}

    def _posteriors(self, width: int) -> Iterator[tuple[np.ndarray, Any]]:
        """States of positive weight in blocks for ``width`` numbers a cluster, with their hyperparameters."""
        rows = self.weights.reshape(len(self.weights), -1)
        states = np.flatnonzero(rows.min(1) > 0)
        for block in blocks(len(states), (width + 4 * self.t.shape[1]) * rows.shape[1]):
            yield states[block], self.family.posterior(self.indicators(states[block]) @ self.t)


def blocks(size: int, width: int) -> Iterator[slice]:
    """Slices of ``size`` rows, each of about `BLOCK_ELEMENTS` numbers at ``width`` a row."""
    step = max(1, BLOCK_ELEMENTS // width)
    return (slice(start, start + step) for start in range(0, size, step))
