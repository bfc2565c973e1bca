"""The PyMC twin of `mixtures.families.tied`: one covariance for all clusters, the labels summed out.

    pi ~ Dirichlet(alpha0)      Lambda ~ Wishart(W0, nu0)      mu_k | Lambda ~ N(m0, (beta0 Lambda)^-1)
    p(x_n | pi, mu, Lambda) = sum_k pi_k N(x_n | mu_k, Lambda^-1)

The free variables are those of `models.wishart`, with one precision.
"""

from __future__ import annotations

import numpy as np
from pytensor.tensor.variable import TensorVariable

from mixtures.families.gaussian import NormalWishart
from mixtures.families.tied import TiedGaussian
from mixtures.model import Theta
from models import wishart
from models.observed import Rename, Statistics, normal


def variables(
    family: TiedGaussian, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    theta, eta = wishart.normal_wishart(_prior(family), n_components, 1, centred=centred, rename=rename)
    return theta, *normal(family, eta, wishart.pairs)


def unconstrain(family: TiedGaussian, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at ``means`` (..., K, D) and ``covariances`` (..., K, D, D)."""
    return wishart.unconstrain(_prior(family), 1, theta, centred=centred)


def _prior(family: TiedGaussian) -> NormalWishart:
    """The prior of one cluster."""
    p = family.prior
    return NormalWishart(p.m[0], p.beta[0], p.W_inv, p.nu)
