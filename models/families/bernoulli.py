"""The PyMC twin of `mixtures.families.bernoulli`: binary features, Beta priors, the labels summed out.

pi ~ Dirichlet(alpha0)      mu_kd ~ Beta(a0_d, b0_d)
p(x_n | pi, mu) = sum_k pi_k prod_d mu_kd^x_nd (1 - mu_kd)^(1 - x_nd)
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable
from scipy.special import logit

from mixtures.families.bernoulli import Bernoulli
from mixtures.model import Theta
from models.observed import Rename, Statistics, gather, join


def variables(
    family: Bernoulli, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    shape, dims, p = (n_components, family.size), ("cluster", rename("feature")), family.prior
    mu = pm.Beta(rename("probabilities"), p.a, p.b, shape=shape, dims=dims)
    log_mu, log_rest = pt.log(mu), pt.log1p(-mu)
    return {"probabilities": mu}, join(family, log_rest, log_mu - log_rest), lambda x: (gather(family, x), 0.0)


def unconstrain(family: Bernoulli, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at ``probabilities`` (..., K, D)."""
    return {"probabilities_logodds__": logit(theta["probabilities"])}
