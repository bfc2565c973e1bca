r"""The PyMC twin of `mixtures.families.gaussian`: full covariances, Normal-Wishart prior, the labels summed out.

    pi ~ Dirichlet(alpha0)      Lambda_k ~ Wishart(W0, nu0)      mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)
    p(x_n | pi, mu, Lambda) = sum_k pi_k N(x_n | mu_k, Lambda_k^-1)

The precisions are made of free variables that are independent under the prior (Bartlett's factor of the Wishart):

    c_ki ~ chi-square(nu0 - i), i = 0..D-1     a_kij ~ N(0, 1), i > j
    A_k = lower triangle of a_k with diagonal sqrt(c_k)     W0 = L L^T     F_k = L A_k     Lambda_k = F_k F_k^T

The means are free variables themselves (centred), or follow from ones that are independent of the precisions (off centre):

    u_k ~ N(0, I)     mu_k = m0 + F_k^-T u_k / sqrt(beta0)

Off centre is for samplers, since the prior of an empty cluster's mean is a funnel in Lambda_k. Centred is for a mean field:
where points pin a mean down far from m0, u_k and F_k depend on each other so much that a factorised q must shrink.

With h_k = F_k^T mu_k the natural parameters need no inverse and no determinant:

    eta_k = (log pi_k + sum_i log F_kii - |h_k|^2 / 2 - D/2 log 2 pi - sum log unit,  F_k h_k,  -1/2 F_k F_k^T)
    log p(x_n | pi, mu, Lambda) = logsumexp_k t(x_n) . eta_k
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.families.gaussian import LOG_2PI, Gaussian, NormalWishart, check_matrix
from mixtures.model import Theta


def build(x: np.ndarray, family: Gaussian, allocation: Dirichlet, *, centred: bool = False) -> pm.Model:
    """The model of ``x`` with its labels summed out.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Observations, in their own units.
    family, allocation : Gaussian, Dirichlet
        The model with its priors; parameters are in the family's coordinates.
    centred : bool
        Whether the means are free variables. The model is the same, its unconstrained space is not.

    Returns
    -------
    pymc.Model
        With ``weights`` (K,), ``means`` (K, D), ``covariances`` (K, D, D) and the observed ``x`` (N, D), whose log density
        is per observation and in the units of x.
    """
    x = check_matrix(x)
    N, D = x.shape
    K, prior = len(allocation.alpha0), family.prior
    L = np.linalg.cholesky(np.linalg.inv(prior.W_inv))
    i, j = np.triu_indices(D)
    cells = np.eye(D * D).reshape(D, D, D * D)
    on_diagonal, below_diagonal = cells[range(D), range(D)], cells[np.tril_indices(D, -1)]
    products = (np.where(i == j, -0.25, -0.5)[:, None] * (cells[i, j] + cells[j, i])).T
    constant = np.log(np.diagonal(L)).sum() - D / 2 * LOG_2PI - family.log_volume

    coords = {"cluster": range(K), "feature": range(D), "feature_": range(D)}
    with pm.Model(coords=coords) as model:
        if K > 1:
            pi = pm.Dirichlet("weights", allocation.alpha0, dims="cluster")
        else:
            pi = pm.Deterministic("weights", pt.ones(1), dims="cluster")
        c = pm.ChiSquared("c", prior.nu - np.arange(D), shape=(K, D))
        A = pt.sqrt(c) @ on_diagonal
        if D > 1:
            A += pm.Normal("a", shape=(K, D * (D - 1) // 2)) @ below_diagonal
        F = L @ A.reshape((K, D, D))
        F_inv_T = pt.linalg.solve_triangular(F.mT, pt.eye(D), lower=False)
        Lambda = F @ F.mT
        if centred:
            means = _normal_means(prior, F, family.dims["means"])
            h = _times(F.mT, means)
        else:
            u = pm.Normal("u", shape=(K, D)) / np.sqrt(prior.beta)
            means = pm.Deterministic("means", prior.m + _times(F_inv_T, u), dims=family.dims["means"])
            h = prior.m @ F + u
        log_pi_N = pt.log(pi) + pt.log(c).sum(1) / 2 + constant - (h**2).sum(1) / 2
        eta = pt.concatenate([log_pi_N[:, None], _times(F, h), Lambda.reshape((K, D * D)) @ products], axis=1)

        covariances = pm.Deterministic("covariances", F_inv_T @ F_inv_T.mT, dims=family.dims["covariances"])

        def logp(value: TensorVariable, eta: TensorVariable, *_: TensorVariable) -> TensorVariable:
            z = (value - family.origin) / family.unit
            t = pt.concatenate([pt.ones((N, 1)), z, z[:, i] * z[:, j]], axis=1)
            return pt.logsumexp(eta[0] @ t.T, axis=0)

        def random(
            _: np.ndarray, *parameters: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]
        ) -> np.ndarray:
            weights, means, covariances = (p[0] for p in parameters)
            labels = rng.choice(K, size=size, p=weights)
            return family.simulate({"means": means, "covariances": covariances}, labels, rng)

        pm.CustomDist(
            "x",
            eta,
            pi,
            means,
            covariances,
            logp=logp,
            random=random,
            signature="(k,p),(k),(k,d),(k,d,d)->(d)",
            shape=(N, D),
            observed=x,
        )
    return model


def _normal_means(prior: NormalWishart, F: TensorVariable, dims: tuple[str, ...]) -> TensorVariable:
    """The free variable mu_k | F_k ~ N(m0, (beta0 F_k F_k^T)^-1), (K, D)."""
    D = len(prior.m)

    def logp(mu: TensorVariable, m: TensorVariable, F: TensorVariable) -> TensorVariable:
        distance = (_times(F.mT, mu - m) ** 2).sum((-2, -1))
        log_det = pt.log(pt.diagonal(F, axis1=-2, axis2=-1)).sum((-2, -1))
        return F.shape[-3] * D / 2 * np.log(prior.beta / (2 * np.pi)) + log_det - prior.beta / 2 * distance

    def random(m: np.ndarray, F: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal((*F.shape[:-1], 1)) / np.sqrt(prior.beta)
        return m + np.linalg.solve(F.swapaxes(-1, -2), noise)[..., 0]

    return pm.CustomDist("means", prior.m, F, logp=logp, random=random, signature="(d),(k,d,d)->(k,d)", dims=dims)


def unconstrain(family: Gaussian, weights: np.ndarray, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The model's unconstrained values at (pi, theta): the inverse of its transforms.

    Parameters
    ----------
    family : Gaussian
    weights : ndarray, shape (..., K)
    theta : dict of ndarray
        ``means`` (..., K, D) and ``covariances`` (..., K, D, D), in the family's coordinates.
    centred : bool
        As in `build`.

    Returns
    -------
    dict of ndarray
        One entry for each of ``model.value_vars``, by name.
    """
    prior, D = family.prior, len(family.unit)
    L = np.linalg.cholesky(np.linalg.inv(prior.W_inv))
    F = np.linalg.cholesky(np.linalg.inv(theta["covariances"]))
    A = np.linalg.solve(L, F)
    values = {"c_log__": 2 * np.log(np.diagonal(A, axis1=-2, axis2=-1))}
    if centred:
        values["means"] = theta["means"]
    else:
        values["u"] = np.sqrt(prior.beta) * (F.swapaxes(-1, -2) @ (theta["means"] - prior.m)[..., None])[..., 0]
    if D > 1:
        values["a"] = A[..., *np.tril_indices(D, -1)]
    if weights.shape[-1] > 1:
        log_pi = np.log(weights)
        values["weights_simplex__"] = (log_pi - log_pi.mean(-1, keepdims=True))[..., :-1]
    return values


def _times(A: TensorVariable, b: TensorVariable) -> TensorVariable:
    return (A @ b[..., None])[..., 0]
