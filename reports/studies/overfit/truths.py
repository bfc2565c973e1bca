r"""Data sets whose density is known, or real ones: a replicate is points to fit and points to test on.

Random numbers are common: replicate r of a truth is the same whatever is fitted to it, its points for a smaller n are the
first of those for a larger one, and the starts of a fit come from the same source.

.. math:: z_n \sim \pi, \qquad x_n \mid z_n = k \sim \mu_k + L_k e_n, \qquad L_k L_k^T = \Sigma_k

Whatever the shape of a cluster, its mean is mu_k and its covariance Sigma_k; e_n has independent entries for Gaussian and for
skew clusters (standardised gamma), and is spherical for heavy tails (standardised Student-t).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, logsumexp, softmax, xlogy

from mixtures import datasets
from mixtures.datasets.simulated import simulate
from mixtures.families.normal import LOG_2PI, log_student_t
from reports.studies.overfit.grid import Truth

# Of heavy tails: the variance exists, the kurtosis does not.
DOF = 4.0

# Of a skew cluster along each axis; that of an exponential is 2.
SKEWNESS = 1.5


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
        of_labels, of_noise, of_tails = (np.random.default_rng(child) for child in source.spawn(3))
        K, D = self.means.shape
        labels = np.minimum(np.searchsorted(np.cumsum(self.weights), of_labels.random(n), side="right"), K - 1)
        if self.shape == "skew":
            a = 4 / SKEWNESS**2
            e = (of_noise.standard_gamma(a, (n, D)) - a) / np.sqrt(a)
        else:
            e = of_noise.standard_normal((n, D))
        if self.shape == "heavy tails":
            e *= np.sqrt((DOF - 2) / of_tails.chisquare(DOF, (n, 1)))
        return self.means[labels] + (self._roots[labels] @ e[..., None])[..., 0], labels

    @property
    def _roots(self) -> np.ndarray:
        return np.linalg.cholesky(self.covariances)

    def _log_joint(self, x: np.ndarray) -> np.ndarray:
        """log pi_k + log p(x_n | z_n = k), shape (N, K)."""
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
        return (np.log(self.weights)[:, None] + log_p).T

    def log_predictive(self, x: np.ndarray) -> np.ndarray:
        """Log density of every point in nats, shape (N,); minus infinity where no skew cluster reaches."""
        return logsumexp(self._log_joint(x), axis=1)

    def responsibilities(self, x: np.ndarray) -> np.ndarray:
        """Probability of each cluster for each point, shape (N, K)."""
        return softmax(self._log_joint(x), axis=1)


@dataclass(frozen=True)
class Replicate:
    """One data set.

    Parameters
    ----------
    x, test : ndarray, shape (N, D) and (T, D)
        Points to fit and to test on.
    labels : ndarray, shape (T,), or None
        Classes of the test points, where they are known.
    truth : Mixture or None
    fit, draws : numpy.random.SeedSequence
        Of the starts of a fit, and of draws from its posterior.
    """

    x: np.ndarray
    test: np.ndarray
    labels: np.ndarray | None
    truth: Mixture | None
    fit: np.random.SeedSequence
    draws: np.random.SeedSequence


def replicate(truth: Truth, n: int, test: int, seed: int, number: int) -> Replicate:
    """Replicate ``number`` of a truth, with n points to fit; a real data set gives all its other rows as the test."""
    _, fitted, tested, fit, draws = np.random.SeedSequence(seed, spawn_key=(*_words(truth), number)).spawn(5)
    if not truth.known:
        x, labels = _rows(truth.name)
        order = np.random.default_rng(fitted).permutation(len(x))
        rest = order[n:]
        return Replicate(x[order[:n]], x[rest], None if labels is None else labels[rest], None, fit, draws)
    mixture = _mixture(truth, seed, number)
    x, _ = mixture.sample(n, fitted)
    held, labels = mixture.sample(test, tested)
    return Replicate(x, held, labels.astype(str), mixture, fit, draws)


@lru_cache(maxsize=1000)
def _mixture(truth: Truth, seed: int, number: int) -> Mixture:
    assert truth.k is not None
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*_words(truth), number, 0)))
    separation, imbalance = truth.separation or 0.0, truth.imbalance or 1.0
    known = simulate(1, truth.k, truth.d, separation=separation, imbalance=imbalance, rng=rng).truth
    assert known is not None
    return Mixture(truth.name, known["weights"], known["means"], known["covariances"])


def _words(truth: Truth) -> list[int]:
    """128 bits that belong to this truth alone."""
    digest = hashlib.sha256(json.dumps(asdict(truth), sort_keys=True).encode()).digest()
    return np.frombuffer(digest[:16], "<u4").tolist()


@lru_cache(maxsize=8)
def _rows(name: str) -> tuple[np.ndarray, np.ndarray | None]:
    data = datasets.load(name)
    return data.x, data.labels
