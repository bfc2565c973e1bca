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
from functools import cache
from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln

from mixtures.checks import as_number
from mixtures.families.collapse import over, refuse_collapse, refuse_empty, refuse_tight
from mixtures.families.gaps import Separate, behind, per_feature, total
from mixtures.families.hyperparameters import Batch, existing
from mixtures.families.normal import Normal
from mixtures.families.scaling import check_prior, each_unbiased, frame, location
from mixtures.families.wishart import LOG_2PI, log_student_t
from mixtures.model import Theta
from mixtures.rows.moments import moments, seen_moments
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator


@dataclass(frozen=True)
class SphericalNormalGamma(Batch):
    """Density of (mu, lambda) with one precision for all D entries of mu.

    Parameters
    ----------
    m : ndarray, shape (..., D)
        Location of mu.
    beta : ndarray, shape (...) or (..., D)
        Precision of mu in units of lambda; of each feature where they were not seen equally often.
    a, b : ndarray, shape (...)
        Shape and rate of the Gamma; E[lambda] = a / b.
    """

    m: np.ndarray
    beta: np.ndarray
    a: np.ndarray
    b: np.ndarray

    def log_normaliser(self) -> np.ndarray:
        """Log integral of lambda^(a-1+D/2) exp(-lambda (beta/2 |mu-m|^2 + b)), shape (...)."""
        return total(LOG_2PI - np.log(self.beta), self.m) / 2 + gammaln(self.a) - self.a * np.log(self.b)


@dataclass(frozen=True)
class SphericalGaussian(Separate, Normal):
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
        missing: bool = False,
    ) -> SphericalGaussian:
        """The family in coordinates that suit ``x``; defaults as for `mixtures.Gaussian.from_data`.

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            See `mixtures.rows.reading.as_rows`.
        n_components : int
        m0 : ndarray, shape (D,), optional
        beta0 : float, optional
        W0 : float, optional
            Prior scale of the precision, in inverse squared units of x; by default K^(2/D) over the mean of the variances.
        nu0 : float, optional
            Prior degrees of freedom, positive; by default D + 2.
        weights : ndarray, shape (N,), optional
            How many observations each row stands for.
        missing : bool
            Whether values may be missing at random (NaN); defaults are then taken from those that are not.

        Raises
        ------
        ValueError
            If x is not a finite matrix with spread in every feature, or a hyperparameter is outside its range.
        """
        data = seen_moments(x, weights) if missing else moments(x, weights)
        D = len(data.mean)
        origin, spread = frame(data, n_components)
        unit = np.full(D, np.sqrt(np.mean(spread**2)))
        nu = D + 2.0 if nu0 is None else as_number("nu0", nu0)
        if W0 is not None and not as_number("W0", W0) > 0:
            raise ValueError("W0 must be one positive number")
        with np.errstate(all="ignore"):
            if W0 is None:
                w = (each_unbiased(data) * spread**2).sum() / (spread**2).sum() / n_components ** (2 / D)
            else:
                w = 1 / (np.float64(W0) * unit[0] ** 2)
        m = location(m0, origin) / unit
        check_prior(beta0, nu, 0, m, w)
        prior = SphericalNormalGamma(m, np.asarray(float(beta0)), np.asarray(nu / 2), np.asarray(w / 2))
        return cls(origin, unit, prior, missing=missing)

    def covariances(self, theta: Theta) -> np.ndarray:
        """The covariance matrices of theta in the coordinates z, shape (..., K, D, D)."""
        return theta["variances"][..., None, None] * np.eye(len(self.unit))

    def from_data_units(self, theta: Theta) -> Theta:
        """Means and variances of z from the means and covariances of x."""
        variances = np.diagonal(theta["covariances"], axis1=-2, axis2=-1).mean(-1) / self.unit[0] ** 2
        return {"means": (theta["means"] - self.origin) / self.unit, "variances": variances}

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z_d, |z|^2), shape (N, P) with P = D + 2; (1, o_d, o_d z_d, |z_o|^2) with gaps."""
        D = len(self.unit)
        y = np.moveaxis(self.factors(x), -1, 0)
        z, o = y[:D], y[D:]
        t = np.empty((2 + len(y), *y.shape[1:]))  # features first: sums then run along memory
        t[0], t[1 : 1 + len(o)], t[1 + len(o) : -1] = 1, o, z
        np.einsum("d...,d...->...", z, z, out=t[-1])
        return np.moveaxis(t, 0, -1)

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j), sorted by p: t_p(x) is the sum of z_i z_j over its rows, where z_0 = 1, shape (1 + 2 D, 3)."""
        return _monomials(len(self.unit), self.missing)

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log N(x_n | mu_k, Sigma_k), in units of x."""
        return self._eta(theta["means"], 1 / theta["variances"], -np.log(theta["variances"]), 0)

    def expected_natural(self, q: SphericalNormalGamma) -> np.ndarray:
        """E_q[eta], shape (..., K, P) (PRML B.27, B.30)."""
        return self._eta(q.m, q.a / q.b, digamma(q.a) - np.log(q.b), 1 / q.beta)

    def posterior(self, s: np.ndarray) -> SphericalNormalGamma:
        """The posterior given expected sufficient statistics s, shape (..., K, P)."""
        N, sum_z, sum_zz = self._unpack(s)
        p, beta0 = self.prior, self.prior.beta[..., None]
        beta, a = beta0 + N, p.a + self._entries(N) / 2
        m = (beta0 * p.m + sum_z) / beta
        taken = (beta * m**2).sum(-1)
        b = p.b + (sum_zz + p.beta * (p.m**2).sum(-1) - taken) / 2
        refuse_collapse(over(b, taken / 2), self.least)
        return SphericalNormalGamma(m, beta if self.missing else beta[..., 0], a, b)

    def log_marginal(self, s: np.ndarray, q: SphericalNormalGamma | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, shape (...); see `mixtures.Gaussian.log_marginal`."""
        log_base = -((LOG_2PI / 2 + np.log(self.unit)) * self.split(s)[0]).sum(-1)
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
        refuse_empty(N.min(-1))
        mu = sum_z / N
        entries = self._entries(N)
        taken = (N * mu**2).sum(-1) / entries
        variances = sum_zz / entries - taken
        refuse_collapse(over(variances, taken), self.least)
        refuse_tight(variances[..., None], self.least)
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
        rate = q.b + (per_feature(q.beta, q.m) * (theta["means"] - q.m) ** 2).sum(-1) / 2
        powers = (q.a - 1 + len(self.unit) / 2) * np.log(Lambda)
        return (powers - Lambda * rate - q.log_normaliser()).sum(-1)

    def log_jacobian(self, n_components: int) -> float:
        """Log Jacobian of (mu, lambda) in z with respect to (mu, lambda) in x: D times unit^-1, once unit^2."""
        return n_components * (2 - len(self.unit)) * float(np.log(self.unit[0]))

    def log_predictive(self, x: np.ndarray, q: SphericalNormalGamma) -> np.ndarray:
        """Log Student-t predictive density of each cluster, shape (N, ..., K) (PRML 2.162)."""
        beta = per_feature(q.beta, q.m)
        scale = np.broadcast_to((q.b / q.a)[..., None] * (1 + beta) / beta, q.m.shape)[..., None]
        seen = ~np.isnan(x.T)
        distance = np.where(seen, self.offsets(x, q.m) ** 2 / scale, 0.0).sum(-2)
        log_scale = (seen * (np.log(scale) / 2 + np.log(self.unit)[:, None])).sum(-2)
        return np.moveaxis(log_student_t(distance, log_scale, 2 * q.a[..., None], seen.sum(0)), -1, 0)

    def mean(self, q: SphericalNormalGamma) -> Theta:
        """E_q[theta]: E[1 / lambda] = b / (a - 1), not a number where a <= 1 (inverse Gamma)."""
        return {"means": q.m, "variances": q.b / existing(q.a - 1)}

    def sample(self, q: SphericalNormalGamma, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, with shapes (size, ..., K, D) and (size, ..., K)."""
        rng = generator(rng)
        variances = q.b / rng.gamma(q.a, size=(size, *q.b.shape))
        mu = q.m + np.sqrt(variances[..., None] / per_feature(q.beta, q.m)) * rng.standard_normal((size, *q.m.shape))
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
        """Join the parts of eta; ``extra`` is the variance of mu in units of 1 / lambda, of each feature or one for all."""
        Lambda, log_lambda = Lambda[..., None], log_lambda[..., None]
        constant = (log_lambda - Lambda * mu**2 - per_feature(np.asarray(extra), mu) - LOG_2PI) / 2 - np.log(self.unit)
        return self.join(constant, Lambda * mu, -Lambda / 2)

    def _unpack(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Split s into counts (..., 1 or D), sums (..., D) and sums of squared lengths (...)."""
        N, others = self.split(s)
        return N, others[..., :-1], others[..., -1]

    def _entries(self, N: np.ndarray) -> np.ndarray:
        """How many values were seen in all features together, (...)."""
        return N.sum(-1) if self.missing else N[..., 0] * len(self.unit)


@cache
def _monomials(D: int, missing: bool) -> np.ndarray:
    """`SphericalGaussian.monomials` of D features."""
    d = np.arange(1, D + 1)
    p = np.concatenate([[0], d, np.full(D, D + 1)])
    plain = np.column_stack([p, np.concatenate([[0], 0 * d, d]), np.concatenate([[0], d, d])])
    return behind(plain, D) if missing else plain
