"""The PyMC twin of `mixtures.families.poisson`: counts, Gamma priors, the labels summed out.

pi ~ Dirichlet(alpha0)      lambda_kd ~ Gamma(a0_d, rate b0_d)
p(x_n | pi, lambda) = sum_k pi_k prod_d lambda_kd^x_nd exp(-lambda_kd) / x_nd!
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.families.poisson import Poisson
from mixtures.model import Theta
from models.observed import Rename, Statistics, coords, gather, join, observe, seen, unconstrain_weights, weights


def build(x: np.ndarray, family: Poisson, allocation: Dirichlet, *, centred: bool = False) -> pm.Model:
    """The model of ``x`` with its labels summed out; ``centred`` changes nothing.

    Returns
    -------
    pymc.Model
        With ``weights`` (K,), ``rates`` (K, D), and the observed ``x`` (N, D).
    """
    with pm.Model(coords=coords(family, allocation)) as model:
        pi = weights(allocation)
        observe(x, family, pi, *variables(family, allocation.n_components, centred=centred))
    return model


def variables(
    family: Poisson, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    shape, dims, p = (n_components, family.size), ("cluster", rename("feature")), family.prior
    rates = pm.Gamma(rename("rates"), p.a, p.b, shape=shape, dims=dims)
    eta = join(family, -rates, pt.log(rates))

    def statistics(x: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        known = seen(x)[0] if family.missing else x
        return gather(family, x), -pt.gammaln(known + 1).sum(1)

    return {"rates": rates}, eta, statistics


def unconstrain(family: Poisson, weights: np.ndarray, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The model's unconstrained values at weights (..., K) and ``rates`` (..., K, D)."""
    return {"rates_log__": np.log(theta["rates"])} | unconstrain_weights(weights)
