r"""Gaussian clusters that share one covariance matrix.

    Lambda ~ Wishart(W0, nu0)      mu_k | Lambda ~ N(m0, (beta0 Lambda)^-1)      x_n | z_n = k ~ N(mu_k, Lambda^-1)

The features and natural parameters are those of full covariances with Lambda_k = Lambda. The posterior of Lambda gathers the
scatter of all clusters: nu = nu0 + N and W^-1 = W0^-1 + sum_n z_n z_n^T + sum_k (beta0 m0 m0^T - beta_k m_k m_k^T).
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
from mixtures.families.hyperparameters import Stacked, existing
from mixtures.families.normal import Correlated
from mixtures.families.scaling import check_prior, standard, white
from mixtures.families.symmetric import log_det, log_diagonal, outer, pack, precision, products, times, unpack
from mixtures.families.wishart import LOG_2PI, Wishart, log_student_t, wishart_root
from mixtures.model import Theta
from mixtures.rows.moments import moments, seen_moments
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator


@dataclass(frozen=True)
class SharedWishart(Stacked, Wishart):
    """Density of K means and the one precision matrix they share.

    Parameters
    ----------
    m : ndarray, shape (..., K, D)
    beta : ndarray, shape (..., K)
    W_inv : ndarray, shape (..., D, D)
    nu : ndarray, shape (...)
        As for `mixtures.NormalWishart`, with one W^-1 and one nu for all clusters.
    """

    m: np.ndarray
    beta: np.ndarray
    W_inv: np.ndarray
    nu: np.ndarray

    def log_normaliser(self) -> np.ndarray:
        """Log integral over all means and Lambda, shape (...) (PRML B.79)."""
        D = self.m.shape[-1]
        return D / 2 * (LOG_2PI - np.log(self.beta)).sum(-1) + self.log_wishart_normaliser()

    def of(self, own: np.ndarray) -> SharedWishart:
        """The density of some features' means and of their precision matrix; as `mixtures.NormalWishart.of`."""
        gone = self.m.shape[-1] - len(own)
        return SharedWishart(self.m[..., own], self.beta, self.W_inv[..., own[:, None], own], self.nu - gone)

    def permute(self, order: np.ndarray) -> SharedWishart:
        """The same density with its clusters in another order."""
        return SharedWishart(self.m[order], self.beta[order], self.W_inv, self.nu)


@dataclass(frozen=True)
class TiedGaussian(Correlated):
    """Gaussian clusters with one covariance matrix under a Wishart prior.

    Parameters
    ----------
    origin : ndarray, shape (D,)
    unit : ndarray, shape (D, D)
        The coordinates z with x = origin + unit z; lower triangular.
    prior : SharedWishart
        m (1, D) and beta (1,), the same for every cluster, in the coordinates z.

    Notes
    -----
    ``theta`` is ``{"means": (..., K, D), "covariances": (..., K, D, D)}``, the same matrix in each of the K places. Of the
    statistics of z z^T only the sum over clusters is ever asked for, and passes may return shares of it; see
    `mixtures.engines.shared`.
    """

    prior: SharedWishart

    name: ClassVar[str] = "tied"
    covariance: ClassVar[str] = "tied"
    equations: ClassVar[tuple[str, ...]] = (
        "Lambda ~ Wishart(W0, nu0)",
        "mu_k | Lambda ~ N(m0, (beta0 Lambda)^-1)",
        "x_n | z_n = k ~ N(mu_k, Lambda^-1)",
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
    ) -> TiedGaussian:
        """The family in coordinates that suit ``x``; arguments, defaults and errors as for `mixtures.Gaussian.from_data`."""
        data = seen_moments(x, weights) if missing else moments(x, weights, root=True)
        D = len(data.mean)
        nu = D + 2.0 if nu0 is None else as_number("nu0", nu0)
        if missing:
            first: Any = partial(cls, prior=cast(Any, None), missing=True)
            origin, unit, m, W_inv = standard(first, x, weights, data, n_components, m0, W0)
        else:
            origin, unit, m, W_inv = white(x, weights, data, n_components, m0, W0)
        check_prior(beta0, nu, D - 1, m, W_inv.diagonal())
        prior = SharedWishart(m[None], np.full(1, float(beta0)), W_inv, np.asarray(nu))
        return cls(origin, unit, prior, missing=missing)

    @cached_property
    def linear(self) -> Linear | None:
        """The family whose statistics are (1, z), of which alone clusters have coefficients of their own; see `Linear`."""
        return None if self.missing else Linear(self.origin, self.unit, self.prior, self.least)

    def expected_natural(self, q: SharedWishart) -> np.ndarray:
        """E_q[eta], shape (..., K, P); as PRML 10.64 and 10.65 with one Wishart."""
        K, D = q.m.shape[-2:]
        nu_W = _repeat(q.mean_Lambda(), K)
        nu_W_m = times(nu_W, q.m)
        quadratic = D / q.beta + (q.m * nu_W_m).sum(-1)
        constant = (q.expected_log_det()[..., None] - quadratic - D * LOG_2PI) / 2 - self.log_volume
        return pack(constant, nu_W_m, nu_W)

    def posterior(self, s: np.ndarray) -> SharedWishart:
        """The posterior given expected sufficient statistics s, shape (..., K, P)."""
        N, sum_z, sum_zz = unpack(s)
        p = self.prior
        beta, nu = p.beta + N, p.nu + N.sum(-1)
        m = (p.beta[..., None] * p.m + sum_z) / beta[..., None]
        scatter = sum_zz + p.beta[..., None, None] * outer(p.m) - beta[..., None, None] * outer(m)
        W_inv = p.W_inv + scatter.sum(-3)
        q = SharedWishart(m, beta, W_inv, nu)
        refuse_collapse(q.least_variance((beta[..., None] * m**2).sum(-2))[..., None], self.least)
        return q

    def log_marginal(self, s: np.ndarray, q: SharedWishart | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, shape (...); see `mixtures.Gaussian.log_marginal`."""
        q, p = self.posterior(s) if q is None else q, self.prior
        prior = SharedWishart(np.broadcast_to(p.m, q.m.shape), np.broadcast_to(p.beta, q.beta.shape), p.W_inv, p.nu)
        log_base = -s[..., 0].sum(-1) * (len(self.unit) / 2 * LOG_2PI + self.log_volume)
        return q.log_normaliser() - prior.log_normaliser() + log_base

    def _precisions(self, Sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Lambda, log_det = precision(Sigma[..., 0, :, :])
        return _repeat(Lambda, Sigma.shape[-3]), np.repeat(log_det[..., None], Sigma.shape[-3], axis=-1)

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """Means and the pooled covariance that maximise sum(s * eta).

        Raises
        ------
        CollapseError
            If a cluster is empty or the covariance is singular to working precision.
        """
        N, sum_z, sum_zz = unpack(s)
        refuse_empty(N)
        mu = sum_z / N[..., None]
        Sigma = (sum_zz - N[..., None, None] * outer(mu)).sum(-3) / N.sum(-1)[..., None, None]
        taken = (N[..., None] * mu**2).sum(-2) / N.sum(-1)[..., None]
        refuse_collapse(least_variance(Sigma, taken, smallest_eigenvalue)[..., None], self.least)
        refuse_tight(np.diagonal(Sigma, axis1=-2, axis2=-1)[..., None, :], self.least)
        return {"means": mu, "covariances": _repeat(Sigma, N.shape[-1])}

    def mode(self, s: np.ndarray) -> Theta:
        """Mode of the posterior density of (mu, Lambda): mu = m, Lambda = (nu - D - 1 + K) W.

        Raises
        ------
        ValueError
            If nu <= D + 1 - K, where the density has no mode.
        """
        q = self.posterior(s)
        K, D = q.m.shape[-2:]
        excess = q.nu - D - 1 + K
        if np.any(excess <= 0):
            raise ValueError("the posterior has no mode in Lambda; give nu0 of at least D + 1")
        return {"means": q.m, "covariances": _repeat(q.W_inv / excess[..., None, None], K)}

    def log_density(self, theta: Theta, q: SharedWishart) -> np.ndarray:
        """Log density of all means and Lambda with respect to d mu d Lambda in the coordinates z, shape (...)."""
        mu, Lambda = theta["means"], np.linalg.inv(theta["covariances"][..., 0, :, :])
        K, D = mu.shape[-2:]
        offset = mu - q.m
        quadratic = (q.beta * (offset * (offset @ Lambda)).sum(-1)).sum(-1) + (q.W_inv * Lambda).sum((-2, -1))
        q = SharedWishart(np.broadcast_to(q.m, mu.shape), np.broadcast_to(q.beta, mu.shape[:-1]), q.W_inv, q.nu)
        return (q.nu - D - 1 + K) / 2 * log_det(Lambda) - quadratic / 2 - q.log_normaliser()

    def log_jacobian(self, n_components: int) -> float:
        """Log Jacobian of (mu, Lambda) in z with respect to (mu, Lambda) in x: K times |unit|^-1, once |unit|^(D+1)."""
        return (len(self.unit) + 1 - n_components) * self.log_volume

    def log_predictive(self, x: np.ndarray, q: SharedWishart) -> np.ndarray:
        """Log Student-t predictive density of each cluster, shape (N, ..., K); as PRML 10.81 and 10.82 with one Wishart."""
        if self.missing:
            return self.by_pattern(x, lambda part, own, seen: part.log_predictive(seen, q.of(own)))
        D = q.m.shape[-1]
        if D == 0:
            return np.zeros((len(x), *q.beta.shape))
        dof, beta = (q.nu + 1 - D)[..., None, None], q.beta[..., None]
        root = q.root[..., None, :, :]
        widening = (1 + beta) / (dof * beta)
        distance = ((root @ self.offsets(x, q.m)) ** 2).sum(-2) / widening
        log_scale = D / 2 * np.log(widening) - log_diagonal(root)[..., None]
        return np.moveaxis(log_student_t(distance, log_scale, dof, D), -1, 0) - self.log_volume

    def mean(self, q: SharedWishart) -> Theta:
        """E_q[theta]: E[Sigma] = W^-1 / (nu - D - 1), not a number where nu <= D + 1 (inverse Wishart)."""
        K, D = q.m.shape[-2:]
        return {"means": q.m, "covariances": _repeat(q.W_inv / existing(q.nu - D - 1)[..., None, None], K)}

    def sample(self, q: SharedWishart, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, with shapes (size, ..., K, D) and (size, ..., K, D, D)."""
        rng = generator(rng)
        F = wishart_root(q.W_inv, q.nu, size, rng)
        mu = q.m + rng.standard_normal((size, *q.m.shape)) @ F.swapaxes(-1, -2) / np.sqrt(q.beta)[..., None]
        return {"means": mu, "covariances": _repeat(F @ F.swapaxes(-1, -2), q.m.shape[-2])}

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters m0, beta0, W0_inv and nu0 in the units of x."""
        p = self.prior
        W0_inv = self.expand_matrix(p.W_inv)
        return {"m0": self.points(p.m[0]), "beta0": p.beta[0], "W0_inv": W0_inv, "nu0": p.nu}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        D = len(self.unit)
        return n_components * D + D * (D + 1) // 2


@dataclass(frozen=True)
class Linear(TiedGaussian):
    """The first of the statistics; those of z z^T have the same coefficients in all clusters (`mixtures.engines.shared`)."""

    linear: ClassVar[None] = None  # type: ignore[misc]

    def statistics(self, z: np.ndarray) -> np.ndarray:
        """(1, z) of points in the coordinates z, (N, 1 + D)."""
        t = np.ones((1 + z.shape[-1], *z.shape[:-1]))
        t[1:] = np.moveaxis(z, -1, 0)  # features first: products and sums then run along memory
        return np.moveaxis(t, 0, -1)

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j) with t_p(x) = z_i z_j, where z_0 = 1, shape (1 + D, 3)."""
        return products(len(self.unit))[: 1 + len(self.unit)]


def _repeat(Sigma: np.ndarray, K: int) -> np.ndarray:
    """The shared matrix (..., D, D) in the place of each cluster, (..., K, D, D)."""
    return np.repeat(Sigma[..., None, :, :], K, axis=-3)
