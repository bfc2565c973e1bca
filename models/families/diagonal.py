"""The PyMC twin of `mixtures.families.diagonal`: a variance for each cluster and feature, the labels summed out.

    pi ~ Dirichlet(alpha0)      lambda_kd ~ Gamma(nu0/2, rate 1/(2 W0_d))      mu_kd | lambda_kd ~ N(m0_d, 1/(beta0 lambda_kd))
    p(x_n | pi, mu, lambda) = sum_k pi_k prod_d N(x_nd | mu_kd, 1/lambda_kd)

The free variables are those of `models.gamma`, with a precision for each feature.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
from pytensor.tensor.variable import TensorVariable

from mixtures.families.diagonal import DiagonalGaussian
from mixtures.model import Theta
from models import gamma
from models.observed import Rename, Statistics, normal


def variables(
    family: DiagonalGaussian, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    K, D = n_components, len(family.unit)
    means, variances, eta = gamma.normal_gamma(family.prior, K, D, centred=centred, rename=rename)
    variances = pm.Deterministic(rename("variances"), variances, dims=("cluster", rename("feature")))
    return {"means": means, "variances": variances}, *normal(family, eta, lambda z: z**2)


def unconstrain(family: DiagonalGaussian, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at ``means`` and ``variances`` (..., K, D)."""
    values = gamma.unconstrain(family.prior, theta["means"], theta["variances"], centred=centred)
    return values
