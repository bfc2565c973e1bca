r"""Counts that are independent within a cluster, and the Gamma priors of their rates.

    lambda_kd ~ Gamma(a0_d, rate b0_d)      x_nd | z_n = k ~ Poisson(lambda_kd)

As an exponential family, with the base measure h(x) = prod_d 1 / x_d! that no cluster changes,

    t(x)  = (1, x)      log h(x) = -sum_d log x_d!
    eta_k = (-sum_d lambda_kd,  log lambda_k)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln, pdtr, xlogy

from mixtures.checks import check_components
from mixtures.errors import FeatureError
from mixtures.families.collapse import refuse_empty
from mixtures.families.discrete import (
    SMALLEST,
    Discrete,
    positive,
    read,
    refuse_fractions,
    refuse_outside,
)
from mixtures.families.hyperparameters import Batch
from mixtures.model import Theta
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator
from mixtures.special import log_rising

COUNT = "a count, a whole number of at least 0"

# x log x is off by 5e-4 here.
LARGEST_COUNT = 1e11


@dataclass(frozen=True)
class Gamma(Batch):
    """Gamma density of lambda_d, independent over features, alone or a batch of them.

    Parameters
    ----------
    a : ndarray, shape (..., D)
        Shape: pseudo-counts.
    b : ndarray, shape (..., D)
        Rate: pseudo-observations; E[lambda] = a / b.
    """

    a: np.ndarray
    b: np.ndarray

    def log_normaliser(self) -> np.ndarray:
        """Log integral of lambda^(a-1) exp(-b lambda), summed over features, shape (...) (PRML B.26)."""
        return (gammaln(self.a) - self.a * np.log(self.b)).sum(-1)


@dataclass(frozen=True)
class Poisson(Discrete):
    """Clusters of counts under Gamma priors.

    Parameters
    ----------
    prior : Gamma
        The prior of every cluster, unbatched.

    Notes
    -----
    ``theta`` is ``{"rates": (..., K, D)}``, the expected counts.
    """

    prior: Gamma

    name: ClassVar[str] = "poisson"
    has_base: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("rates",)
    hyperparameters: ClassVar[tuple[str, ...]] = ("a0", "b0")
    dims: ClassVar[dict[str, tuple[str, ...]]] = {"rates": ("cluster", "feature")}
    equations: ClassVar[tuple[str, ...]] = ("lambda_kd ~ Gamma(a0_d, b0_d)", "x_nd | z_n = k ~ Poisson(lambda_kd)")

    @classmethod
    def from_data(
        cls,
        x: Rows,
        n_components: int,
        *,
        a0: float | np.ndarray = 1.0,
        b0: float | np.ndarray | None = None,
        weights: np.ndarray | None = None,
        missing: bool = False,
    ) -> Poisson:
        """The family of counts, under a weak prior wherever none is given.

        The default, a0 = 1 and b0_d one over the mean of the data, is the exponential density: of all with the mean of the data
        the one of largest entropy (Jaynes 1968, *IEEE Transactions on Systems Science and Cybernetics* 4:227-241).

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            Whole numbers of at least 0; see `mixtures.rows.reading.as_rows`.
        n_components : int
            K.
        a0 : float or ndarray, shape (D,), optional
            Positive shape of the rates' Gamma prior.
        b0 : float or ndarray, shape (D,), optional
            Positive rate of the rates' Gamma prior: a number of pseudo-observations; by default a0 over the mean of the data.
        weights : ndarray, shape (N,), optional
            How many observations each row stands for.
        missing : bool
            Whether values may be missing (NaN); the mean is then that of those that are not.

        Raises
        ------
        ValueError
            If x holds anything but whole numbers of at least 0, a hyperparameter is not positive, or a feature is 0 in all
            rows and b0 is not given.
        """
        check_components(n_components)
        _, mean, high = read(x, weights, np.inf, COUNT, missing)
        if not np.all(high <= LARGEST_COUNT):
            raise FeatureError(
                f"{{0}} has a count of {high.max():.3g}, of whose log probability rounding leaves little; count in larger "
                "units, or take it as a number",
                [int(np.argmax(high))],
            )
        a = positive("a0", a0, len(mean))
        if b0 is None:
            if not np.all(mean > 0):
                empty = int(np.argmin(mean > 0))
                what = "missing" if np.isnan(mean[empty]) else "0"
                raise FeatureError(
                    f"{{0}} is {what} in all rows, which sets no scale; leave it out, or give b0", [empty]
                )
            b0 = a / mean
        return cls(Gamma(a, positive("b0", b0, len(mean))), missing=missing)

    @property
    def size(self) -> int:
        """D."""
        return self.prior.a.shape[-1]

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, x), shape (N, 1 + D).

        Raises
        ------
        ValueError
            If x holds anything but whole numbers of at least 0.
        """
        refuse_fractions(x, np.inf, COUNT, missing=self.missing)
        return super().features(x)

    def log_base(self, x: np.ndarray) -> np.ndarray:
        """-sum_d log x_d! of every point, shape (N,)."""
        return -gammaln(self.factors(x)[..., : self.size] + 1).sum(-1)

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T + log_base`` is log p(x_n | lambda_k)."""
        rates = theta["rates"]
        return self.join(-rates, np.log(np.maximum(rates, SMALLEST)))

    def impossible(self, theta: Theta) -> np.ndarray | None:
        """Counts c (..., K, P): t(x) . c is positive where x has probability zero; None where all is possible."""
        never = theta["rates"] <= 0
        return self.join(0.0 * never, 1.0 * never) if never.any() else None

    def expected_natural(self, q: Gamma) -> np.ndarray:
        """E_q[eta], shape (..., K, P) (PRML B.27, B.30)."""
        return self.join(-q.a / q.b, digamma(q.a) - np.log(q.b))

    def posterior(self, s: np.ndarray) -> Gamma:
        """The Gamma posterior given expected sufficient statistics s, shape (..., K, P): a0 + sum x, b0 + N."""
        N, counts = self.split(s)
        q = Gamma(self.prior.a + counts, self.prior.b + N)
        refuse_outside(q.a, q.b)
        return q

    def log_marginal(self, s: np.ndarray, q: Gamma | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, without their `log_base`, shape (...)."""
        (N, counts), p = self.split(s), self.prior
        each = log_rising(p.a, counts) - p.a * np.log1p(N / p.b) - counts * np.log(p.b + N)
        return each.sum((-2, -1))

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """lambda_k, the mean of the points of a cluster; the prior's where none was seen.

        Raises
        ------
        CollapseError
            If a cluster is empty.
        """
        refuse_empty(s[..., 0])
        N, counts = self.split(s)
        mean = np.maximum(counts, 0) / np.where(N > 0, N, 1)
        return {"rates": np.where(N > 0, mean, self.prior.a / self.prior.b)}

    def mode(self, s: np.ndarray) -> Theta:
        """Mode of the posterior density of lambda, (a - 1) / b.

        Raises
        ------
        ValueError
            If a0 is below 1, where the density is unbounded at 0.
        """
        if self.prior.a.min() < 1:
            raise ValueError("MAP needs a0 of at least 1: below it the posterior is unbounded at 0")
        q = self.posterior(s)
        return {"rates": np.maximum(q.a - 1, 0) / q.b}

    def log_density(self, theta: Theta, q: Gamma) -> np.ndarray:
        """sum_kd log Gamma(lambda_kd), shape (...) (PRML B.26)."""
        rates = theta["rates"]
        return ((xlogy(q.a - 1, rates) - q.b * rates).sum(-1) - q.log_normaliser()).sum(-1)

    def log_predictive(self, x: np.ndarray, q: Gamma) -> np.ndarray:
        """Log predictive probability under each cluster, shape (N, ..., K): negative binomial in every feature.

        Its size is a, its probability of a failure 1 / (b + 1) (Gelman et al. 2013, *Bayesian Data Analysis*, section 2.6).
        """
        t, a = self.features(x), q.a[..., None]
        counts = log_rising(a, t[:, -self.size :].T).sum(-2)  # (..., K, N)
        eta = self.join(q.a * (np.log(q.b) - np.log1p(q.b)), np.broadcast_to(-np.log1p(q.b), q.a.shape))
        base = self.log_base(x).reshape(-1, *(1,) * (eta.ndim - 1))
        return np.tensordot(t, eta, (1, -1)) + np.moveaxis(counts, -1, 0) + base

    def mean(self, q: Gamma) -> Theta:
        """E_q[lambda] = a / b (PRML B.27)."""
        return {"rates": q.a / q.b}

    def moments(self, q: Gamma) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, D) and covariance (..., K, D, D) of each cluster's predictive distribution: E[lambda] + var(lambda)."""
        mean = q.a / q.b
        return mean, (mean * (1 + 1 / q.b))[..., None] * np.eye(self.size)

    def cluster_moments(self, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, D) and covariance (..., K, D, D) of a point of each cluster."""
        rates = theta["rates"]
        return rates, rates[..., None] * np.eye(self.size)

    def at_boundary(self, theta: Theta, within: float) -> Theta:
        """Theta with the rates that are below ``within`` at 0."""
        return {"rates": np.where(theta["rates"] < within, 0.0, theta["rates"])}

    def sample(self, q: Gamma, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, (size, ..., K, D)."""
        return {"rates": generator(rng).gamma(q.a, 1 / q.b, (size, *np.broadcast_shapes(q.a.shape, q.b.shape)))}

    def simulate(self, theta: Theta, labels: np.ndarray, rng: Rng) -> np.ndarray:
        """One point for each label, shape (N, D); theta has no batch axes.

        Raises
        ------
        ValueError
            If a rate is negative, or no finite number.
        """
        if not np.all((rates := theta["rates"]) >= 0) or not np.all(np.isfinite(rates)):
            raise ValueError(
                f"rates reach from {rates.min():g} to {rates.max():g}; expected finite numbers of at least 0"
            )
        return generator(rng).poisson(theta["rates"][labels]).astype(float)

    def cumulative(self, theta: Theta, x: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """P(X < x_n) and P(X <= x_n) of one feature under each cluster of theta, each (..., K, N)."""
        rate = theta["rates"][..., feature, None]
        counts = x[:, feature]
        return np.where(counts > 0, pdtr(np.maximum(counts - 1, 0), rate), 0.0), pdtr(counts, rate)

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters a0 and b0."""
        return {"a0": self.prior.a, "b0": self.prior.b}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        return n_components * self.size
