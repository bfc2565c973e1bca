"""The steps of Gibbs sampling for chains that start in the stationary distribution of their transitions A.

There is no conjugate posterior of A, which is held beside s. A sweep proposes A' ~ Dirichlet(a0 + N) row by row, N being the
transitions in z, and accepts it with probability min(1, prod_s pi(A')_z / pi(A)_z), z being the first label of each sequence s:
Metropolis within Gibbs (Tierney 1994, *Annals of Statistics* 22:1701-1728). A jump proposes a labelling with such an A'. For
p(z) it has p(z, A) / Dirichlet(A | a0 + N), in which A has cancelled out but for the start.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from mixtures.allocations.markov import Markov
from mixtures.engines.responsibilities import fold
from mixtures.errors import CollapseError
from mixtures.methods.sweeps import Library, Proposals, Sampler, Sweep


class StationarySampler(Sampler):
    """The steps of chains whose start is the stationary distribution of A: they hold s and, in K columns more, A."""

    allocation: Markov

    def begin(self, s: np.ndarray) -> np.ndarray:
        """The statistics beside the posterior mean of A were the start free, (C, K, P + K)."""
        free = self.allocation.conjugate
        return np.concatenate([s, free.mean(free.posterior(self.allocation.split(s)[0]))[..., 1:]], axis=-1)

    def statistics(self, s: np.ndarray) -> np.ndarray:
        """What chains hold but for A."""
        return s[..., : -s.shape[-2]]

    def sweep(self, s: np.ndarray) -> Sweep:
        """Exchange names, propose A, draw theta given s, then z given A and theta."""
        s, exchanged = self.exchange(s)
        own = self.statistics(s)
        new = self._proposed(own)
        s, _ = self._metropolis(s, new, self._log_starts(new) - self._log_starts(s))
        A, (_, points) = s[..., -s.shape[-2] :], self.allocation.split(own)
        theta = {name: v[0] for name, v in self.family.sample(self.family.posterior(points), 1, self.rng).items()}
        weights = np.concatenate([self._start(A)[..., None], A], axis=-1)
        eta = fold(self.allocation.natural(weights), self.family.natural(theta))
        log_z, own = self.draw(eta)
        return Sweep(weights, theta, eta, log_z, np.concatenate([own, A], axis=-1), exchanged)

    def _renaming(self, s: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        A = s[..., -s.shape[-2] :]
        new = np.concatenate([self._take(self.statistics(s), order), self._take(A, order)], axis=-1)
        return new, self._log_prior(new) - self._log_prior(s)

    def jump(self, s: np.ndarray, library: Library, proposals: Proposals) -> tuple[np.ndarray, np.ndarray]:
        """Go on from the proposals, each with an A of its own, where they are accepted (C,)."""
        own = self.statistics(s)
        order = self._order(own, library.reference)
        new = self._proposed(self._take(proposals.s, np.argsort(order, axis=1)))
        before = self._log_labels(s) + self._log_weight(self._take(own, order), library)
        return self._metropolis(s, new, self._log_labels(new) + proposals.log_weight - before)

    def log_joint(self, s: np.ndarray) -> np.ndarray:
        """log p(x, z, A) in nats, shape (...)."""
        labels, points = self.allocation.split(self.statistics(s))
        A = s[..., -s.shape[-2] :]
        of_A = self._log_prior(s) + xlogy(labels[..., 1:], A).sum((-2, -1))
        return self.family.log_marginal(points) + of_A + self._log_starts(s)

    def _proposed(self, own: np.ndarray) -> np.ndarray:
        """The statistics beside A ~ Dirichlet(a0 + N)."""
        free = self.allocation.conjugate
        alpha = free.posterior(self.allocation.split(own)[0])
        return np.concatenate([own, free.sample(alpha, 1, self.rng)[0][..., 1:]], axis=-1)

    def _log_prior(self, s: np.ndarray) -> np.ndarray:
        """log p(A), (...)."""
        A = s[..., -s.shape[-2] :]
        return self.allocation.log_prior(np.concatenate([A[..., :1], A], axis=-1))

    def _start(self, A: np.ndarray) -> np.ndarray:
        """pi(A) (..., K), in which rounding leaves no negative number; zeros where A falls apart."""
        try:
            pi = np.maximum(self.allocation.stationary(A), 0)
        except CollapseError as error:
            pi = np.zeros(A.shape[:-1])
            pi[~error.runs] = np.maximum(self.allocation.stationary(A[~error.runs]), 0)
        return pi / np.maximum(pi.sum(-1, keepdims=True), np.finfo(float).tiny)

    def _log_starts(self, s: np.ndarray) -> np.ndarray:
        """log p(first labels | A), (...); minus infinity where A falls apart."""
        first = self.allocation.split(self.statistics(s))[0][..., 0]
        return xlogy(first, self._start(s[..., -s.shape[-2] :])).sum(-1)

    def _log_labels(self, s: np.ndarray) -> np.ndarray:
        """log p(z, A) / Dirichlet(A | a0 + N), shape (...)."""
        return self.allocation.log_transitions(self.allocation.split(self.statistics(s))[0]) + self._log_starts(s)
