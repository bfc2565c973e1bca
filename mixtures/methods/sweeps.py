"""The steps of Gibbs sampling: sweeps, exchanges of names, and jumps between modes; see `mixtures.methods.gibbs`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from mixtures.engines.passes import Pass, draw
from mixtures.engines.responsibilities import fold, log_sum
from mixtures.labels import assignments
from mixtures.model import Allocation, Family, Theta


class Sweep(NamedTuple):
    """One sweep of C chains: parameters drawn and the state they led to.

    Attributes
    ----------
    weights : ndarray, shape (C, K)
    theta : dict of ndarray, shape (C, K, ...)
    eta : ndarray, shape (C, K, P)
        Their natural parameters, log pi folded in.
    log_z : ndarray, shape (C,)
        log p(x | pi, theta).
    s : ndarray, shape (C, K, P)
        What the chains go on from.
    exchanged : ndarray of bool, shape (C,)
        Whether two clusters exchanged their names, or one its own.
    """

    weights: np.ndarray
    theta: Theta
    eta: np.ndarray
    log_z: np.ndarray
    s: np.ndarray
    exchanged: np.ndarray


@dataclass(frozen=True)
class Library:
    """Parameters whose average of p(z | pi_m, theta_m, x) is q(z), their clusters in the order of a reference.

    Parameters
    ----------
    eta : ndarray, shape (M, K, P)
    log_z : ndarray, shape (M,)
        log p(x | pi_m, theta_m).
    reference : ndarray, shape (K, P)
        Natural parameters that set the order of clusters.
    """

    eta: np.ndarray
    log_z: np.ndarray
    reference: np.ndarray

    def log_q(self, s: np.ndarray) -> np.ndarray:
        """log q of labellings in the library's order with the statistics s (S, K, P), shape (S,)."""
        M = len(self.eta)
        log_p = s.reshape(len(s), -1) @ self.eta.reshape(M, -1).T - self.log_z
        return log_sum(log_p) - np.log(M)


class Proposals(NamedTuple):
    """Labellings drawn from q, their clusters in the order of the library.

    Attributes
    ----------
    s : ndarray, shape (..., K, P)
        Their statistics.
    log_weight : ndarray, shape (...)
        log p(x | z) / ((K - k)! q(z)); minus infinity for one that is not in the order.
    """

    s: np.ndarray
    log_weight: np.ndarray


@dataclass(frozen=True)
class Sampler:
    """The steps of C chains side by side, from states s (C, K, P) to states.

    Parameters
    ----------
    family, allocation : Family, Allocation
    pass_ : callable
        From eta (C, K, P) and uniform numbers (C, N) to log_z (C,) and the statistics (C, K, P) of labels drawn.
    n : int
        N.
    rng : numpy.random.Generator
    """

    family: Family
    allocation: Allocation
    pass_: Pass
    n: int
    rng: np.random.Generator

    def begin(self, s: np.ndarray) -> np.ndarray:
        """What chains hold that begin with these statistics (C, K, P)."""
        return s

    def statistics(self, s: np.ndarray) -> np.ndarray:
        """The statistics (..., K, P) in what chains hold."""
        return s

    def sweep(self, s: np.ndarray) -> Sweep:
        """Exchange names, then draw pi and theta given s, then z given pi and theta."""
        s, exchanged = self.exchange(s)
        labels, points = self.allocation.split(s)
        theta = {name: v[0] for name, v in self.family.sample(self.family.posterior(points), 1, self.rng).items()}
        posteriors = [self.allocation.posterior(counts) for counts in labels]
        weights = np.array([self.allocation.sample(q, 1, self.rng)[0] for q in posteriors])
        eta = fold(self.allocation.natural(weights), self.family.natural(theta))
        return Sweep(weights, theta, eta, *self.draw(eta), exchanged)

    def draw(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log_z (C,) and the statistics (C, K, P) of labels, and of missing values, drawn with natural parameters (C, K, P)."""
        return draw(self.pass_, eta, self.n, self.rng)

    def exchange(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exchange the names of two clusters, or of one with itself, and whether that was accepted (C,)."""
        C, K, _ = s.shape
        chain, order = np.arange(C), np.tile(np.arange(K), (C, 1))
        one, other = self.rng.integers(K, size=(2, C))
        order[chain, one], order[chain, other] = other, one
        return self._metropolis(s, *self._renaming(s, order))

    def _renaming(self, s: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The clusters of what chains hold in the order (C, K), and the log of how many times as probable that is (C,)."""
        new = self._take(s, order)
        return new, self._log_labels(new) - self._log_labels(s)

    def propose(self, library: Library, *shape: int) -> Proposals:
        """So many labellings from q, which know nothing of the chains."""
        _, s = self.draw(library.eta[self.rng.integers(len(library.eta), size=math.prod(shape))])
        in_order = np.all(s == self._take(s, self._order(s, library.reference)), axis=(1, 2))
        log_weight = np.where(in_order, self._log_weight(s, library), -np.inf)
        return Proposals(s.reshape(*shape, *s.shape[1:]), log_weight.reshape(shape))

    def jump(self, s: np.ndarray, library: Library, proposals: Proposals) -> tuple[np.ndarray, np.ndarray]:
        """Go on from the proposals, one for each chain, where they are accepted (C,)."""
        order = self._order(s, library.reference)
        new = self._take(proposals.s, np.argsort(order, axis=1))
        before = self._log_labels(s) + self._log_weight(self._take(s, order), library)
        log_ratio = self._log_labels(new) + proposals.log_weight - before
        return self._metropolis(s, new, log_ratio)

    def _log_weight(self, s: np.ndarray, library: Library) -> np.ndarray:
        empty = (s[..., 0] == 0).sum(-1)
        return self.family.log_marginal(self.allocation.split(s)[1]) - gammaln(1 + empty) - library.log_q(s)

    def library(self, sweeps: list[Sweep]) -> Library:
        """The parameters of some sweeps, in the order of those that led to the most probable labelling."""
        eta, log_z, s = (np.concatenate(parts) for parts in zip(*((w.eta, w.log_z, w.s) for w in sweeps), strict=True))
        reference = eta[np.argmax(self.log_joint(s))]
        return Library(self._take(eta, self._order(self.statistics(s), reference)), log_z, reference)

    def log_joint(self, s: np.ndarray) -> np.ndarray:
        """log p(x, z) in nats, shape (...)."""
        labels, points = self.allocation.split(s)
        return self.family.log_marginal(points) + self.allocation.log_marginal(labels)

    def _log_labels(self, s: np.ndarray) -> np.ndarray:
        """log p(z), shape (...)."""
        return self.allocation.log_marginal(self.allocation.split(s)[0])

    def _take(self, s: np.ndarray, order: np.ndarray) -> np.ndarray:
        """The clusters of s (C, K, ...) in the order (C, K)."""
        return self.allocation.permute(s, order)

    def _order(self, s: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """For each cluster of the reference, the one of s that takes its place, (C, K); those without points at random."""
        names = self.rng.permuted(np.tile(np.arange(s.shape[1]), (len(s), 1)), axis=1)
        (_, own), (_, points) = (self.allocation.split(a) for a in (reference, self._take(s, names)))
        overlaps = own @ points.swapaxes(1, 2)
        return np.take_along_axis(names, assignments(overlaps), axis=1)

    def _metropolis(self, s: np.ndarray, new: np.ndarray, log_ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        accepted = np.log(self.rng.random(len(s))) < log_ratio
        return np.where(accepted[:, None, None], new, s), accepted
