"""Means and precisions under Normal-Gamma priors, for one precision a feature or one for all features of a cluster.

    lambda_kd ~ Gamma(a0, rate b0)

The means are free variables themselves (centred), or follow from ones that are independent of the precisions (off centre;
`models.wishart` says when which):

    u_kd ~ N(0, 1)     mu_kd = m0 + u_kd / sqrt(beta0 lambda_kd)

With h_k = sqrt(lambda_k) mu_k the natural parameters are

    eta_k = (1/2 log lambda_kd - h_kd^2 / 2, to be summed over d,  sqrt(lambda_k) h_k,  -1/2 lambda_k)
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.families.diagonal import NormalGamma
from mixtures.families.spherical import SphericalNormalGamma
from models.observed import Eta, Rename


def normal_gamma(
    prior: NormalGamma | SphericalNormalGamma,
    n_components: int,
    n_precisions: int,
    *,
    centred: bool,
    rename: Rename = str,
) -> tuple[TensorVariable, TensorVariable, Eta]:
    """The variable ``means`` (K, D), the variances (K, n), and the parts of eta.

    Parameters
    ----------
    prior : NormalGamma or SphericalNormalGamma
        The prior of one cluster.
    n_components, n_precisions : int
        K, and the number n of precisions in a cluster: D or 1.
    centred : bool
        Whether the means are free variables.
    rename : callable, optional
        See `models.observed.Rename`.
    """
    K, D, dims = n_components, len(prior.m), ("cluster", rename("feature"))
    Lambda = pm.Gamma(rename("lambda"), prior.a, prior.b, shape=(K, n_precisions))
    F = pt.sqrt(Lambda)
    if centred:
        means = pm.Normal(rename("means"), prior.m, 1 / (np.sqrt(prior.beta) * F), shape=(K, D), dims=dims)
        h = F * means
    else:
        u = pm.Normal(rename("u"), shape=(K, D)) / np.sqrt(prior.beta)
        means = pm.Deterministic(rename("means"), prior.m + u / F, dims=dims)
        h = prior.m * F + u
    return means, 1 / Lambda, ((pt.log(Lambda) - h**2) / 2, F * h, -Lambda / 2)


def unconstrain(
    prior: NormalGamma | SphericalNormalGamma, means: np.ndarray, variances: np.ndarray, *, centred: bool
) -> dict[str, np.ndarray]:
    """The unconstrained values at means (..., K, D) and variances (..., K, n), by name."""
    values = {"lambda_log__": -np.log(variances)}
    if centred:
        values["means"] = means
    else:
        values["u"] = np.sqrt(prior.beta / variances) * (means - prior.m)
    return values
