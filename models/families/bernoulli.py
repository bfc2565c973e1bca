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

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.families.bernoulli import Bernoulli
from mixtures.model import Theta
from models.observed import Rename, Statistics, coords, gather, join, observe, unconstrain_weights, weights


def build(x: np.ndarray, family: Bernoulli, allocation: Dirichlet, *, centred: bool = False) -> pm.Model:
    """The model of ``x`` with its labels summed out; ``centred`` changes nothing.

    Returns
    -------
    pymc.Model
        With ``weights`` (K,), ``probabilities`` (K, D), and the observed ``x`` (N, D).
    """
    with pm.Model(coords=coords(family, allocation)) as model:
        pi = weights(allocation)
        observe(x, family, pi, *variables(family, allocation.n_components, centred=centred))
    return model


def variables(
    family: Bernoulli, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    shape, dims, p = (n_components, family.size), ("cluster", rename("feature")), family.prior
    mu = pm.Beta(rename("probabilities"), p.a, p.b, shape=shape, dims=dims)
    log_mu, log_rest = pt.log(mu), pt.log1p(-mu)
    return {"probabilities": mu}, join(family, log_rest, log_mu - log_rest), lambda x: (gather(family, x), 0.0)


def unconstrain(
    family: Bernoulli, weights: np.ndarray, theta: Theta, *, centred: bool = False
) -> dict[str, np.ndarray]:
    """The model's unconstrained values at weights (..., K) and ``probabilities`` (..., K, D)."""
    return {"probabilities_logodds__": logit(theta["probabilities"])} | unconstrain_weights(weights)
