r"""Gaussian emissions with full covariance and their Normal-Wishart prior.

    Lambda_k ~ Wishart(W0, nu0)      mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)      x_n | z_n = k ~ N(mu_k, Lambda_k^-1)

As an exponential family (Bishop, PRML, section 2.4), with the products x_i x_j taken for i <= j:

    t(x)  = (1, x, x x^T)
    eta_k = (1/2 log|Lambda_k| - 1/2 mu_k^T Lambda_k mu_k - D/2 log 2 pi,  Lambda_k mu_k,  -1/2 Lambda_k)

Second moments about a far origin cancel, so the family works in coordinates z = (x - origin) / unit, fixed once from the
data; the Jacobian -sum(log unit) is folded into the constant of eta, and every log density is in the units of x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln, multigammaln

from mixtures.errors import CollapseError
from mixtures.model import Theta

LOG_2PI = np.log(2 * np.pi)

# In the form E[zz^T] - E[z]E[z]^T a variance v keeps about -log10(eps / v) digits: at 1e-9 of the data's spread, six or seven.
SMALLEST_VARIANCE = 1e-9


@dataclass(frozen=True)
class NormalWishart:
    """Normal-Wishart density of (mu, Lambda), alone or a batch of them.

    Parameters
    ----------
    m : ndarray, shape (..., D)
        Location of mu.
    beta : ndarray, shape (...)
        Precision of mu in units of Lambda: a number of pseudo-observations.
    W_inv : ndarray, shape (..., D, D)
        Inverse scale matrix W^-1; E[Lambda] = nu W.
    nu : ndarray, shape (...)
        Degrees of freedom, larger than D - 1.
    """

    m: np.ndarray
    beta: np.ndarray
    W_inv: np.ndarray
    nu: np.ndarray

    def log_normaliser(self) -> np.ndarray:
        """Log integral of |Lambda|^((nu-D)/2) exp(-beta/2 (mu-m)^T Lambda (mu-m) - 1/2 tr(W^-1 Lambda)) (PRML B.79)."""
        D = self.m.shape[-1]
        log_det_W = -_log_det(self.W_inv)
        log_inv_B = self.nu / 2 * (log_det_W + D * np.log(2)) + multigammaln(self.nu / 2, D)
        return D / 2 * (LOG_2PI - np.log(self.beta)) + log_inv_B

    def permute(self, order: np.ndarray) -> NormalWishart:
        """The same batch with its first axis in another order."""
        return NormalWishart(self.m[order], self.beta[order], self.W_inv[order], self.nu[order])


@dataclass(frozen=True)
class Gaussian:
    """Gaussian clusters with full covariances under a Normal-Wishart prior.

    Parameters
    ----------
    prior : NormalWishart
        The prior of every cluster, unbatched, in the coordinates z.
    origin, unit : ndarray, shape (D,)
        The coordinates z = (x - origin) / unit.

    Notes
    -----
    Cluster parameters ``theta`` are a dict ``{"means": (..., K, D), "covariances": (..., K, D, D)}`` in the coordinates z;
    `to_data` and `from_data_units` convert it.
    """

    prior: NormalWishart
    origin: np.ndarray
    unit: np.ndarray

    name: ClassVar[str] = "gaussian"
    equations: ClassVar[tuple[str, ...]] = (
        "Lambda_k ~ Wishart(W0, nu0)",
        "mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)",
        "x_n | z_n = k ~ N(mu_k, Lambda_k^-1)",
    )
    dims: ClassVar[dict[str, tuple[str, ...]]] = {
        "means": ("cluster", "feature"),
        "covariances": ("cluster", "feature", "feature_"),
    }

    @classmethod
    def from_data(
        cls,
        x: np.ndarray,
        n_components: int,
        *,
        m0: np.ndarray | None = None,
        beta0: float = 0.01,
        W0: np.ndarray | None = None,
        nu0: float | None = None,
    ) -> Gaussian:
        """The family in coordinates that suit ``x``, under a weak prior wherever none is given.

        The default is that of Fraley & Raftery (2007, *Journal of Classification* 24:155-181, section 3.1): m0 the mean of
        the data, beta0 = 0.01, nu0 = D + 2 and W0^-1 the data's covariance over K^(2/D).

        Parameters
        ----------
        x : ndarray, shape (N, D)
        n_components : int
            K, which sets the size of the default scale.
        m0 : ndarray, shape (D,), optional
            Prior location of the means, in the units of x.
        beta0 : float, optional
            Prior precision of the means relative to that of the cluster; positive.
        W0 : ndarray, shape (D, D), optional
            Prior scale of the precisions, in inverse squared units of x; symmetric positive definite.
        nu0 : float, optional
            Prior degrees of freedom, larger than D - 1.

        Raises
        ------
        ValueError
            If x is not a finite matrix with spread in every feature, or a hyperparameter is outside its range.
        """
        x = check_matrix(x)
        N, D = x.shape
        if n_components < 1:
            raise ValueError(f"n_components is {n_components}; a mixture needs at least 1")
        origin = x[0] + (x - x[0]).mean(axis=0)
        unit = (x - origin).std(axis=0)
        if not np.all(unit > 0):
            raise ValueError(f"feature {int(np.argmin(unit))} is constant over all {N} rows; leave it out")
        z = (x - origin) / unit

        nu = float(D + 2 if nu0 is None else nu0)
        if nu <= D - 1:
            raise ValueError(f"nu0 is {nu:g}; a Wishart in {D} dimensions needs more than {D - 1}")
        if not beta0 > 0:
            raise ValueError(f"beta0 is {beta0:g}; it must be positive")
        if W0 is None:
            covariance = np.atleast_2d(np.cov(z, rowvar=False))
            if N <= D or np.linalg.eigvalsh(covariance)[0] < SMALLEST_VARIANCE:
                raise ValueError(
                    f"the covariance of the {N} rows in {D} features is singular, so that it cannot set the prior scale; "
                    "leave out features that follow from others, bring more rows, or give W0"
                )
            W_inv = covariance / n_components ** (2 / D)
        else:
            W0 = np.asarray(W0, dtype=float)
            if W0.shape != (D, D) or not np.allclose(W0, W0.T) or np.linalg.eigvalsh(W0)[0] <= 0:
                raise ValueError(f"W0 must be a symmetric positive definite matrix of shape ({D}, {D})")
            W_inv = np.linalg.inv(W0) / np.outer(unit, unit)
        m = np.zeros(D) if m0 is None else (np.broadcast_to(np.asarray(m0, dtype=float), (D,)) - origin) / unit
        return cls(NormalWishart(m, np.asarray(float(beta0)), W_inv, np.asarray(nu)), origin, unit)

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """The points in the family's coordinates, z = (x - origin) / unit, shape (N, D)."""
        return (x - self.origin) / self.unit

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z_i, z_i z_j for i <= j), shape (N, P) with P = 1 + D + D (D + 1) / 2."""
        z = self.coordinates(x).T
        i, j = np.triu_indices(len(z))
        return np.concatenate([np.ones((1, len(x))), z, z[i] * z[j]]).T

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log N(x_n | mu_k, Sigma_k), in units of x."""
        mu, Lambda = theta["means"], np.linalg.inv(theta["covariances"])
        Lambda_mu = _times(Lambda, mu)
        constant = (_log_det(Lambda) - (mu * Lambda_mu).sum(-1) - len(self.unit) * LOG_2PI) / 2 - self.log_volume
        return _pack(constant, Lambda_mu, Lambda)

    def expected_natural(self, q: NormalWishart) -> np.ndarray:
        """E_q[eta], shape (K, P) (PRML 10.64, 10.65)."""
        D = q.m.shape[-1]
        nu_W = q.nu[:, None, None] * np.linalg.inv(q.W_inv)
        expected_log_det = digamma((q.nu[:, None] - np.arange(D)) / 2).sum(-1) + D * np.log(2) - _log_det(q.W_inv)
        expected_quadratic = D / q.beta + (q.m * _times(nu_W, q.m)).sum(-1)
        constant = (expected_log_det - expected_quadratic - D * LOG_2PI) / 2 - self.log_volume
        return _pack(constant, _times(nu_W, q.m), nu_W)

    def posterior(self, s: np.ndarray) -> NormalWishart:
        """The Normal-Wishart posterior given expected sufficient statistics s, shape (..., K, P) (PRML 10.60-10.63)."""
        N, sum_z, sum_zz = _unpack(s)
        p = self.prior
        beta, nu = p.beta + N, p.nu + N
        m = (p.beta * p.m + sum_z) / beta[..., None]
        W_inv = p.W_inv + sum_zz + p.beta * _outer(p.m) - beta[..., None, None] * _outer(m)
        _refuse_collapse(W_inv / nu[..., None, None])
        return NormalWishart(m, beta, W_inv, nu)

    def log_marginal(self, s: np.ndarray) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given: sum_k log int p(x|theta_k) p(theta_k), shape (...).

        Its gradient with respect to s is `expected_natural` of the posterior, and sum(s * eta) minus it is the
        Kullback-Leibler divergence of that posterior from the prior.
        """
        N = s[..., 0]
        log_base = -N * (len(self.unit) / 2 * LOG_2PI + self.log_volume)
        return (self.posterior(s).log_normaliser() - self.prior.log_normaliser() + log_base).sum(-1)

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """Means and covariances that maximise sum(s * eta) (PRML 9.17, 9.19).

        Raises
        ------
        CollapseError
            If a cluster is empty or its covariance is singular to working precision.
        """
        N, sum_z, sum_zz = _unpack(s)
        if np.any(N < 1e-8):
            raise CollapseError(
                f"cluster {int(np.argmin(N))} is empty; use fewer components, other starts, or a prior (method map or cavi)"
            )
        mu = sum_z / N[..., None]
        Sigma = sum_zz / N[..., None, None] - _outer(mu)
        _refuse_collapse(Sigma)
        return {"means": mu, "covariances": Sigma}

    def mode(self, s: np.ndarray) -> Theta:
        """Mode of the posterior density of (mu, Lambda): mu = m, Lambda = (nu - D) W.

        Raises
        ------
        ValueError
            If nu <= D, where the density has no mode.
        """
        q = self.posterior(s)
        excess = q.nu - q.m.shape[-1]
        if np.any(excess <= 0):
            raise ValueError("the posterior has no mode in Lambda; give nu0 of at least D + 1")
        return {"means": q.m, "covariances": q.W_inv / excess[..., None, None]}

    def log_density(self, theta: Theta, q: NormalWishart) -> np.ndarray:
        """sum_k log NW(mu_k, Lambda_k) with respect to d mu d Lambda in the coordinates z, shape (...)."""
        Lambda = np.linalg.inv(theta["covariances"])
        offset = theta["means"] - q.m
        quadratic = q.beta * (offset * _times(Lambda, offset)).sum(-1) + (q.W_inv * Lambda).sum((-2, -1))
        return ((q.nu - len(self.unit)) / 2 * _log_det(Lambda) - quadratic / 2 - q.log_normaliser()).sum(-1)

    def log_prior(self, theta: Theta) -> np.ndarray:
        """`log_density` of theta under the prior, shape (...)."""
        return self.log_density(theta, self.prior)

    def log_predictive(self, x: np.ndarray, q: NormalWishart) -> np.ndarray:
        """Log Student-t predictive density of each cluster, shape (N, K) (PRML 10.81, 10.82 and B.68)."""
        D = q.m.shape[-1]
        dof = q.nu + 1 - D
        L = np.linalg.cholesky(q.W_inv * ((1 + q.beta) / (dof * q.beta))[:, None, None])
        offset = self.coordinates(x)[:, None, :] - q.m
        distance = (np.linalg.solve(L, offset[..., None])[..., 0] ** 2).sum(-1)
        log_det = np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(-1)
        constant = gammaln((dof + D) / 2) - gammaln(dof / 2) - D / 2 * np.log(dof * np.pi) - log_det - self.log_volume
        return constant - (dof + D) / 2 * np.log1p(distance / dof)

    def sample(self, q: NormalWishart, size: int, rng: np.random.Generator) -> Theta:
        """Draws of theta from q, with shapes (size, K, D) and (size, K, D, D), by Bartlett's factor of the Wishart."""
        K, D = q.m.shape
        A = np.tril(rng.standard_normal((size, K, D, D)), -1)
        A[..., range(D), range(D)] = np.sqrt(rng.chisquare(q.nu[:, None] - np.arange(D), (size, K, D)))
        F = np.linalg.cholesky(q.W_inv) @ np.linalg.inv(A).swapaxes(-1, -2)
        mu = q.m + _times(F, rng.standard_normal((size, K, D))) / np.sqrt(q.beta)[:, None]
        return {"means": mu, "covariances": F @ F.swapaxes(-1, -2)}

    def simulate(self, theta: Theta, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One point in the units of x for each label, shape (N, D); theta has shapes (K, D) and (K, D, D)."""
        F = np.linalg.cholesky(theta["covariances"])[labels]
        z = theta["means"][labels] + _times(F, rng.standard_normal((len(labels), len(self.unit))))
        return self.origin + self.unit * z

    def to_data(self, theta: Theta) -> Theta:
        """Parameters of z turned into parameters of x."""
        covariances = theta["covariances"] * np.outer(self.unit, self.unit)
        return {"means": self.origin + self.unit * theta["means"], "covariances": covariances}

    def from_data_units(self, theta: Theta) -> Theta:
        """Parameters of x turned into parameters of z."""
        covariances = theta["covariances"] / np.outer(self.unit, self.unit)
        return {"means": (theta["means"] - self.origin) / self.unit, "covariances": covariances}

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters m0, beta0, W0_inv and nu0 in the units of x."""
        p = self.prior
        W0_inv = p.W_inv * np.outer(self.unit, self.unit)
        return {"m0": self.origin + self.unit * p.m, "beta0": p.beta, "W0_inv": W0_inv, "nu0": p.nu}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        D = len(self.unit)
        return n_components * (D + D * (D + 1) // 2)

    def log_jacobian(self, n_components: int) -> float:
        """Log Jacobian of (mu, Lambda) in z with respect to (mu, Lambda) in x: unit^-1 and unit^(D+1) for each feature."""
        return n_components * len(self.unit) * self.log_volume

    @property
    def log_volume(self) -> float:
        """Log Jacobian of x with respect to z, sum(log unit)."""
        return float(np.log(self.unit).sum())


def check_matrix(x: np.ndarray) -> np.ndarray:
    """``x`` as a float64 array of shape (N, D), or a ValueError that says what is wrong with it."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x has shape {x.shape}; expected a matrix (N, D) with at least one row and one column")
    bad = ~np.isfinite(x)
    if bad.any():
        raise ValueError(
            f"x has {int(bad.sum())} missing or infinite values, the first in row {int(np.argmax(bad.any(1)))}"
        )
    return x


def _pack(constant: np.ndarray, linear: np.ndarray, Lambda: np.ndarray) -> np.ndarray:
    """Join the parts of eta; each product with i < j stands for two equal entries of -1/2 Lambda."""
    i, j = np.triu_indices(Lambda.shape[-1])
    quadratic = np.where(i == j, -0.5, -1.0) * Lambda[..., i, j]
    return np.concatenate([constant[..., None], linear, quadratic], axis=-1)


def _unpack(s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split s into counts (...), sums (..., D) and full second moments (..., D, D)."""
    P = s.shape[-1]
    D = int(np.sqrt(8 * P + 1) - 3) // 2
    i, j = np.triu_indices(D)
    sum_zz = np.empty((*s.shape[:-1], D, D))
    sum_zz[..., i, j] = sum_zz[..., j, i] = s[..., 1 + D :]
    return s[..., 0], s[..., 1 : 1 + D], sum_zz


def _refuse_collapse(Sigma: np.ndarray) -> None:
    smallest = np.linalg.eigvalsh(Sigma)[..., 0]
    if not np.all(smallest > SMALLEST_VARIANCE):
        raise CollapseError(
            f"cluster {int(np.argmin(smallest)) % Sigma.shape[-3]} collapsed: its smallest variance is below "
            f"{SMALLEST_VARIANCE:g} of the data's; use fewer components, other starts, or a prior (method map or cavi)"
        )


def _log_det(A: np.ndarray) -> np.ndarray:
    return np.linalg.slogdet(A)[1]


def _outer(a: np.ndarray) -> np.ndarray:
    return a[..., :, None] * a[..., None, :]


def _times(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (A @ b[..., None])[..., 0]
