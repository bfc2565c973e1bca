"""The exact posterior of a small data set, or of one cluster: a sum over all allocations of the points to the clusters.

With pi and theta integrated out, a labelling z has the joint probability p(x, z) = p(z) p(x | z), both factors in closed form.
The posterior is a mixture of conjugate posteriors, one for each z, and everything below is an average over p(z | x).

Where each cluster has parameters of its own and p(z) has a factor for each cluster's size, the joint is a product over blocks,

    p(x, z) = c_N prod_k g_k(S_k),      g_k(S) = Gamma(alpha_k + |S|) / Gamma(alpha_k) p(x_S),      S_k = {n : z_n = k}

so that the 2^N marginal likelihoods p(x_S) are computed once, and the sum over z is a product of subset convolutions

    (f * g)(S) = sum_{T subset of S} f(S without T) g(T)                                                    3^N terms

(Bjorklund, Husfeldt, Kaski & Koivisto 2007, *Fourier meets Moebius*; their N^2 2^N transform subtracts and would lose the
digits, so the terms are added as they stand, in logarithms). Where clusters share a parameter nothing factorises and the
labellings are enumerated: one of each partition if the clusters are exchangeable a priori, all K^N otherwise.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from mixtures.checks import check_model
from mixtures.engines.passes import log_base
from mixtures.families.priors import check_proper
from mixtures.fit import Fit
from mixtures.methods.partitions import INNER, choices, convolve, labellings, members, one_hot, partitions, submasks
from mixtures.model import Allocation, Family, Theta
from mixtures.rows.arrays import check_matrix
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator

LARGEST_SECONDS = 60.0
LARGEST_BYTES = 2e9
"""What an exact posterior may take, by `cost`."""

# Terms beyond which it does not matter how many they are.
HOPELESS = 1e24

# Measured on one core of an AMD EPYC: a term of a convolution; a marginal likelihood with its posterior, and more for each
# sufficient statistic.
SECONDS_A_TERM, SECONDS_A_STATE, SECONDS_A_STATISTIC = 8e-9, 5e-6, 3e-7

BLOCK_ELEMENTS = 400_000


def fit(x: np.ndarray, family: Family, allocation: Allocation, *, rng: Rng | None = None) -> Fit:
    """The exact posterior of a Bayesian mixture of few points.

    Parameters
    ----------
    x : ndarray, shape (N, D), or Sequences
    family, allocation : Family, Allocation
        The model with its priors, which must be proper.
    rng : numpy.random.Generator or int, optional
        Not used: nothing is random before draws are asked for. It is taken so that every method is called alike.

    Returns
    -------
    Fit
        Of kind "exact", with no bound. Its posterior is symmetric in clusters of one prior: draws visit every labelling in
        proportion, independently of each other. ``info`` holds

        ``log_evidence``
            log p(x) in nats of the mixtures of the first 1..K clusters, over all labellings, shape (K,): the same family
            prior and, of alpha0, the first k entries.
        ``coclustering``
            P(z_n = z_m | x), shape (N, N).
        ``occupied``
            P(k clusters have points | x), k = 1..K, shape (K,).
        ``moments``
            Posterior expectations that need no labels, of Gaussian clusters; see `Exact.moments`.
        ``terms``
            How many terms were summed.

    Raises
    ------
    ValueError
        If the sum would take too long or too much memory (see `cost`), or the prior is improper.
    """
    began = time.perf_counter()
    check_model(family, allocation)
    rows = allocation.rows(x if isinstance(x, Sequences) else check_matrix(x, family.missing))
    x = check_matrix(np.asarray(rows), family.missing)
    if any(np.isnan(x[:, link.columns]).any() for link in family.linked):
        raise ValueError(
            "with values missing among correlated features the posterior has no closed form; use gibbs or nuts, or a family of "
            "independent features"
        )
    price = cost(len(x), family, allocation)
    if not price.affordable:
        most = bisect(range(1, len(x)), 0, key=lambda n: not cost(n, family, allocation).affordable)
        terms = (
            f"{price.terms:.2g} terms: about {price.seconds:.2g} s and {price.bytes / 1e9:.2g} GB"
            if price.terms < HOPELESS
            else "more terms than any computer adds up"
        )
        raise ValueError(
            f"the exact posterior of {len(x)} points in {allocation.n_components} clusters is a sum of {terms}, where "
            f"{LARGEST_SECONDS:g} s and {LARGEST_BYTES / 1e9:g} GB are allowed; use gibbs or nuts, or at most {most} points"
        )
    t = family.features(x)
    check_proper(family, t.shape[1])
    posterior = (Subsets if factorises(family, allocation) else Labellings).of(t, family, allocation, rows)
    info = {
        "log_evidence": posterior.log_evidence() + log_base(x, None, family),
        "coclustering": posterior.coclustering(),
        "occupied": posterior.occupied(),
        "terms": int(price.terms),
    }
    if family.gaussian and allocation.independent:
        info["moments"] = posterior.moments()
    return allocation.fits(
        method="exact",
        kind="exact",
        family=family,
        allocation=allocation,
        posterior=posterior,
        bound=np.empty(0),
        converged=True,
        seconds={"run": time.perf_counter() - began},
        info=info,
    )


class Cost(NamedTuple):
    """What an exact posterior takes: terms summed, bytes held at once (an upper bound) and seconds (an estimate)."""

    terms: float
    bytes: float
    seconds: float

    @property
    def affordable(self) -> bool:
        """Whether both are within `LARGEST_SECONDS` and `LARGEST_BYTES`."""
        return self.seconds <= LARGEST_SECONDS and self.bytes <= LARGEST_BYTES


def cost(n: int, family: Family, allocation: Any) -> Cost:
    """What the exact posterior of n points takes; infinite where a float cannot hold it."""
    K, P, some = allocation.n_components, 1 + family.n_free(1), min(n, 8)
    terms = 0.0
    with np.errstate(over="ignore"):
        if factorises(family, allocation):
            sizes = np.unique(allocation.log_factors(np.arange(some + 1)[:, None]), axis=1, return_counts=True)[1]
            tables = np.prod(sizes + 1.0) - len(sizes) - 2  # one for every choice of 2..K-1 clusters
            states, terms = np.exp2(n), tables * np.power(3.0, n) if tables else 0.0
            numbers = states * (tables + 6 * len(sizes) + 8 + 2 * 1.5**INNER * (tables > 0))
        else:
            states = partitions(n, K) if exchangeable(allocation, some) else np.power(float(K), n)
            numbers = states * (n / 4 + 5 * K + 5)
    pairs = n**2 if K > 1 else 0
    size = 8 * (numbers + 3 * pairs + 8 * BLOCK_ELEMENTS)
    seconds = SECONDS_A_TERM * terms + (SECONDS_A_STATE + SECONDS_A_STATISTIC * P) * states
    return Cost(float(states + terms), float(size), float(seconds))


def factorises(family: Family, allocation: Allocation) -> bool:
    """Whether p(x, z) is a product over several clusters: no parameter is shared, and p(z) has a factor for each."""
    several = allocation.n_components > 1
    return several and family.n_free(2) == 2 * family.n_free(1) and hasattr(allocation, "log_factors")


def exchangeable(allocation: Allocation, n: int) -> bool:
    """Whether p(z) is the same whatever the clusters are called, judged by labellings of up to n points in one cluster."""
    if not allocation.independent:
        return bool(allocation.exchangeable)  # type: ignore[attr-defined]
    counts = np.arange(1, n + 1)[:, None, None] * np.eye(allocation.n_components)
    return bool(np.ptp(allocation.log_marginal(counts), axis=1).max() < 1e-9)


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


def blocks(size: int, width: int) -> Iterator[slice]:
    """Slices of ``size`` rows, each of about `BLOCK_ELEMENTS` numbers at ``width`` a row."""
    step = max(1, BLOCK_ELEMENTS // width)
    return (slice(start, start + step) for start in range(0, size, step))
