"""The Gaussian mixture as it is usually written in PyMC: LKJ Cholesky factors, and `pm.Mixture` over multivariate normals.

    pi ~ Dirichlet(1)      mu_kd ~ N(mean_d, (2 sd_d)^2)      Sigma_k = L_k L_k^T
    L_k = diag(s_k) chol(R_k)      s_kd ~ HalfNormal(sd_d)      R_k ~ LKJ(2)

mean and sd are those of the data, whose units x keeps. The prior is not that of `models.families.gaussian`, which is
conjugate; both are weak. Nothing orders the clusters: draws are relabelled afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pymc as pm

PARAMETERS = ("weights", "means", "covariances")


def build(x: np.ndarray, n_components: int) -> pm.Model:
    """The model of x (N, D) with K clusters and its labels summed out."""
    import pymc as pm
    import pytensor.tensor as pt

    (D, K), mean, sd = (x.shape[1], n_components), x.mean(0), x.std(0)
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", np.ones(K))
        means = pm.Normal("means", mean, 2 * sd, shape=(K, D))
        factors = [
            pm.LKJCholeskyCov(f"chol_{k}", n=D, eta=2.0, sd_dist=pm.HalfNormal.dist(sd, shape=D))[0] for k in range(K)
        ]
        pm.Deterministic("covariances", pt.stack([L @ L.T for L in factors]))
        pm.Mixture("x", weights, [pm.MvNormal.dist(means[k], chol=factors[k]) for k in range(K)], observed=x)
    return model


def unconstrain(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> dict[str, np.ndarray]:
    """The model's unconstrained values at weights (..., K), means (..., K, D) and covariances (..., K, D, D), by name."""
    i, j = np.tril_indices(means.shape[-1])
    packed = np.linalg.cholesky(covariances)[..., i, j]
    packed[..., i == j] = np.log(packed[..., i == j])
    log_pi = np.log(weights)
    factors = {f"chol_{k}_cholesky-cov-packed__": packed[..., k, :] for k in range(weights.shape[-1])}
    return {
        "weights_simplex__": (log_pi - log_pi.mean(-1, keepdims=True))[..., :-1],
        "means": means,
        **factors,
    }
