r"""Means and precision matrices under a Normal-Wishart prior, for one matrix a cluster or one for all.

The precisions are made of free variables that are independent under the prior (Bartlett's factor of the Wishart):

    c_i ~ chi-square(nu0 - i), i = 0..D-1     a_ij ~ N(0, 1), i > j
    A = lower triangle of a with diagonal sqrt(c)     W0 = L L^T     F = L A     Lambda = F F^T

The means are free variables themselves (centred), or follow from ones that are independent of the precisions (off centre):

    u_k ~ N(0, I)     mu_k = m0 + F_k^-T u_k / sqrt(beta0)

Off centre is for samplers, since the prior of an empty cluster's mean is a funnel in Lambda_k. Centred is for a mean field:
where points pin a mean down far from m0, u_k and F_k depend on each other so much that a factorised q must shrink.

With h_k = F_k^T mu_k the natural parameters need no inverse and no determinant:

    eta_k = (sum_i log F_kii - |h_k|^2 / 2,  F_k h_k,  -1/2 F_k F_k^T)
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.families.gaussian import NormalWishart
from mixtures.families.symmetric import times
from mixtures.model import Theta
from models.observed import Eta, Rename


def normal_wishart(
    prior: NormalWishart, n_components: int, n_precisions: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], Eta]:
    """The variables ``means`` (K, D) and ``covariances`` (K, D, D), and the parts of eta.

    Parameters
    ----------
    prior : NormalWishart
        The prior of one cluster.
    n_components, n_precisions : int
        K, and the number of precision matrices: K or 1.
    centred : bool
        Whether the means are free variables.
    rename : callable, optional
        See `models.observed.Rename`.
    """
    K, n, D = n_components, n_precisions, len(prior.m)
    L = np.linalg.cholesky(np.linalg.inv(prior.W_inv))
    i, j = np.triu_indices(D)
    # cells[i, j]: L times the matrix that is one at (i, j), so that F is linear in the free variables.
    cells = (L.T[:, None, :, None] * np.eye(D)[None, :, None, :]).reshape(D, D, D * D)
    on_diagonal, below_diagonal = cells[range(D), range(D)], cells[np.tril_indices(D, -1)]

    c = pm.ChiSquared(rename("c"), prior.nu - np.arange(D), shape=(n, D))
    F = pt.sqrt(c) @ on_diagonal
    if D > 1:
        F += pm.Normal(rename("a"), shape=(n, D * (D - 1) // 2)) @ below_diagonal
    F = F.reshape((n, D, D))
    F_inv_T = pt.linalg.solve_triangular(F.mT, pt.eye(D), lower=False)
    if centred:
        means = _centred(prior, K, F, rename)
        h = _times(F.mT, means)
    else:
        u = pm.Normal(rename("u"), shape=(K, D)) / np.sqrt(prior.beta)
        dims = ("cluster", rename("feature"))
        means = pm.Deterministic(rename("means"), prior.m + _times(F_inv_T, u), dims=dims)
        h = _times(F.mT, prior.m) + u
    constant = np.log(np.diagonal(L)).sum() + (pt.log(c) - h**2).sum(1) / 2
    quadratic = np.where(i == j, -0.5, -1.0) * (F @ F.mT)[:, i, j]
    Sigma = pt.broadcast_to(F_inv_T @ F_inv_T.mT, (K, D, D))
    axes = ("cluster", rename("feature"), rename("feature_"))
    covariances = pm.Deterministic(rename("covariances"), Sigma, dims=axes)
    eta = constant, _times(F, h), pt.broadcast_to(quadratic, (K, len(i)))
    return {"means": means, "covariances": covariances}, eta


def _centred(prior: NormalWishart, K: int, F: TensorVariable, rename: Rename) -> TensorVariable:
    """The free variable mu_k | F_k ~ N(m0, (beta0 F_k F_k^T)^-1), (K, D)."""
    D = len(prior.m)

    def logp(mu: TensorVariable, m: TensorVariable, F: TensorVariable) -> TensorVariable:
        log_root = pt.log(pt.diagonal(F, axis1=-2, axis2=-1))
        distance = _times(F.mT, mu - m) ** 2
        constant = K * D / 2 * np.log(prior.beta / (2 * np.pi))
        return constant + (log_root - prior.beta / 2 * distance).sum((-2, -1))

    def random(m: np.ndarray, F: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal((*m.shape, 1)) / np.sqrt(prior.beta)
        return m + np.linalg.solve(F.swapaxes(-1, -2), noise)[..., 0]

    m = np.tile(prior.m, (K, 1))
    dims = ("cluster", rename("feature"))
    return pm.CustomDist(rename("means"), m, F, logp=logp, random=random, signature="(k,d),(n,d,d)->(k,d)", dims=dims)


def unconstrain(prior: NormalWishart, n_precisions: int, theta: Theta, *, centred: bool) -> dict[str, np.ndarray]:
    """The unconstrained values at means (..., K, D) and covariances (..., K, D, D), by name."""
    D = len(prior.m)
    L = np.linalg.cholesky(np.linalg.inv(prior.W_inv))
    F = np.linalg.cholesky(np.linalg.inv(theta["covariances"][..., :n_precisions, :, :]))
    A = np.linalg.solve(L, F)
    values = {"c_log__": 2 * np.log(np.diagonal(A, axis1=-2, axis2=-1))}
    if centred:
        values["means"] = theta["means"]
    else:
        values["u"] = np.sqrt(prior.beta) * times(F.swapaxes(-1, -2), theta["means"] - prior.m)
    if D > 1:
        values["a"] = A[..., *np.tril_indices(D, -1)]
    return values


def pairs(z: TensorVariable) -> TensorVariable:
    """The products z_i z_j, i <= j, (N, D (D + 1) / 2)."""
    i, j = np.triu_indices(z.type.shape[1])
    return z[:, i] * z[:, j]


def _times(A: TensorVariable, b: TensorVariable | np.ndarray) -> TensorVariable:
    return (A * b[..., None, :]).sum(-1)
