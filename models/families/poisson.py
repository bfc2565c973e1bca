"""The PyMC twin of `mixtures.families.poisson`: counts, Gamma priors, the labels summed out.

pi ~ Dirichlet(alpha0)      lambda_kd ~ Gamma(a0_d, rate b0_d)
p(x_n | pi, lambda) = sum_k pi_k prod_d lambda_kd^x_nd exp(-lambda_kd) / x_nd!
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.families.poisson import Poisson
from mixtures.model import Theta
from models.observed import Rename, Statistics, gather, join, seen


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


def unconstrain(family: Poisson, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at ``rates`` (..., K, D)."""
    return {"rates_log__": np.log(theta["rates"])}
