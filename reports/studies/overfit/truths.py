r"""Data sets whose density is known, or real ones: a replicate is points to fit and points to test on.

Random numbers are common: replicate r of a truth is the same whatever is fitted to it, its points for a smaller n are the
first of those for a larger one, and the starts of a fit come from the same source.

.. math:: z_n \sim \pi, \qquad x_n \mid z_n = k \sim \mu_k + L_k e_n, \qquad L_k L_k^T = \Sigma_k

Whatever the shape of a cluster, its mean is mu_k and its covariance Sigma_k; e_n has independent entries for Gaussian and for
skew clusters (standardised gamma), and is spherical for heavy tails (standardised Student-t).

Of a discrete kind a truth is a family with its parameters, drawn from that family's prior:

.. math:: \theta_k \sim p(\theta), \qquad x_n \mid z_n = k \sim p(x \mid \theta_k)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp, softmax, xlogy

from mixtures import Bernoulli, Categorical, Dirichlet, Draws, Fit, Poisson, datasets
from mixtures.datasets.simulated import simulate
from mixtures.families.wishart import LOG_2PI, log_student_t
from mixtures.model import Family
from mixtures.rows.sequences import Sequences
from mixtures.tables import family_of
from reports.studies.overfit import systems
from reports.studies.overfit.chains import Chain
from reports.studies.overfit.grid import Truth

# Of heavy tails: the variance exists, the kurtosis does not.
DOF = 4.0

# Of a skew cluster along each axis; that of an exponential is 2.
SKEWNESS = 1.5

# Of counts, over the prior of their rates.
MEAN = 2.0


@dataclass(frozen=True)
class Mixture:
    """A known density: the oracle, with the methods of a `Fit` that a score asks for.

    Parameters
    ----------
    shape : {"gaussian", "heavy tails", "skew"}
    weights : ndarray, shape (K,)
    means : ndarray, shape (K, D)
    covariances : ndarray, shape (K, D, D)
    """

    shape: str
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def sample(self, n: int, source: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, D) and labels (n,); the first of them are the same for every n."""
        of_labels, *of_points = (np.random.default_rng(child) for child in source.spawn(3))
        K = len(self.means)
        labels = np.minimum(np.searchsorted(np.cumsum(self.weights), of_labels.random(n), side="right"), K - 1)
        return self._points(labels, *of_points), labels

    def points(self, labels: np.ndarray, source: np.random.SeedSequence) -> np.ndarray:
        """A point for each label, (n, D); the first of them are the same for every n."""
        return self._points(labels, *(np.random.default_rng(child) for child in source.spawn(2)))

    def _points(self, labels: np.ndarray, of_noise: np.random.Generator, of_tails: np.random.Generator) -> np.ndarray:
        n, D = len(labels), self.means.shape[1]
        if self.shape == "skew":
            a = 4 / SKEWNESS**2
            e = (of_noise.standard_gamma(a, (n, D)) - a) / np.sqrt(a)
        else:
            e = of_noise.standard_normal((n, D))
        if self.shape == "heavy tails":
            e *= np.sqrt((DOF - 2) / of_tails.chisquare(DOF, (n, 1)))
        return self.means[labels] + (self._roots[labels] @ e[..., None])[..., 0]

    @property
    def _roots(self) -> np.ndarray:
        return np.linalg.cholesky(self.covariances)

    def _log_joint(self, x: np.ndarray) -> np.ndarray:
        """log pi_k + log p(x_n | z_n = k), shape (N, K)."""
        return np.log(self.weights) + self.log_densities(x)

    @np.errstate(over="ignore")  # far from a cluster there is no density
    def log_densities(self, x: np.ndarray) -> np.ndarray:
        """log p(x_n | z_n = k), shape (N, K)."""
        D, L = x.shape[1], self._roots
        e = np.linalg.inv(L) @ (x.T - self.means[..., None])  # (K, D, N)
        log_volume = np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(-1)[:, None]
        if self.shape == "heavy tails":
            shrunk = (DOF - 2) / DOF
            log_p = log_student_t((e**2).sum(1) / shrunk, log_volume + D / 2 * np.log(shrunk), np.array(DOF), D)
        elif self.shape == "skew":
            a = 4 / SKEWNESS**2
            g = np.maximum(a + np.sqrt(a) * e, 0)
            log_p = (xlogy(a - 1, g) - g - gammaln(a) + np.log(a) / 2).sum(1) - log_volume
        else:
            log_p = -(D * LOG_2PI + (e**2).sum(1)) / 2 - log_volume
        return log_p.T

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and covariance (D, D) of a point."""
        return overall(self.weights, self.means, self.covariances)

    @property
    def smallest_variance(self) -> float:
        """Of any cluster in any direction."""
        return float(np.linalg.eigvalsh(self.covariances).min())

    def log_predictive(self, x: np.ndarray) -> np.ndarray:
        """Log density of every point in nats, shape (N,); minus infinity where no skew cluster reaches."""
        return logsumexp(self._log_joint(x), axis=1)

    def responsibilities(self, x: np.ndarray) -> np.ndarray:
        """Probability of each cluster for each point, shape (N, K)."""
        return softmax(self._log_joint(x), axis=1)


@dataclass(frozen=True)
class Classes:
    """Known latent classes: the oracle of a discrete kind.

    Parameters
    ----------
    fit : Fit
        The point at the true parameters.
    """

    fit: Fit

    @property
    def weights(self) -> np.ndarray:
        """Those of the classes, (K,)."""
        return self.fit.held.weights[0, 0]

    def sample(self, n: int, source: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, D) and labels (n,); the first of them are the same for every n."""
        of_labels, of_points = (np.random.default_rng(child) for child in source.spawn(2))
        K = len(self.weights)
        labels = np.minimum(np.searchsorted(np.cumsum(self.weights), of_labels.random(n), side="right"), K - 1)
        theta = {name: v[0, 0] for name, v in self.fit.held.theta.items()}
        return self.fit.family.simulate(theta, labels, of_points), labels

    def points(self, labels: np.ndarray, source: np.random.SeedSequence) -> np.ndarray:
        """A point for each label, (n, D); the first of them are the same for every n."""
        theta = {name: v[0, 0] for name, v in self.fit.held.theta.items()}
        return self.fit.family.simulate(theta, labels, np.random.default_rng(source))

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        """log p(x_n | z_n = k), shape (N, K)."""
        return np.concatenate([block[0] for _, block in self.fit.log_density(x)])

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (M,) and covariance (M, M) of a point; see `mixtures.model.Family.cluster_moments`."""
        means, covariances = self.fit.family.cluster_moments(self.fit.held.theta)
        return overall(self.weights, means[0, 0], covariances[0, 0])

    def log_predictive(self, x: np.ndarray) -> np.ndarray:
        """Log probability of every point in nats, shape (N,)."""
        return self.fit.log_predictive(x)

    def responsibilities(self, x: np.ndarray) -> np.ndarray:
        """Probability of each class for each point, shape (N, K)."""
        return self.fit.responsibilities(x)


Known = Mixture | Classes | Chain


def overall(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (..., M) and covariance (..., M, M) of mixtures with weights (..., K) from those of their clusters."""
    mean = (weights[..., None] * means).sum(-2)
    offset = means - mean[..., None, :]
    within = covariances + offset[..., :, None] * offset[..., None, :]
    return mean, (weights[..., None, None] * within).sum(-3)


@dataclass(frozen=True)
class Replicate:
    """One data set.

    Parameters
    ----------
    x, test : ndarray, shape (N, D) and (T, D)
        Points to fit and to test on; of a series the points to fit as `mixtures.rows.sequences.Sequences`.
    labels : ndarray, shape (T,), or None
        Classes of the test points, where they are known.
    truth : Mixture, Classes, Chain, Linear or None
    fit, draws : numpy.random.SeedSequence
        Of the starts of a fit, and of draws from its posterior.
    """

    x: Any
    test: np.ndarray
    labels: np.ndarray | None
    truth: Known | systems.Linear | None
    fit: np.random.SeedSequence
    draws: np.random.SeedSequence

    @cached_property
    def series(self) -> Sequences | None:
        """The whole series, the test behind what is fitted; None of independent points."""
        return Sequences(np.vstack([self.x.x, self.test])) if isinstance(self.x, Sequences) else None


def replicate(truth: Truth, n: int, test: int, seed: int, number: int) -> Replicate:
    """Replicate ``number`` of a truth, with n points to fit; a real data set gives all its other rows as the test."""
    _, fitted, tested, fit, draws = np.random.SeedSequence(seed, spawn_key=(*_words(truth), number)).spawn(5)
    if not truth.known:
        x, labels = _rows(truth.name)
        order = np.random.default_rng(fitted).permutation(len(x))
        rest = order[n:]
        return Replicate(x[order[:n]], x[rest], None if labels is None else labels[rest], None, fit, draws)
    if truth.linear:
        assert truth.k is not None
        linear, past, held = systems.drawn(truth.k, truth.d, n, test, np.random.default_rng(fitted))
        return Replicate(Sequences(past), held, None, linear, fit, draws)
    mixture = _known(truth, seed, number)
    if isinstance(mixture, Chain):
        past, state = mixture.before(n, fitted)
        held, labels = mixture.after(state, test, tested)
        return Replicate(Sequences(past), held, labels.astype(str), mixture, fit, draws)
    x, _ = mixture.sample(n, fitted)
    held, labels = mixture.sample(test, tested)
    return Replicate(x, held, labels.astype(str), mixture, fit, draws)


@lru_cache(maxsize=1000)
def _known(truth: Truth, seed: int, number: int) -> Known:
    assert truth.k is not None
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*_words(truth), number, 0)))
    separation, imbalance = truth.separation or 0.0, truth.imbalance or 1.0
    if truth.discrete:
        classes = Classes(_classes(truth, imbalance, rng))
        return classes if truth.stay is None else Chain(classes, truth.stay)
    known = simulate(1, truth.k, truth.d, separation=separation, imbalance=imbalance, rng=rng).truth
    assert known is not None
    mixture = Mixture(truth.name, known["weights"], known["means"], known["covariances"])
    return mixture if truth.stay is None else Chain(mixture, truth.stay)


def _classes(truth: Truth, imbalance: float, rng: np.random.Generator) -> Fit:
    """A point drawn from the prior of its kind, with weights that fall geometrically as those of Gaussian clusters do."""
    assert truth.k is not None
    family = prior(truth)
    q = family.posterior(np.zeros((truth.k, 1 + family.monomials[-1, 0])))
    theta = {name: v[None] for name, v in family.sample(q, 1, rng).items()}
    weights = imbalance ** -np.linspace(0, 1, truth.k)
    held = Draws((weights / weights.sum())[None, None], theta)
    return Fit("oracle", "point", family, Dirichlet.symmetric(truth.k), held, np.empty(0), True, {})


def prior(truth: Truth) -> Family:
    """The family of a discrete kind with the prior from which its parameters are drawn."""
    a, frame = truth.concentration or 1.0, np.ones((1, truth.d))
    given: dict[str, Any] = {"levels": [truth.levels] * truth.d} if truth.levels else {}
    made: dict[str, Any] = {
        "bernoulli": lambda: Bernoulli.from_data(frame, 1, a0=a, b0=a),
        "categorical": lambda: Categorical.from_data(frame, 1, a0=a, **given),
        "poisson": lambda: Poisson.from_data(frame, 1, a0=a, b0=a / MEAN),
    }
    return made[truth.name]()


def of_data_set(name: str, x: np.ndarray, k: int, covariance: str | None) -> Family:
    """The family of some rows of a data set by the kinds of its columns, with all their levels."""
    data = _loaded(name)
    levels = [len(data.levels.get(feature, ())) or 2 for feature in data.features]
    return family_of(x, k, data.kinds, covariance=covariance or "full", n_levels=levels)


def _words(truth: Truth) -> list[int]:
    """128 bits that belong to this truth alone."""
    digest = hashlib.sha256(json.dumps(truth.facts(), sort_keys=True).encode()).digest()
    return np.frombuffer(digest[:16], "<u4").tolist()


def _rows(name: str) -> tuple[np.ndarray, np.ndarray | None]:
    data = _loaded(name)
    return data.x, data.labels


@lru_cache(maxsize=8)
def _loaded(name: str) -> datasets.Dataset:
    return datasets.load(name)
