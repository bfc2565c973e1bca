"""Gaussian clusters whose features are independent: a variance for each cluster and feature.

    lambda_kd ~ Gamma(nu0/2, rate w_d/2)      mu_kd | lambda_kd ~ N(m0_d, 1/(beta0 lambda_kd))
    x_nd | z_n = k ~ N(mu_kd, 1/lambda_kd)

The Gamma is the Wishart in one dimension, with w_d = 1/W0_d (PRML section 2.3.6). As an exponential family

    t(x)  = (1, z, z^2)
    eta_k = (sum_d 1/2 log lambda_kd - 1/2 lambda_kd mu_kd^2 - 1/2 log 2 pi,  lambda_k mu_k,  -1/2 lambda_k)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln

from mixtures.checks import as_number, as_numbers
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
class NormalGamma(Batch):
    """Normal-Gamma density of (mu_d, lambda_d), independent over features.

    Parameters
    ----------
    m : ndarray, shape (..., D)
        Location of mu.
    beta : ndarray, shape (...) or (..., D)
        Precision of mu in units of lambda; of each feature where they were not seen equally often.
    a : ndarray, shape (...) or (..., D)
        Shape of the Gamma, likewise.
    b : ndarray, shape (..., D)
        Rate of the Gamma; E[lambda] = a / b.
    """

    m: np.ndarray
    beta: np.ndarray
    a: np.ndarray
    b: np.ndarray

    def log_normaliser(self) -> np.ndarray:
        """Log integral of lambda^(a-1/2) exp(-lambda (beta/2 (mu-m)^2 + b)), summed over features, shape (...)."""
        constant = total((LOG_2PI - np.log(self.beta)) / 2 + gammaln(self.a), self.m)
        if self.a.ndim == self.m.ndim:
            return constant - (self.a * np.log(self.b)).sum(-1)
        return constant - self.a * np.log(self.b).sum(-1)


@dataclass(frozen=True)
class DiagonalGaussian(Separate, Normal):
    """Gaussian clusters with diagonal covariances under Normal-Gamma priors.

    Parameters
    ----------
    origin, unit : ndarray, shape (D,)
        The coordinates z = (x - origin) / unit.
    prior : NormalGamma
        The prior of every cluster, unbatched, in the coordinates z.

    Notes
    -----
    ``theta`` is ``{"means": (..., K, D), "variances": (..., K, D)}`` in the coordinates z.
    """

    prior: NormalGamma

    name: ClassVar[str] = "diagonal"
    covariance: ClassVar[str] = "diag"
    parameters: ClassVar[tuple[str, ...]] = ("means", "variances")
    equations: ClassVar[tuple[str, ...]] = (
        "lambda_kd ~ Gamma(nu0/2, W0_inv_d/2)",
        "mu_kd | lambda_kd ~ N(m0_d, (beta0 lambda_kd)^-1)",
        "x_nd | z_n = k ~ N(mu_kd, lambda_kd^-1)",
    )

    @classmethod
    def from_data(
        cls,
        x: Rows,
        n_components: int,
        *,
        m0: np.ndarray | None = None,
        beta0: float = 0.01,
        W0: np.ndarray | None = None,
        nu0: float | None = None,
        weights: np.ndarray | None = None,
        missing: bool = False,
    ) -> DiagonalGaussian:
        """The family in coordinates that suit ``x``; defaults as for `mixtures.Gaussian.from_data`, feature by feature.

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            See `mixtures.rows.reading.as_rows`.
        n_components : int
        m0 : ndarray, shape (D,), optional
        beta0 : float, optional
        W0 : ndarray, shape (D,), optional
            Prior scale of the precisions, in inverse squared units of x; by default K^(2/D) over the data's variances.
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
        origin, unit = frame(data, n_components)
        nu = D + 2.0 if nu0 is None else as_number("nu0", nu0)
        if W0 is None:
            w = each_unbiased(data) / n_components ** (2 / D)
        else:
            W0 = as_numbers("W0", W0)
            if W0.shape != (D,) or not np.all(W0 > 0):
                raise ValueError(f"W0 must be {D} positive numbers, one a feature")
            with np.errstate(all="ignore"):
                w = 1 / (W0 * unit**2)
        m = location(m0, origin) / unit
        check_prior(beta0, nu, 0, m, w)
        prior = NormalGamma(m, np.asarray(float(beta0)), np.asarray(nu / 2), w / 2)
        return cls(origin, unit, prior, missing=missing)

    def covariances(self, theta: Theta) -> np.ndarray:
        """The covariance matrices of theta in the coordinates z, shape (..., K, D, D)."""
        return theta["variances"][..., None] * np.eye(len(self.unit))

    def from_data_units(self, theta: Theta) -> Theta:
        """Means and variances of z from the means and covariances of x."""
        variances = np.diagonal(theta["covariances"], axis1=-2, axis2=-1) / self.unit**2
        return {"means": (theta["means"] - self.origin) / self.unit, "variances": variances}

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z_d, z_d^2), (N, 1 + 2 D); (1, o_d, o_d z_d, o_d z_d^2) for gaps."""
        D = len(self.unit)
        y = np.moveaxis(self.factors(x), -1, 0)
        t = np.empty((1 + len(y) + D, *y.shape[1:]))  # features first: squares then run along memory
        t[0], t[1 : 1 + len(y) - D], t[1 + len(y) - D : 1 + len(y)] = 1, y[D:], y[:D]
        np.square(t[1 + len(y) - D : 1 + len(y)], out=t[1 + len(y) :])
        return np.moveaxis(t, 0, -1)

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j) with t_p(x) = z_i z_j, where z_0 = 1, shape (P, 3)."""
        return _monomials(len(self.unit), self.missing)

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log N(x_n | mu_k, Sigma_k), in units of x."""
        mu, Lambda = theta["means"], 1 / theta["variances"]
        constant = (np.log(Lambda) - Lambda * mu**2 - LOG_2PI) / 2 - np.log(self.unit)
        return self.join(constant, Lambda * mu, -Lambda / 2)

    def expected_natural(self, q: NormalGamma) -> np.ndarray:
        """E_q[eta], shape (..., K, P) (PRML B.27, B.30)."""
        a, beta = per_feature(q.a, q.m), per_feature(q.beta, q.m)
        Lambda = a / q.b
        constant = (digamma(a) - np.log(q.b) - 1 / beta - Lambda * q.m**2 - LOG_2PI) / 2 - np.log(self.unit)
        return self.join(constant, Lambda * q.m, -Lambda / 2)

    def posterior(self, s: np.ndarray) -> NormalGamma:
        """The Normal-Gamma posterior given expected sufficient statistics s, shape (..., K, P)."""
        N, sum_z, sum_zz = self._unpack(s)
        p = self.prior
        beta0 = p.beta[..., None]
        beta, a = beta0 + N, p.a[..., None] + N / 2
        m = (beta0 * p.m + sum_z) / beta
        b = p.b + (sum_zz + beta0 * p.m**2 - beta * m**2) / 2
        refuse_collapse(over(b, beta * m**2 / 2).min(-1), self.least)
        return NormalGamma(m, beta, a, b) if self.missing else NormalGamma(m, beta[..., 0], a[..., 0], b)

    def log_marginal(self, s: np.ndarray, q: NormalGamma | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, shape (...); see `mixtures.Gaussian.log_marginal`."""
        log_base = -((LOG_2PI / 2 + np.log(self.unit)) * self.split(s)[0]).sum(-1)
        q = self.posterior(s) if q is None else q
        return (q.log_normaliser() - self.log_prior_normaliser + log_base).sum(-1)

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """Means and variances that maximise sum(s * eta).

        Raises
        ------
        CollapseError
            If a cluster is empty or one of its variances is zero to working precision.
        """
        N, sum_z, sum_zz = self._unpack(s)
        refuse_empty(N.min(-1))
        mu = sum_z / N
        variances = sum_zz / N - mu**2
        refuse_collapse(over(variances, mu**2).min(-1), self.least)
        refuse_tight(variances, self.least)
        return {"means": mu, "variances": variances}

    def mode(self, s: np.ndarray) -> Theta:
        """Mode of the posterior density of (mu, lambda): mu = m, lambda = (a - 1/2) / b.

        Raises
        ------
        ValueError
            If a <= 1/2, where the density has no mode.
        """
        q = self.posterior(s)
        excess = per_feature(q.a - 1 / 2, q.m)
        if np.any(excess <= 0):
            raise ValueError("the posterior has no mode in lambda; give nu0 of more than 1")
        return {"means": q.m, "variances": q.b / excess}

    def log_density(self, theta: Theta, q: NormalGamma) -> np.ndarray:
        """sum_kd log NG(mu_kd, lambda_kd) with respect to d mu d lambda in the coordinates z, shape (...)."""
        Lambda = 1 / theta["variances"]
        rate = q.b + per_feature(q.beta, q.m) / 2 * (theta["means"] - q.m) ** 2
        powers = per_feature(q.a - 1 / 2, q.m) * np.log(Lambda)
        return ((powers - Lambda * rate).sum(-1) - q.log_normaliser()).sum(-1)

    def log_jacobian(self, n_components: int) -> float:
        """Log Jacobian of (mu, lambda) in z with respect to (mu, lambda) in x: unit^-1 and unit^2 for each feature."""
        return n_components * self.log_volume

    def log_predictive(self, x: np.ndarray, q: NormalGamma) -> np.ndarray:
        """Log predictive density of each cluster, a product of Student-t densities, (N, ..., K) (PRML 2.158-2.161)."""
        a, beta = per_feature(q.a, q.m), per_feature(q.beta, q.m)
        scale = (q.b * ((1 + beta) / (a * beta)))[..., None]
        distance = self.offsets(x, q.m) ** 2 / scale
        log_p = log_student_t(distance, np.log(scale) / 2 + np.log(self.unit)[:, None], 2 * a[..., None], 1)
        if self.missing:
            log_p = np.where(np.isnan(x.T), 0.0, log_p)
        return np.moveaxis(log_p.sum(-2), -1, 0)

    def mean(self, q: NormalGamma) -> Theta:
        """E_q[theta]: E[1 / lambda] = b / (a - 1), not a number where a <= 1 (inverse Gamma)."""
        return {"means": q.m, "variances": q.b / existing(per_feature(q.a - 1, q.m))}

    def sample(self, q: NormalGamma, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, each of shape (size, ..., K, D)."""
        rng = generator(rng)
        variances = q.b / rng.gamma(per_feature(q.a, q.m), size=(size, *q.b.shape))
        mu = q.m + np.sqrt(variances / per_feature(q.beta, q.m)) * rng.standard_normal(variances.shape)
        return {"means": mu, "variances": variances}

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters m0, beta0, W0_inv and nu0 in the units of x."""
        p = self.prior
        W0_inv = 2 * p.b * self.unit**2
        return {"m0": self.origin + self.unit * p.m, "beta0": p.beta, "W0_inv": W0_inv, "nu0": 2 * p.a}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        return 2 * n_components * len(self.unit)

    def _unpack(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Split s into counts (..., 1 or D), sums (..., D) and sums of squares (..., D)."""
        N, others = self.split(s)
        D = len(self.unit)
        return N, others[..., :D], others[..., D:]


@cache
def _monomials(D: int, missing: bool) -> np.ndarray:
    """`DiagonalGaussian.monomials` of D features."""
    d = np.arange(1, D + 1)
    first, second = np.concatenate([[0], 0 * d, d]), np.concatenate([[0], d, d])
    plain = np.column_stack([np.arange(len(first)), first, second])
    return behind(plain, D) if missing else plain
