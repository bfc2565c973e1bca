"""Scalars of a mixture that need no labels: the same whatever its clusters are called; of a hidden Markov model too.

Some look at the data as well; ranks of such quantities see errors that functions of the parameters alone do not, above all the
log likelihood (Modrák et al. 2023, arXiv:2211.02383).

Where a probability or a rate is zero some of them are infinite: the log determinant of a cluster in which a value has no
spread, the log likelihood of a point that is impossible. A rank needs an order alone, in which infinity is the lowest or the
highest value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import xlogy

from mixtures.engines.responsibilities import normalise
from mixtures.model import Allocation, Family, Theta
from reports.studies.calibration import series

LOG_LIKELIHOOD = "log likelihood"

SMALLEST = 1e-300
"""Of a weight, whose logarithm is still a number."""

ROUNDING = 1e-15
"""A variance below so much of the second moment is zero but for rounding."""


@np.errstate(divide="ignore", invalid="ignore")  # what is no number is refused
def quantities(
    x: Any, family: Family, allocation: Allocation, weights: np.ndarray, theta: Theta
) -> dict[str, np.ndarray]:
    """Every quantity at S draws, each of shape (S,); those that say the same twice for small K are left out.

    With r_nk = p(z_n = k | x_n, pi, theta), and of a hidden Markov model p(z_n = k | x, pi, A, theta), whose weights in the
    long run stand for pi in what follows from weights (`mixtures.model.Allocation.long_run`):

    - log likelihood: log p(x | pi, theta), in nats
    - log joint density: the same plus log p(pi, theta); minus infinity wherever the log likelihood is
    - log density at the centre: log p(x* | pi, theta) where x* is zero
    - mean of x_d: sum_k pi_k mu_kd; of categories the probability of each level but the first
    - log det of the covariance: of the whole mixture, sum_k pi_k (Sigma_k + mu_k mu_k^T) minus the outer product of its mean
    - dependence of the features: minus half the log determinant of the mixture's correlations, in which a feature that does
      not vary has none
    - log det of the tightest cluster: min_k log|Sigma_k|
    - largest weight, smallest weight, entropy of the weights
    - share of pairs together: mean over n < m of sum_k r_nk r_mk
    - occupied clusters: sum_k (1 - prod_n (1 - r_nk))

    Clusters are called states, and weights shares, where they are those of a hidden Markov model, which has more:
    `reports.studies.calibration.series`.

    Parameters
    ----------
    x : ndarray, shape (N, D), or Sequences
    family, allocation : Family, Allocation
    weights : ndarray, shape (S, K), or as the allocation has them
    theta : dict of ndarray, shape (S, K, ...)
        In the family's coordinates.

    Raises
    ------
    ArithmeticError
        If one of them is not a number. They may be infinite.
    """
    K, N = weights.shape[1], len(x)
    share = allocation.long_run(weights)
    points = np.vstack([np.asarray(x), np.zeros(x.shape[1])])
    log_p = _log_densities(family, theta, points)
    joint = log_p + np.log(np.maximum(share, SMALLEST))[:, None]
    log_z, r = normalise(joint)
    base = family.log_base(points)
    centre = log_z[:, N] + base[N]
    found: dict[str, np.ndarray] = {}
    if allocation.independent:
        log_likelihood, r = (log_z[:, :N] + base[:N]).sum(1), r[:, :N]
    else:
        log_likelihood, r, found = series.quantities(x, weights, log_p, base)
    free = family.free
    means, covariances = family.cluster_moments(theta)
    means, covariances = means[..., free], covariances[..., free[:, None], free]
    names = family.moment_names([f"x{d}" for d in range(x.shape[1])])
    mean = np.einsum("sk,skd->sd", share, means)
    offset = means - mean[:, None]
    covariance = np.einsum("sk,skij->sij", share, covariances + offset[..., :, None] * offset[..., None, :])
    log_joint = log_likelihood + (allocation.log_prior(weights) + family.log_prior(theta))

    found = {
        LOG_LIKELIHOOD: log_likelihood,
        "log joint density": np.where(np.isneginf(log_likelihood), -np.inf, log_joint),
        "log density at the centre": centre,
        **{f"mean of {names[d]}": mean[:, i] for i, d in enumerate(free)},
        "log det of the covariance": np.linalg.slogdet(covariance)[1],
    } | found
    if len(free) > 1:
        found["dependence of the features"] = -np.linalg.slogdet(_correlations(mean, covariance))[1] / 2
    if K > 1:
        what, of, one = ("weight", "weights", "cluster") if allocation.independent else ("share", "shares", "state")
        together = ((r.sum(1) ** 2).sum(1) - (r**2).sum((1, 2))) / (N * (N - 1))
        found |= {
            f"log det of the tightest {one}": np.linalg.slogdet(covariances)[1].min(1),
            f"largest {what}": share.max(1),
            "share of pairs together": together,
            f"occupied {one}s": (1 - np.prod(1 - r, axis=1)).sum(1),
        }
        if K > 2:  # of two, the largest tells all
            found |= {f"smallest {what}": share.min(1), f"entropy of the {of}": -xlogy(share, share).sum(1)}
    for name, values in found.items():
        if np.isnan(values).any():
            raise ArithmeticError(f"the {name} is not a number in {np.isnan(values).sum()} of {len(values)} draws")
    return found


def _log_densities(family: Family, theta: Theta, points: np.ndarray) -> np.ndarray:
    """Log densities (S, N, K) of points under every cluster, less log_base; minus infinity where one is impossible."""
    t, impossible = family.features(points), family.impossible(theta)
    log_p = family.natural(theta) @ t.T
    if impossible is not None:
        log_p = np.where(impossible @ t.T > 0.5, -np.inf, log_p)
    return np.moveaxis(log_p, 1, -1)


def _correlations(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Correlations (S, D, D); what varies by no more than rounding, by its mean (S, D), is correlated with nothing."""
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    varies = variances > ROUNDING * (variances + mean**2)
    inverse = np.where(varies, 1 / np.sqrt(np.where(varies, variances, 1)), 0)
    scaled = covariance * inverse[:, :, None] * inverse[:, None]
    scaled[:, range(mean.shape[1]), range(mean.shape[1])] = 1
    return scaled
