r"""Binary features that are independent within a cluster, and their Beta priors.

    mu_kd ~ Beta(a0_d, b0_d)      x_nd | z_n = k ~ Bernoulli(mu_kd)

As an exponential family (Bishop, PRML, 9.44-9.48)

    t(x)  = (1, x)
    eta_k = (sum_d log(1 - mu_kd),  log mu_k - log(1 - mu_k))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betaln, digamma, xlog1py, xlogy

from mixtures.checks import check_components
from mixtures.families.collapse import refuse_empty
from mixtures.families.discrete import (
    SMALLEST,
    Discrete,
    positive,
    read,
    refuse_fractions,
    refuse_outside,
    refuse_probabilities,
)
from mixtures.families.hyperparameters import Batch
from mixtures.model import Coords, Divided, Theta
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator
from mixtures.special import log_rising

# A pseudo-observation; of fewer, the difference of N and the number of ones keeps no digits.
LEAST = 1e-8


@dataclass(frozen=True)
class Beta(Batch):
    """Beta density of mu_d, independent over features, alone or a batch of them.

    Parameters
    ----------
    a, b : ndarray, shape (..., D)
        Pseudo-observations of ones and of zeros.
    """

    a: np.ndarray
    b: np.ndarray

    def log_normaliser(self) -> np.ndarray:
        """Log integral of mu^(a-1) (1-mu)^(b-1), summed over features, shape (...) (PRML B.6)."""
        return betaln(self.a, self.b).sum(-1)


@dataclass(frozen=True)
class Bernoulli(Discrete):
    """Clusters of binary features under Beta priors.

    Parameters
    ----------
    prior : Beta
        The prior of every cluster, unbatched.

    Notes
    -----
    ``theta`` is ``{"probabilities": (..., K, D)}``, of a one.
    """

    prior: Beta

    name: ClassVar[str] = "bernoulli"
    parameters: ClassVar[tuple[str, ...]] = ("probabilities",)
    hyperparameters: ClassVar[tuple[str, ...]] = ("a0", "b0")
    dims: ClassVar[dict[str, tuple[str, ...]]] = {"probabilities": ("cluster", "feature")}
    equations: ClassVar[tuple[str, ...]] = ("mu_kd ~ Beta(a0_d, b0_d)", "x_nd | z_n = k ~ Bernoulli(mu_kd)")

    @classmethod
    def from_data(
        cls,
        x: Rows,
        n_components: int,
        *,
        a0: float | np.ndarray | None = None,
        b0: float | np.ndarray | None = None,
        weights: np.ndarray | None = None,
        missing: bool = False,
    ) -> Bernoulli:
        """The family of binary data, under a weak prior wherever none is given.

        The default adds to a flat density 1/K of an observation that is spread as the data are: a0_d = 1 + m_d / K and b0_d =
        1 + (1 - m_d) / K, with m_d the share of ones (Clogg et al. 1991, *JASA* 86:68-78; for latent classes Galindo-Garre &
        Vermunt 2006, *Behaviormetrika* 33:43-59). Its mode is not at 0 or 1 unless a feature is constant.

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            Zeros and ones; see `mixtures.rows.reading.as_rows`.
        n_components : int
            K, which sets the weight of the default.
        a0, b0 : float or ndarray, shape (D,), optional
            Positive pseudo-observations of ones and of zeros; 1 and 1 are the uniform density.
        weights : ndarray, shape (N,), optional
            How many observations each row stands for.
        missing : bool
            Whether values may be missing (NaN): m_d is then the share among those that are not, and 1/2 if all are.

        Raises
        ------
        ValueError
            If x holds anything but zeros and ones, or a hyperparameter is not positive.
        """
        check_components(n_components)
        _, share, _ = read(x, weights, 1, "0 or 1", missing)
        share = np.nan_to_num(share, nan=0.5)
        D = len(share)
        a = positive("a0", 1 + np.clip(share, 0, 1) / n_components if a0 is None else a0, D, LEAST)
        b = positive("b0", 1 + np.clip(1 - share, 0, 1) / n_components if b0 is None else b0, D, LEAST)
        return cls(Beta(a, b), missing=missing)

    def coords(self, features: Sequence[str], levels: Mapping[str, Sequence[str]] | None = None) -> Coords:
        """Labels of the axes in `dims`; ``level_name`` (feature) is what a one is called, "1" by default."""
        ones = [str((levels or {}).get(feature, "01")[1]) for feature in features]
        return super().coords(features) | {"level_name": (("feature",), np.array(ones))}

    @property
    def size(self) -> int:
        """D."""
        return self.prior.a.shape[-1]

    @property
    def n_levels(self) -> tuple[int, ...]:
        """Two of every feature, (D,)."""
        return (2,) * self.size

    def of_levels(self, theta: Theta) -> np.ndarray:
        """The probabilities of all levels side by side, (..., K, 2 D): of a zero and of a one, feature by feature."""
        p = theta["probabilities"]
        return np.stack([1 - p, p], axis=-1).reshape(*p.shape[:-1], -1)

    def divided(self) -> Divided:
        """All columns are codes, of whose two levels the second alone has a statistic."""
        columns = np.arange(self.size)
        indicators = np.column_stack([np.full(self.size, -1), 1 + columns]).ravel()
        return Divided(None, columns[:0], np.zeros(1, int), columns, np.full(self.size, 2), indicators)

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, x), shape (N, 1 + D).

        Raises
        ------
        ValueError
            If x holds anything but zeros and ones.
        """
        refuse_fractions(x, 1, "0 or 1", missing=self.missing)
        return super().features(x)

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log p(x_n | mu_k) (PRML 9.48)."""
        log_mu = np.log(np.maximum(theta["probabilities"], SMALLEST))
        log_rest = np.log(np.maximum(1 - theta["probabilities"], SMALLEST))
        return self.join(log_rest, log_mu - log_rest)

    def impossible(self, theta: Theta) -> np.ndarray | None:
        """Counts c (..., K, P): t(x) . c is how many values of x have probability zero; None where all are possible."""
        never, always = theta["probabilities"] <= 0, theta["probabilities"] >= 1
        if not (never | always).any():
            return None
        return self.join(always * 1.0, never * 1.0 - always)

    def expected_natural(self, q: Beta) -> np.ndarray:
        """E_q[eta], shape (..., K, P), with E[log mu] = psi(a) - psi(a + b) (PRML B.21 for two outcomes)."""
        return self.join(digamma(q.b) - digamma(q.a + q.b), digamma(q.a) - digamma(q.b))

    def posterior(self, s: np.ndarray) -> Beta:
        """The Beta posterior given expected sufficient statistics s, shape (..., K, P) (PRML 2.18)."""
        N, ones = self.split(s)
        q = Beta(self.prior.a + ones, self.prior.b + (N - ones))
        refuse_outside(q.a, q.b)
        return q

    def log_marginal(self, s: np.ndarray, q: Beta | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, shape (...); see `mixtures.Gaussian.log_marginal`."""
        (N, ones), p = self.split(s), self.prior
        rising = log_rising(p.a, ones) + log_rising(p.b, N - ones) - log_rising(p.a + p.b, N)
        return rising.sum((-2, -1))

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """mu_k, the mean of the points of a cluster (PRML 9.57-9.59); one half where none was seen.

        Raises
        ------
        CollapseError
            If a cluster is empty.
        """
        refuse_empty(s[..., 0])
        N, ones = self.split(s)
        return {"probabilities": np.clip(np.where(N > 0, ones, 0.5) / np.where(N > 0, N, 1), 0, 1)}

    def mode(self, s: np.ndarray) -> Theta:
        """Mode of the posterior density of mu, (a - 1) / (a + b - 2); one half where the density is flat.

        Raises
        ------
        ValueError
            If a0 or b0 is below 1, where the density is unbounded at 0 or 1.
        """
        if min(self.prior.a.min(), self.prior.b.min()) < 1:
            raise ValueError("MAP needs a0 and b0 of at least 1: below it the posterior is unbounded at 0 or 1")
        q = self.posterior(s)
        a, b = np.maximum(q.a - 1, 0), np.maximum(q.b - 1, 0)
        return {"probabilities": np.where(a + b > 0, a / np.where(a + b > 0, a + b, 1), 0.5)}

    def log_density(self, theta: Theta, q: Beta) -> np.ndarray:
        """sum_kd log Beta(mu_kd), shape (...) (PRML B.6)."""
        mu = theta["probabilities"]
        return ((xlogy(q.a - 1, mu) + xlog1py(q.b - 1, -mu)).sum(-1) - q.log_normaliser()).sum(-1)

    def log_predictive(self, x: np.ndarray, q: Beta) -> np.ndarray:
        """Log predictive probability under each cluster, shape (N, ..., K): a Bernoulli with the mean of mu (PRML 2.20)."""
        return np.tensordot(self.features(x), self.natural(self.mean(q)), (1, -1))

    def mean(self, q: Beta) -> Theta:
        """E_q[mu] = a / (a + b) (PRML B.7)."""
        return {"probabilities": q.a / (q.a + q.b)}

    def moments(self, q: Beta) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, D) and covariance (..., K, D, D) of each cluster's predictive distribution."""
        return self.cluster_moments(self.mean(q))

    def cluster_moments(self, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, D) and covariance (..., K, D, D) of a point of each cluster (PRML B.2, B.3)."""
        mu = theta["probabilities"]
        return mu, (mu * (1 - mu))[..., None] * np.eye(self.size)

    def at_boundary(self, theta: Theta, within: float) -> Theta:
        """Theta with the probabilities that are below ``within``, or so near to 1, at 0 or 1."""
        mu = theta["probabilities"]
        return {"probabilities": np.where(mu < within, 0.0, np.where(1 - mu < within, 1.0, mu))}

    def sample(self, q: Beta, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, (size, ..., K, D)."""
        return {"probabilities": generator(rng).beta(q.a, q.b, (size, *q.a.shape))}

    def simulate(self, theta: Theta, labels: np.ndarray, rng: Rng) -> np.ndarray:
        """One point for each label, shape (N, D); theta has no batch axes.

        Raises
        ------
        ValueError
            If a probability is not from 0 to 1.
        """
        refuse_probabilities(theta["probabilities"], sums=False)
        mu = theta["probabilities"][labels]
        return (generator(rng).random(mu.shape) < mu).astype(float)

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters a0 and b0."""
        return {"a0": self.prior.a, "b0": self.prior.b}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        return n_components * self.size
