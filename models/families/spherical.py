"""The PyMC twin of `mixtures.families.spherical`: one variance for each cluster, the labels summed out.

    pi ~ Dirichlet(alpha0)      lambda_k ~ Gamma(nu0/2, rate 1/(2 W0))      mu_k | lambda_k ~ N(m0, (beta0 lambda_k)^-1 I)
    p(x_n | pi, mu, lambda) = sum_k pi_k N(x_n | mu_k, lambda_k^-1 I)

The free variables are those of `models.gamma`, with one precision a cluster.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
from pytensor.tensor.variable import TensorVariable

from mixtures.families.spherical import SphericalGaussian
from mixtures.model import Theta
from models import gamma
from models.observed import Rename, Statistics, normal


def variables(
    family: SphericalGaussian, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    means, variances, eta = gamma.normal_gamma(family.prior, n_components, 1, centred=centred, rename=rename)
    variances = pm.Deterministic(rename("variances"), variances[:, 0], dims="cluster")
    theta = {"means": means, "variances": variances}
    return theta, *normal(family, eta, lambda z: (z**2).sum(1, keepdims=True))


def unconstrain(family: SphericalGaussian, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at ``means`` (..., K, D) and ``variances`` (..., K)."""
    values = gamma.unconstrain(family.prior, theta["means"], theta["variances"][..., None], centred=centred)
    return values
