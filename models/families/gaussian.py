"""The PyMC twin of `mixtures.families.gaussian`: full covariances, Normal-Wishart prior, the labels summed out.

    pi ~ Dirichlet(alpha0)      Lambda_k ~ Wishart(W0, nu0)      mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)
    p(x_n | pi, mu, Lambda) = sum_k pi_k N(x_n | mu_k, Lambda_k^-1)

`models.wishart` has the free variables behind the means and the precisions, and why the means may be one of two kinds.
"""

from __future__ import annotations

import numpy as np
from pytensor.tensor.variable import TensorVariable

from mixtures.families.gaussian import Gaussian
from mixtures.model import Theta
from models import wishart
from models.observed import Rename, Statistics, normal


def variables(
    family: Gaussian, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    K = n_components
    theta, eta = wishart.normal_wishart(family.prior, K, K, centred=centred, rename=rename)
    return theta, *normal(family, eta, wishart.pairs)


def unconstrain(family: Gaussian, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at ``means`` (..., K, D) and ``covariances`` (..., K, D, D): the inverse of the transforms."""
    K = theta["means"].shape[-2]
    return wishart.unconstrain(family.prior, K, theta, centred=centred)
