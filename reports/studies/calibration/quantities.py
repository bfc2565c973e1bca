"""Scalars of a mixture that need no labels: the same whatever its clusters are called.

Some look at the data as well; ranks of such quantities see errors that functions of the parameters alone do not, above all the
log likelihood (Modrák et al. 2023, arXiv:2211.02383).
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from mixtures.engines.responsibilities import fold, normalise
from mixtures.model import Allocation, Family, Theta

LOG_LIKELIHOOD = "log likelihood"


def quantities(
    x: np.ndarray, family: Family, allocation: Allocation, weights: np.ndarray, theta: Theta
) -> dict[str, np.ndarray]:
    """Every quantity at S draws, each of shape (S,); those that say the same twice for small K are left out.

    With r_nk = p(z_n = k | x_n, pi, theta):

    - log likelihood: log p(x | pi, theta), in nats
    - log joint density: the same plus log p(pi, theta)
    - log density at the centre: log p(x* | pi, theta) where x* is zero
    - mean of x_d: sum_k pi_k mu_kd; of categories the probability of each level but the first
    - log det of the covariance: of the whole mixture, sum_k pi_k (Sigma_k + mu_k mu_k^T) minus the outer product of its mean
    - dependence of the features: minus half the log determinant of the mixture's correlations
    - log det of the tightest cluster: min_k log|Sigma_k|
    - largest weight, smallest weight, entropy of the weights
    - share of pairs together: mean over n < m of sum_k r_nk r_mk
    - occupied clusters: sum_k (1 - prod_n (1 - r_nk))

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
    weights : ndarray, shape (S, K)
    theta : dict of ndarray, shape (S, K, ...)
        In the family's coordinates.

    Raises
    ------
    ArithmeticError
        If one of them is not a number.
    """
    K, N = weights.shape[1], len(x)
    eta = fold(allocation.natural(weights), family.natural(theta))
    points = np.vstack([x, np.zeros(x.shape[1])])
    log_z, r = normalise(np.moveaxis(eta @ family.features(points).T, 1, -1))
    log_z, r = log_z + family.log_base(points), r[:, :N]
    free = family.free
    means, covariances = family.cluster_moments(theta)
    means, covariances = means[..., free], covariances[..., free[:, None], free]
    names = family.moment_names([f"x{d}" for d in range(x.shape[1])])
    mean = np.einsum("sk,skd->sd", weights, means)
    offset = means - mean[:, None]
    covariance = np.einsum("sk,skij->sij", weights, covariances + offset[..., :, None] * offset[..., None, :])

    found = {LOG_LIKELIHOOD: log_z[:, :N].sum(1)}
    found["log joint density"] = found[LOG_LIKELIHOOD] + allocation.log_prior(weights) + family.log_prior(theta)
    found["log density at the centre"] = log_z[:, N]
    found |= {f"mean of {names[d]}": mean[:, i] for i, d in enumerate(free)}
    log_det = np.linalg.slogdet(covariance)[1]
    found["log det of the covariance"] = log_det
    if len(free) > 1:
        variances = np.diagonal(covariance, axis1=1, axis2=2)
        with np.errstate(divide="ignore", invalid="ignore"):  # what is no number is refused below
            found["dependence of the features"] = (np.log(variances).sum(1) - log_det) / 2
    if K > 1:
        together = ((r.sum(1) ** 2).sum(1) - (r**2).sum((1, 2))) / (N * (N - 1))
        found |= {
            "log det of the tightest cluster": np.linalg.slogdet(covariances)[1].min(1),
            "largest weight": weights.max(1),
            "share of pairs together": together,
            "occupied clusters": (1 - np.prod(1 - r, axis=1)).sum(1),
        }
    if K > 2:  # of two, the largest tells all
        found |= {"smallest weight": weights.min(1), "entropy of the weights": -xlogy(weights, weights).sum(1)}
    for name, values in found.items():
        if not np.all(np.isfinite(values)):
            raise ArithmeticError(
                f"the {name} is not a number in {np.sum(~np.isfinite(values))} of {len(values)} draws"
            )
    return found
