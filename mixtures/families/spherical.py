"""Gaussian clusters that are spheres: one variance for each cluster.

    lambda_k ~ Gamma(nu0/2, rate w/2)      mu_k | lambda_k ~ N(m0, (beta0 lambda_k)^-1 I)
    x_n | z_n = k ~ N(mu_k, lambda_k^-1 I)

The Gamma is the Wishart in one dimension, with w = 1/W0 (PRML section 2.3.6). As an exponential family

    t(x)  = (1, z, |z|^2)
    eta_k = (D/2 log lambda_k - 1/2 lambda_k |mu_k|^2 - D/2 log 2 pi,  lambda_k mu_k,  -1/2 lambda_k)

A sphere stays one only if all features are scaled alike, so that z has one unit; the units of the features matter here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln

from mixtures.families.normal import (
    LOG_2PI,
    Batch,
    Normal,
    check_prior,
    existing,
    frame,
    location,
    log_student_t,
    over,
    refuse_collapse,
    refuse_empty,
    unbiased,
)
from mixtures.model import Theta
from mixtures.rows import Rows, moments
from mixtures.seeds import Rng, generator


@dataclass(frozen=True)
class SphericalNormalGamma(Batch):
    """Density of (mu, lambda) with one precision for all D entries of mu.

    Parameters
    ----------
    m : ndarray, shape (..., D)
        Location of mu.
    beta : ndarray, shape (...)
        Precision of mu in units of lambda.
    a, b : ndarray, shape (...)
        Shape and rate of the Gamma; E[lambda] = a / b.
    """

    m: np.ndarray
    beta: np.ndarray
    a: np.ndarray
    b: np.ndarray

    def log_normaliser(self) -> np.ndarray:
        """Log integral of lambda^(a-1+D/2) exp(-lambda (beta/2 |mu-m|^2 + b)), shape (...)."""
        D = self.m.shape[-1]
        return D / 2 * (LOG_2PI - np.log(self.beta)) + gammaln(self.a) - self.a * np.log(self.b)


@dataclass(frozen=True)
class SphericalGaussian(Normal):
    """Gaussian clusters with spherical covariances under Normal-Gamma priors.

    Parameters
    ----------
    origin, unit : ndarray, shape (D,)
        The coordinates z = (x - origin) / unit; one unit for all features.
    prior : SphericalNormalGamma
        The prior of every cluster, unbatched, in the coordinates z.

    Notes
    -----
    ``theta`` is ``{"means": (..., K, D), "variances": (..., K)}`` in the coordinates z.
    """

    prior: SphericalNormalGamma

    name: ClassVar[str] = "spherical"
    covariance: ClassVar[str] = "spherical"
    parameters: ClassVar[tuple[str, ...]] = ("means", "variances")
    equations: ClassVar[tuple[str, ...]] = (
        "lambda_k ~ Gamma(nu0/2, W0_inv/2)",
        "mu_k | lambda_k ~ N(m0, (beta0 lambda_k)^-1 I)",
        "x_n | z_n = k ~ N(mu_k, lambda_k^-1 I)",
    )

    @classmethod
    def from_data(
        cls,
        x: Rows,
        n_components: int,
        *,
        m0: np.ndarray | None = None,
        beta0: float = 0.01,
        W0: float | None = None,
        nu0: float | None = None,
        weights: np.ndarray | None = None,
    ) -> SphericalGaussian:
        """The family in coordinates that suit ``x``; defaults as for `mixtures.Gaussian.from_data`.

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            See `mixtures.rows.as_rows`.
        n_components : int
        m0 : ndarray, shape (D,), optional
        beta0 : float, optional
        W0 : float, optional
            Prior scale of the precision, in inverse squared units of x; by default K^(2/D) over the mean of the variances.
        nu0 : float, optional
            Prior degrees of freedom, positive; by default D + 2.

        Raises
        ------
        ValueError
            If x is not a finite matrix with spread in every feature, or a hyperparameter is outside its range.
        """
        data = moments(x, weights)
        D = len(data.mean)
        origin, spread = frame(data, n_components)
        unit = np.full(D, np.sqrt(np.mean(spread**2)))
        nu = float(D + 2 if nu0 is None else nu0)
        if W0 is not None and not (np.ndim(W0) == 0 and W0 > 0):
            raise ValueError("W0 must be one positive number")
        with np.errstate(all="ignore"):
            w = data.n * unbiased(data) / n_components ** (2 / D) if W0 is None else 1 / (np.float64(W0) * unit[0] ** 2)
        m = location(m0, origin) / unit
        check_prior(beta0, nu, 0, m, w)
        prior = SphericalNormalGamma(m, np.asarray(float(beta0)), np.asarray(nu / 2), np.asarray(w / 2))
        return cls(origin, unit, prior)

    def covariances(self, theta: Theta) -> np.ndarray:
        """The covariance matrices of theta in the coordinates z, shape (..., K, D, D)."""
        return theta["variances"][..., None, None] * np.eye(len(self.unit))

    def from_data_units(self, theta: Theta) -> Theta:
        """Means and variances of z from the means and covariances of x."""
        variances = np.diagonal(theta["covariances"], axis1=-2, axis2=-1).mean(-1) / self.unit[0] ** 2
        return {"means": (theta["means"] - self.origin) / self.unit, "variances": variances}

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z_d, |z|^2), shape (N, P) with P = D + 2."""
        z = np.moveaxis(self.coordinates(x), -1, 0)
        return np.moveaxis(np.concatenate([np.ones_like(z[:1]), z, (z**2).sum(0, keepdims=True)]), 0, -1)

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j), sorted by p: t_p(x) is the sum of z_i z_j over its rows, where z_0 = 1, shape (1 + 2 D, 3)."""
        D = len(self.unit)
        d = np.arange(1, D + 1)
        p = np.concatenate([[0], d, np.full(D, D + 1)])
        return np.column_stack([p, np.concatenate([[0], 0 * d, d]), np.concatenate([[0], d, d])])

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log N(x_n | mu_k, Sigma_k), in units of x."""
        return self._eta(theta["means"], 1 / theta["variances"], -np.log(theta["variances"]), 0)

    def expected_natural(self, q: SphericalNormalGamma) -> np.ndarray:
        """E_q[eta], shape (..., K, P) (PRML B.27, B.30)."""
        return self._eta(q.m, q.a / q.b, digamma(q.a) - np.log(q.b), 1 / q.beta)

    def posterior(self, s: np.ndarray) -> SphericalNormalGamma:
        """The posterior given expected sufficient statistics s, shape (..., K, P)."""
        N, sum_z, sum_zz = self._unpack(s)
        p, D = self.prior, len(self.unit)
        beta, a = p.beta + N, p.a + N * D / 2
        m = (p.beta[..., None] * p.m + sum_z) / beta[..., None]
        b = p.b + (sum_zz + p.beta * (p.m**2).sum(-1) - beta * (m**2).sum(-1)) / 2
        refuse_collapse(over(b, beta * (m**2).sum(-1) / 2), self.least)
        return SphericalNormalGamma(m, beta, a, b)

    def log_marginal(self, s: np.ndarray, q: SphericalNormalGamma | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, shape (...); see `mixtures.Gaussian.log_marginal`."""
        log_base = -s[..., 0] * (len(self.unit) / 2 * LOG_2PI + self.log_volume)
        q = self.posterior(s) if q is None else q
        return (q.log_normaliser() - self.log_prior_normaliser + log_base).sum(-1)

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """Means and variances that maximise sum(s * eta).

        Raises
        ------
        CollapseError
            If a cluster is empty or its variance is zero to working precision.
        """
        N, sum_z, sum_zz = self._unpack(s)
        refuse_empty(N)
        mu = sum_z / N[..., None]
        variances = (sum_zz / N - (mu**2).sum(-1)) / len(self.unit)
        refuse_collapse(over(variances, (mu**2).mean(-1)), self.least)
        return {"means": mu, "variances": variances}

    def mode(self, s: np.ndarray) -> Theta:
        """Mode of the posterior density of (mu, lambda): mu = m, lambda = (a - 1 + D/2) / b.

        Raises
        ------
        ValueError
            If a <= 1 - D/2, where the density has no mode.
        """
        q = self.posterior(s)
        excess = q.a - 1 + len(self.unit) / 2
        if np.any(excess <= 0):
            raise ValueError("the posterior has no mode in lambda; give nu0 of more than 1")
        return {"means": q.m, "variances": q.b / excess}

    def log_density(self, theta: Theta, q: SphericalNormalGamma) -> np.ndarray:
        """sum_k log density of (mu_k, lambda_k) with respect to d mu d lambda in the coordinates z, shape (...)."""
        Lambda = 1 / theta["variances"]
        rate = q.b + q.beta / 2 * ((theta["means"] - q.m) ** 2).sum(-1)
        powers = (q.a - 1 + len(self.unit) / 2) * np.log(Lambda)
        return (powers - Lambda * rate - q.log_normaliser()).sum(-1)

    def log_jacobian(self, n_components: int) -> float:
        """Log Jacobian of (mu, lambda) in z with respect to (mu, lambda) in x: D times unit^-1, once unit^2."""
        return n_components * (2 - len(self.unit)) * float(np.log(self.unit[0]))

    def log_predictive(self, x: np.ndarray, q: SphericalNormalGamma) -> np.ndarray:
        """Log Student-t predictive density of each cluster, shape (N, ..., K) (PRML 2.162)."""
        D = len(self.unit)
        dof, scale = 2 * q.a[..., None], (q.b * (1 + q.beta) / (q.a * q.beta))[..., None]
        distance = (self.offsets(x, q.m) ** 2).sum(-2) / scale
        return np.moveaxis(log_student_t(distance, D / 2 * np.log(scale), dof, D), -1, 0) - self.log_volume

    def mean(self, q: SphericalNormalGamma) -> Theta:
        """E_q[theta]: E[1 / lambda] = b / (a - 1), not a number where a <= 1 (inverse Gamma)."""
        return {"means": q.m, "variances": q.b / existing(q.a - 1)}

    def sample(self, q: SphericalNormalGamma, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, with shapes (size, ..., K, D) and (size, ..., K)."""
        rng = generator(rng)
        variances = q.b / rng.gamma(q.a, size=(size, *q.b.shape))
        mu = q.m + np.sqrt(variances / q.beta)[..., None] * rng.standard_normal((size, *q.m.shape))
        return {"means": mu, "variances": variances}

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters m0, beta0, W0_inv and nu0 in the units of x."""
        p = self.prior
        W0_inv = 2 * p.b * self.unit[0] ** 2
        return {"m0": self.origin + self.unit * p.m, "beta0": p.beta, "W0_inv": W0_inv, "nu0": 2 * p.a}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        return n_components * (len(self.unit) + 1)

    def _eta(self, mu: np.ndarray, Lambda: np.ndarray, log_lambda: np.ndarray, extra: np.ndarray | int) -> np.ndarray:
        """Join the parts of eta; ``extra`` is the variance of mu in units of 1 / lambda."""
        D = len(self.unit)
        constant = (D * log_lambda - Lambda * (mu**2).sum(-1) - D * (extra + LOG_2PI)) / 2 - self.log_volume
        return np.concatenate([constant[..., None], Lambda[..., None] * mu, -Lambda[..., None] / 2], axis=-1)

    def _unpack(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Split s into counts (...), sums (..., D) and sums of squared lengths (...)."""
        return s[..., 0], s[..., 1:-1], s[..., -1]
