"""The exact posterior as a product over blocks, for clusters with parameters of their own.

Where each cluster has these and p(z) has a factor for each cluster's size, the joint is a product over blocks,

    p(x, z) = c_N prod_k g_k(S_k),      g_k(S) = Gamma(alpha_k + |S|) / Gamma(alpha_k) p(x_S),      S_k = {n : z_n = k}

so that the 2^N marginal likelihoods p(x_S) are computed once, and the sum over z is a product of subset convolutions

    (f * g)(S) = sum_{T subset of S} f(S without T) g(T)                                                    3^N terms

(Bjorklund, Husfeldt, Kaski & Koivisto 2007, *Fourier meets Moebius*; their N^2 2^N transform subtracts and would lose the
digits, so the terms are added as they stand, in logarithms).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import logsumexp

from mixtures.methods.exact_posterior import Exact, blocks
from mixtures.methods.partitions import choices, convolve, members, submasks
from mixtures.model import Family


@dataclass(frozen=True)
class Subsets(Exact):
    """The sum where the joint probability is a product over blocks; a state is the set of points of one cluster.

    Sets are bit masks, see `mixtures.methods.partitions`.

    Parameters
    ----------
    log_g : ndarray, shape (kinds, 2^N)
        log g of every set; minus infinity for the empty set, so that a block has points.
    tables : dict of ndarray, shape (2^N,)
        For kinds of clusters in order, the log sum of prod g over all ways to split a set into one block for each; for every
        choice of fewer than K clusters.
    """

    allocation: Any
    log_g: np.ndarray
    tables: dict[tuple[int, ...], np.ndarray]

    @classmethod
    def of(cls, t: np.ndarray, family: Family, allocation: Any, rows: Any) -> Subsets:
        """Marginal likelihoods of all subsets, and the convolutions."""
        N, K = len(t), allocation.n_components
        sets = np.arange(2**N)
        log_m = [family.log_marginal((members(sets[b], N) @ t)[:, None]) for b in blocks(2**N, t.shape[1] ** 2)]
        factors, kinds = np.unique(allocation.log_factors(np.arange(N + 1)[:, None]), axis=1, return_inverse=True)
        log_g = factors.T[:, np.bitwise_count(sets)] + np.concatenate(log_m)
        log_g[:, 0] = -np.inf
        empty = np.full(2**N, -np.inf)
        empty[0] = 0
        tables: dict[tuple[int, ...], np.ndarray] = {(): empty}
        for occupied, _ in choices(np.bincount(kinds), N)[1:]:
            if len(occupied) < K:
                *others, last = occupied
                tables[occupied] = convolve(tables[tuple(others)], log_g[last]) if others else log_g[last]
        return cls(family, allocation, t, kinds, rows, log_g, tables)

    @cached_property
    def p(self) -> np.ndarray:
        """Posterior probability that a cluster holds exactly the points of each set, summed over clusters, shape (2^N,)."""
        return self.held[self.kinds].sum(0)

    @cached_property
    def weights(self) -> np.ndarray:
        """E[pi_k; S_k = S | x] summed over k, shape (2^N,); E[pi_k | z] depends on the size of S_k alone."""
        N = len(self.t)
        log_factors = self.allocation.log_factors(np.arange(N + 2)[:, None])
        growth = np.diff(log_factors, axis=0) + self._log_constant(N + 1) - self._log_constant(N)
        sizes = np.bitwise_count(np.arange(2**N))
        return sum(p * np.exp(growth[sizes, k]) for k, p in enumerate(self.held[self.kinds]))

    @cached_property
    def held(self) -> np.ndarray:
        """Posterior probability that a cluster of each kind holds exactly the points of each set, shape (kinds, 2^N)."""
        log_p = self.log_g.copy()
        log_p[:, 0] = 0  # an empty cluster
        sizes = np.bincount(self.kinds)
        for kind, one in enumerate(np.eye(len(sizes), dtype=int)):
            rest = [math.log(ways) + self.tables[others] for others, ways in choices(sizes - one, len(self.t))]
            log_p[kind] += np.logaddexp.reduce(rest)[::-1]  # of the complement
        return np.exp(log_p - logsumexp(self._log_weights(self.kinds)[1]))

    def indicators(self, states: np.ndarray) -> np.ndarray:
        """Which points are in these sets, shape (B, N)."""
        return members(states, len(self.t))

    def log_evidence(self) -> np.ndarray:
        """log p(x) of the mixture of the first k clusters in nats, k = 1..K, shape (K,)."""
        N, ks = len(self.t), range(1, len(self.kinds) + 1)
        return np.array([logsumexp(self._log_weights(self.kinds[:k])[1]) + self._log_constant(N, k) for k in ks])

    def occupied(self) -> np.ndarray:
        """Posterior probability that k clusters have points, k = 1..K, shape (K,)."""
        chosen, log_w = self._log_weights(self.kinds)
        p = np.exp(log_w - logsumexp(log_w))
        return np.bincount([len(kinds) for kinds in chosen], p, minlength=len(self.kinds) + 1)[1:]

    def canonical(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of which clusters have points, then of their blocks one after another, shape (n, N)."""
        chosen, log_w = self._log_weights(self.kinds)
        drawn = rng.choice(len(chosen), n, p=np.exp(log_w - logsumexp(log_w)))
        labels = np.empty((n, len(self.t)), dtype=int)
        for i, kinds in enumerate(chosen):
            clusters = np.concatenate([np.flatnonzero(self.kinds == j)[: kinds.count(j)] for j in sorted(set(kinds))])
            self._split(labels, np.flatnonzero(drawn == i), kinds, clusters, 2 ** len(self.t) - 1, rng)
        return labels

    def _split(
        self,
        labels: np.ndarray,
        rows: np.ndarray,
        kinds: tuple[int, ...],
        clusters: np.ndarray,
        points: int,
        rng: np.random.Generator,
    ) -> None:
        """Draw a block for each cluster, in these rows of the labels, from a set of points."""
        if len(rows) == 0:
            return
        *others, last = kinds
        if not others:
            labels[np.ix_(rows, np.flatnonzero(members(points, len(self.t))))] = clusters[0]
            return
        subsets = submasks(points)
        log_p = self.log_g[last, subsets] + self.tables[tuple(others)][points ^ subsets]
        drawn = rng.choice(subsets, len(rows), p=np.exp(log_p - logsumexp(log_p)))
        order = np.argsort(drawn, kind="stable")
        found, first = np.unique(drawn[order], return_index=True)
        for block, own in zip(found, np.split(rows[order], first[1:]), strict=True):
            labels[np.ix_(own, np.flatnonzero(members(block, len(self.t))))] = clusters[-1]
            self._split(labels, own, tuple(others), clusters[:-1], points ^ block, rng)

    def _log_weights(self, kinds: np.ndarray) -> tuple[list[tuple[int, ...]], np.ndarray]:
        """The kinds of the occupied clusters, in every possible choice, and the log sum of prod g over its labellings."""
        chosen, log_w = [], []
        for occupied, ways in choices(np.bincount(kinds, minlength=len(self.log_g)), len(self.t))[1:]:
            *others, last = occupied
            log_sum = logsumexp(self.tables[tuple(others)][::-1] + self.log_g[last])
            chosen.append(occupied)
            log_w.append(math.log(ways) + log_sum)
        return chosen, np.array(log_w)

    def _log_constant(self, n: int, k: int | None = None) -> float:
        """log c_n of the mixture of the first k clusters."""
        allocation: Any = self.allocation if k is None else self.allocation.first(k)
        counts = np.eye(1, allocation.n_components)[0] * n
        return float(allocation.log_marginal(counts) - allocation.log_factors(counts).sum())
