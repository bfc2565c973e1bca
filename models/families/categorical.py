"""The PyMC twin of `mixtures.families.categorical`: categories, Dirichlet priors, the labels summed out.

    pi ~ Dirichlet(alpha0)      mu_kd ~ Dirichlet(a0_d)
    p(x_n | pi, mu) = sum_k pi_k prod_d mu_kd,x_nd

The free variables are simplices ``mu_C`` (K, D_C, C), one for all features with C levels; ``probabilities`` is made of them.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.families.categorical import Categorical
from mixtures.model import Theta
from models.observed import Rename, Statistics


def variables(
    family: Categorical, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    a0 = family.prior_in_data_units()["a0"]
    K, (D, C) = n_components, a0.shape
    padded = pt.zeros((K, D, C))
    for c, own in _by_levels(family).items():
        shape = (K, len(own), c)
        mu = pm.Dirichlet(rename(f"mu_{c}"), a0[own, :c], shape=shape) if c > 1 else pt.ones(shape)
        padded = pt.set_subtensor(padded[:, own, :c], mu)
    dims = ("cluster", rename("feature"), rename("level"))
    probabilities = pm.Deterministic(rename("probabilities"), padded, dims=dims)
    feature, level = np.nonzero(family.filled)
    log_mu = pt.log(probabilities[:, feature, level])
    eta = pt.concatenate([pt.zeros((K, 1)), log_mu], axis=1)

    def statistics(x: TensorVariable) -> tuple[TensorVariable, float]:
        indicators = pt.eq(x[:, feature], level).astype("float64")
        return pt.concatenate([pt.ones((x.shape[0], 1)), indicators], axis=1), 0.0

    return {"probabilities": probabilities}, eta, statistics


def unconstrain(family: Categorical, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at ``probabilities`` (..., K, D, C)."""
    values = {}
    for c, own in _by_levels(family).items():
        if c > 1:
            log_mu = np.log(theta["probabilities"][..., own, :c])
            values[f"mu_{c}_simplex__"] = (log_mu - log_mu.mean(-1, keepdims=True))[..., :-1]
    return values


def _by_levels(family: Categorical) -> dict[int, np.ndarray]:
    """The features that have each number of levels."""
    levels = np.array(family.levels)
    return {int(c): np.flatnonzero(levels == c) for c in np.unique(levels)}
