"""What the Gaussian families share: coordinates, the way back to the units of the data, and what they refuse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import digamma, gammaln, multigammaln

from mixtures.errors import CollapseError
from mixtures.model import Theta

LOG_2PI = np.log(2 * np.pi)

# In the form E[zz^T] - E[z]E[z]^T a variance v keeps about -log10(eps / v) digits: at 1e-9 of the data's spread, six or seven.
SMALLEST_VARIANCE = 1e-9


@dataclass(frozen=True)
class Normal(ABC):
    """A Gaussian family's coordinates.

    Second moments about a far origin cancel, so a family works in coordinates z = (x - origin) / unit, fixed once from the
    data; it folds the Jacobian, -sum(log unit), into the constant of eta, and every log density is in the units of x.

    Parameters
    ----------
    origin, unit : ndarray, shape (D,)
    prior
        Hyperparameters in the coordinates z.
    """

    origin: np.ndarray
    unit: np.ndarray
    prior: Any

    dims: ClassVar[dict[str, tuple[str, ...]]] = {
        "means": ("cluster", "feature"),
        "covariances": ("cluster", "feature", "feature_"),
    }

    @property
    def log_volume(self) -> float:
        """Log Jacobian of x with respect to z, sum(log unit)."""
        return float(np.log(self.unit).sum())

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """The points in the family's coordinates, z = (x - origin) / unit, shape (N, D).

        Raises
        ------
        ValueError
            If x has another number of columns than the model has features.
        """
        if x.shape[-1] != len(self.unit):
            raise ValueError(f"x has {x.shape[-1]} columns; the model has {len(self.unit)} features")
        return (x - self.origin) / self.unit

    def covariances(self, theta: Theta) -> np.ndarray:
        """The covariance matrices of theta in the coordinates z, shape (..., K, D, D)."""
        return theta["covariances"]

    @abstractmethod
    def log_density(self, theta: Theta, q: Any) -> np.ndarray:
        """Log density of theta under q, summed over clusters, in the coordinates z, shape (...)."""

    def log_prior(self, theta: Theta) -> np.ndarray:
        """`log_density` of theta under the prior, shape (...)."""
        return self.log_density(theta, self.prior)

    def simulate(self, theta: Theta, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One point in the units of x for each label, shape (N, D); theta has no batch axes."""
        F = np.linalg.cholesky(self.covariances(theta))[labels]
        z = theta["means"][labels] + times(F, rng.standard_normal((len(labels), len(self.unit))))
        return self.origin + self.unit * z

    def to_data(self, theta: Theta) -> Theta:
        """Means and full covariances of x from parameters of z."""
        covariances = self.covariances(theta) * np.outer(self.unit, self.unit)
        return {"means": self.origin + self.unit * theta["means"], "covariances": covariances}

    def from_data_units(self, theta: Theta) -> Theta:
        """Means and full covariances of z from those of x."""
        covariances = theta["covariances"] / np.outer(self.unit, self.unit)
        return {"means": (theta["means"] - self.origin) / self.unit, "covariances": covariances}


@dataclass(frozen=True)
class Correlated(Normal):
    """The features and natural parameters of clusters whose features may be correlated."""

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z_i, z_i z_j for i <= j), shape (N, P) with P = 1 + D + D (D + 1) / 2."""
        z = self.coordinates(x).T
        i, j = np.triu_indices(len(z))
        return np.concatenate([np.ones((1, len(x))), z, z[i] * z[j]]).T

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log N(x_n | mu_k, Sigma_k), in units of x."""
        mu, Lambda = theta["means"], np.linalg.inv(theta["covariances"])
        Lambda_mu = times(Lambda, mu)
        constant = (log_det(Lambda) - (mu * Lambda_mu).sum(-1) - len(self.unit) * LOG_2PI) / 2 - self.log_volume
        return pack(constant, Lambda_mu, Lambda)


@dataclass(frozen=True)
class Batch:
    """Hyperparameters of several clusters, each field with the clusters along its first axis."""

    def permute(self, order: np.ndarray) -> Self:
        """The same with its clusters in another order."""
        return type(self)(*(getattr(self, field.name)[order] for field in fields(self)))


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


def frame(x: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of every feature of a checked ``x``, each (D,)."""
    if n_components < 1:
        raise ValueError(f"n_components is {n_components}; a mixture needs at least 1")
    origin = x[0] + (x - x[0]).mean(axis=0)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        unit = (x - origin).std(axis=0)
    lost = ~np.isfinite(unit) | ((unit == 0) & (np.ptp(x, axis=0) > 0))
    if lost.any():
        raise ValueError(
            f"the variance of feature {int(np.argmax(lost))} is too large or too small for a number; rescale it"
        )
    if not np.all(unit > 0):
        raise ValueError(f"feature {int(np.argmin(unit))} is constant over all {len(x)} rows; leave it out")
    return origin, unit


def location(m0: np.ndarray | None, origin: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The prior location of the means in the coordinates z, (D,); the origin where none is given."""
    if m0 is None:
        return np.zeros(len(unit))
    m0 = np.asarray(m0, dtype=float)
    if m0.shape not in ((), unit.shape) or not np.all(np.isfinite(m0)):
        raise ValueError(f"m0 must be {len(unit)} finite numbers, one a feature")
    return (np.broadcast_to(m0, unit.shape) - origin) / unit


def inverse_scale(z: np.ndarray, n_components: int, W0: np.ndarray | None, unit: np.ndarray) -> np.ndarray:
    """W0^-1 in the coordinates z, (D, D): from W0 in inverse squared units of x, or the covariance over K^(2/D)."""
    N, D = z.shape
    if W0 is not None:
        W0 = np.asarray(W0, dtype=float)
        if W0.shape != (D, D) or not np.allclose(W0, W0.T) or np.linalg.eigvalsh(W0)[0] <= 0:
            raise ValueError(f"W0 must be a symmetric positive definite matrix of shape ({D}, {D})")
        return np.linalg.inv(W0) / np.outer(unit, unit)
    covariance = np.atleast_2d(np.cov(z, rowvar=False))
    if N <= D or np.linalg.eigvalsh(covariance)[0] < SMALLEST_VARIANCE:
        raise ValueError(
            f"the covariance of the {N} rows in {D} features is singular, so that it cannot set the prior scale; "
            "leave out features that follow from others, bring more rows, or give W0"
        )
    return covariance / n_components ** (2 / D)


def check_prior(beta0: float, nu0: float, smallest: float) -> None:
    """Refuse hyperparameters under which the prior has no density."""
    if not nu0 > smallest:
        raise ValueError(f"nu0 is {nu0:g}; this prior needs more than {smallest:g}")
    if not beta0 > 0:
        raise ValueError(f"beta0 is {beta0:g}; it must be positive")


def refuse_empty(N: np.ndarray) -> None:
    """Refuse clusters without points, where maximum likelihood has no answer; N has shape (..., K)."""
    if np.any(N < 1e-8):
        raise CollapseError(
            f"cluster {int(np.argmin(N)) % N.shape[-1]} is empty; use fewer components, other starts, or a prior "
            "(method map or cavi)"
        )


def refuse_collapse(variance: np.ndarray) -> None:
    """Refuse clusters too tight for their digits; ``variance`` is each cluster's smallest, (..., K), in units of z."""
    if not np.all(variance > SMALLEST_VARIANCE):
        raise CollapseError(
            f"cluster {int(np.argmin(variance)) % variance.shape[-1]} collapsed: its smallest variance is below "
            f"{SMALLEST_VARIANCE:g} of the data's; use fewer components, other starts, or a prior (method map or cavi)"
        )


def pack(constant: np.ndarray, linear: np.ndarray, Lambda: np.ndarray) -> np.ndarray:
    """Join the parts of eta; each product with i < j stands for two equal entries of -1/2 Lambda."""
    i, j = np.triu_indices(Lambda.shape[-1])
    quadratic = np.where(i == j, -0.5, -1.0) * Lambda[..., i, j]
    return np.concatenate([constant[..., None], linear, quadratic], axis=-1)


def unpack(s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split s into counts (...), sums (..., D) and full second moments (..., D, D)."""
    P = s.shape[-1]
    D = int(np.sqrt(8 * P + 1) - 3) // 2
    i, j = np.triu_indices(D)
    sum_zz = np.empty((*s.shape[:-1], D, D))
    sum_zz[..., i, j] = sum_zz[..., j, i] = s[..., 1 + D :]
    return s[..., 0], s[..., 1 : 1 + D], sum_zz


def log_det(A: np.ndarray) -> np.ndarray:
    """Log of the absolute determinant of each matrix."""
    return np.linalg.slogdet(A)[1]


def outer(a: np.ndarray) -> np.ndarray:
    """a a^T of each vector."""
    return a[..., :, None] * a[..., None, :]


def times(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A b of each matrix and vector."""
    return (A @ b[..., None])[..., 0]


def log_wishart_normaliser(W_inv: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """-log B(W, nu): the log integral of |Lambda|^((nu-D-1)/2) exp(-tr(W^-1 Lambda)/2) (PRML B.79)."""
    D = W_inv.shape[-1]
    return nu / 2 * (D * np.log(2) - log_det(W_inv)) + multigammaln(nu / 2, D)


def expected_log_det(W_inv: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """E[log|Lambda|] under Wishart(W, nu) (PRML 10.65, B.81)."""
    D = W_inv.shape[-1]
    return digamma((nu[..., None] - np.arange(D)) / 2).sum(-1) + D * np.log(2) - log_det(W_inv)


def wishart_root(W_inv: np.ndarray, nu: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of F with F F^T = Lambda^-1 and Lambda ~ Wishart(W, nu), by Bartlett's decomposition, shape (size, ..., D, D)."""
    shape = (size, *W_inv.shape)
    D = shape[-1]
    A = np.tril(rng.standard_normal(shape), -1)
    A[..., range(D), range(D)] = np.sqrt(rng.chisquare(nu[..., None] - np.arange(D), shape[:-1]))
    return np.linalg.cholesky(W_inv) @ np.linalg.inv(A).swapaxes(-1, -2)


def log_student_t(distance: np.ndarray, log_scale: np.ndarray, dof: np.ndarray, D: int) -> np.ndarray:
    """Log Student-t density in D dimensions from the squared Mahalanobis distance and log|scale|/2 (PRML B.68)."""
    constant = gammaln((dof + D) / 2) - gammaln(dof / 2) - D / 2 * np.log(dof * np.pi) - log_scale
    return constant - (dof + D) / 2 * np.log1p(distance / dof)
