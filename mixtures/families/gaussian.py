r"""Gaussian clusters with full covariances and their Normal-Wishart prior.

    Lambda_k ~ Wishart(W0, nu0)      mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)      x_n | z_n = k ~ N(mu_k, Lambda_k^-1)

As an exponential family (Bishop, PRML, section 2.4), with the products z_i z_j taken for i <= j:

    t(x)  = (1, z, z z^T)
    eta_k = (1/2 log|Lambda_k| - 1/2 mu_k^T Lambda_k mu_k - D/2 log 2 pi,  Lambda_k mu_k,  -1/2 Lambda_k)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, cast

import numpy as np

from mixtures.checks import as_number
from mixtures.families.collapse import (
    least_variance,
    refuse_collapse,
    refuse_empty,
    refuse_tight,
    smallest_eigenvalue,
)
from mixtures.families.hyperparameters import Batch, existing
from mixtures.families.normal import Correlated
from mixtures.families.scaling import check_prior, standard, white
from mixtures.families.symmetric import log_det, log_diagonal, outer, pack, times, unpack
from mixtures.families.wishart import LOG_2PI, Wishart, log_student_t, wishart_root
from mixtures.model import Theta
from mixtures.rows.moments import moments, seen_moments
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator


@dataclass(frozen=True)
class NormalWishart(Batch, Wishart):
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

    @cached_property
    def beta_m(self) -> np.ndarray:
        """beta m, to which sums of z add, shape (..., D)."""
        return self.beta[..., None] * self.m

    @cached_property
    def second(self) -> np.ndarray:
        """W^-1 + beta m m^T, to which sums of z z^T add, shape (..., D, D)."""
        return self.W_inv + self.beta[..., None, None] * outer(self.m)

    def of(self, own: np.ndarray) -> NormalWishart:
        """The density of some features' means and of their precision matrix, the inverse of their covariances (Mardia, Kent &
        Bibby 1979, *Multivariate Analysis*, section 3.4)."""
        gone = self.m.shape[-1] - len(own)
        return NormalWishart(self.m[..., own], self.beta, self.W_inv[..., own[:, None], own], self.nu - gone)

    def log_normaliser(self) -> np.ndarray:
        """Log integral of |Lambda|^((nu-D)/2) exp(-beta/2 (mu-m)^T Lambda (mu-m) - 1/2 tr(W^-1 Lambda)) (PRML B.79)."""
        D = self.m.shape[-1]
        return D / 2 * (LOG_2PI - np.log(self.beta)) + self.log_wishart_normaliser()


@dataclass(frozen=True)
class Gaussian(Correlated):
    """Gaussian clusters with full covariances under a Normal-Wishart prior.

    Parameters
    ----------
    origin : ndarray, shape (D,)
    unit : ndarray, shape (D, D)
        The coordinates z with x = origin + unit z; lower triangular.
    prior : NormalWishart
        The prior of every cluster, unbatched, in the coordinates z.

    Notes
    -----
    Cluster parameters ``theta`` are ``{"means": (..., K, D), "covariances": (..., K, D, D)}`` in the coordinates z.
    """

    prior: NormalWishart

    name: ClassVar[str] = "gaussian"
    covariance: ClassVar[str] = "full"
    equations: ClassVar[tuple[str, ...]] = (
        "Lambda_k ~ Wishart(W0, nu0)",
        "mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)",
        "x_n | z_n = k ~ N(mu_k, Lambda_k^-1)",
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
    ) -> Gaussian:
        """The family in coordinates that suit ``x``, under a weak prior wherever none is given.

        The default is that of Fraley & Raftery (2007, *Journal of Classification* 24:155-181, section 3.1): m0 the mean of
        the data, beta0 = 0.01, nu0 = D + 2 and W0^-1 the data's covariance over K^(2/D).

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            See `mixtures.rows.reading.as_rows`.
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
        weights : ndarray, shape (N,), optional
            How many observations each row stands for.
        missing : bool
            Whether values may be missing at random (NaN). The mean and the covariance of the default are then those of one
            Gaussian at its maximum likelihood (Little & Rubin 2019, section 11.2), the moments of x where nothing is missing.

        Raises
        ------
        ValueError
            If x is not a finite matrix with spread in every feature, or a hyperparameter is outside its range.
        """
        data = seen_moments(x, weights) if missing else moments(x, weights, root=True)
        D = len(data.mean)
        nu = D + 2.0 if nu0 is None else as_number("nu0", nu0)
        if missing:
            first: Any = partial(cls, prior=cast(Any, None), missing=True)
            origin, unit, m, W_inv = standard(first, x, weights, data, n_components, m0, W0)
        else:
            origin, unit, m, W_inv = white(x, weights, data, n_components, m0, W0)
        check_prior(beta0, nu, D - 1, m, W_inv.diagonal())
        prior = NormalWishart(m, np.asarray(float(beta0)), W_inv, np.asarray(nu))
        return cls(origin, unit, prior, missing=missing)

    def expected_natural(self, q: NormalWishart) -> np.ndarray:
        """E_q[eta], shape (..., K, P) (PRML 10.64, 10.65)."""
        D = q.m.shape[-1]
        nu_W = q.mean_Lambda()
        nu_W_m = times(nu_W, q.m)
        quadratic = D / q.beta + (q.m * nu_W_m).sum(-1)
        constant = (q.expected_log_det() - quadratic - D * LOG_2PI) / 2 - self.log_volume
        return pack(constant, nu_W_m, nu_W)

    def posterior(self, s: np.ndarray) -> NormalWishart:
        """The Normal-Wishart posterior given expected sufficient statistics s, shape (..., K, P) (PRML 10.60-10.63)."""
        N, sum_z, sum_zz = unpack(s)
        p = self.prior
        beta, nu = p.beta + N, p.nu + N
        m = (p.beta_m + sum_z) / beta[..., None]
        W_inv = p.second + sum_zz - beta[..., None, None] * outer(m)
        q = NormalWishart(m, beta, W_inv, nu)
        refuse_collapse(q.least_variance(beta[..., None] * m**2), self.least)
        return q

    def log_marginal(self, s: np.ndarray, q: NormalWishart | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given: sum_k log int p(x|theta_k) p(theta_k), shape (...).

        Its gradient with respect to s is `expected_natural` of the posterior, and sum(s * eta) minus it is the
        Kullback-Leibler divergence of that posterior from the prior. ``q``, if given, is that posterior.
        """
        log_base = -s[..., 0] * (len(self.unit) / 2 * LOG_2PI + self.log_volume)
        q = self.posterior(s) if q is None else q
        return (q.log_normaliser() - self.log_prior_normaliser + log_base).sum(-1)

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """Means and covariances that maximise sum(s * eta) (PRML 9.17, 9.19).

        Raises
        ------
        CollapseError
            If a cluster is empty or its covariance is singular to working precision.
        """
        N, sum_z, sum_zz = unpack(s)
        refuse_empty(N)
        mu = sum_z / N[..., None]
        Sigma = sum_zz  # our own: in place, for there may be many features
        Sigma /= N[..., None, None]
        Sigma -= outer(mu)
        refuse_collapse(least_variance(Sigma, mu**2, smallest_eigenvalue), self.least)
        refuse_tight(np.diagonal(Sigma, axis1=-2, axis2=-1), self.least)
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
        quadratic = q.beta * (offset * times(Lambda, offset)).sum(-1) + (q.W_inv * Lambda).sum((-2, -1))
        return ((q.nu - len(self.unit)) / 2 * log_det(Lambda) - quadratic / 2 - q.log_normaliser()).sum(-1)

    def log_jacobian(self, n_components: int) -> float:
        """Log Jacobian of (mu, Lambda) in z with respect to (mu, Lambda) in x: |unit|^-1 and |unit|^(D+1)."""
        return n_components * len(self.unit) * self.log_volume

    def log_predictive(self, x: np.ndarray, q: NormalWishart) -> np.ndarray:
        """Log Student-t predictive density of each cluster, shape (N, ..., K) (PRML 10.81, 10.82 and B.68)."""
        if self.missing:
            return self.by_pattern(x, lambda part, own, seen: part.log_predictive(seen, q.of(own)))
        D = q.m.shape[-1]
        if D == 0:
            return np.zeros((len(x), *q.nu.shape))
        dof, beta = (q.nu + 1 - D)[..., None], q.beta[..., None]
        widening = (1 + beta) / (dof * beta)
        distance = ((q.root @ self.offsets(x, q.m)) ** 2).sum(-2) / widening
        log_scale = D / 2 * np.log(widening) - log_diagonal(q.root)[..., None]
        return np.moveaxis(log_student_t(distance, log_scale, dof, D), -1, 0) - self.log_volume

    def mean(self, q: NormalWishart) -> Theta:
        """E_q[theta]: E[Sigma] = W^-1 / (nu - D - 1), not a number where nu <= D + 1 (inverse Wishart)."""
        return {"means": q.m, "covariances": q.W_inv / existing(q.nu - q.m.shape[-1] - 1)[..., None, None]}

    def sample(self, q: NormalWishart, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, (size, ..., K, D) and (size, ..., K, D, D), by Bartlett's factor of the Wishart."""
        rng = generator(rng)
        F = wishart_root(q.W_inv, q.nu, size, rng)
        mu = q.m + times(F, rng.standard_normal((size, *q.m.shape))) / np.sqrt(q.beta)[..., None]
        return {"means": mu, "covariances": F @ F.swapaxes(-1, -2)}

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters m0, beta0, W0_inv and nu0 in the units of x."""
        p = self.prior
        W0_inv = self.expand_matrix(p.W_inv)
        return {"m0": self.points(p.m), "beta0": p.beta, "W0_inv": W0_inv, "nu0": p.nu}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        D = len(self.unit)
        return n_components * (D + D * (D + 1) // 2)
