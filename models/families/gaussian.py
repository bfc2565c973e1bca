"""The PyMC twin of `mixtures.families.gaussian`: full covariances, Normal-Wishart prior, the labels summed out.

    pi ~ Dirichlet(alpha0)      Lambda_k ~ Wishart(W0, nu0)      mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)
    p(x_n | pi, mu, Lambda) = sum_k pi_k N(x_n | mu_k, Lambda_k^-1)

`models.wishart` has the free variables behind the means and the precisions, and why the means may be one of two kinds.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
from pytensor.tensor.variable import TensorVariable

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.families.gaussian import Gaussian
from mixtures.model import Theta
from models import wishart
from models.observed import Rename, Statistics, coords, normal, observe, unconstrain_weights, weights


def build(x: np.ndarray, family: Gaussian, allocation: Dirichlet, *, centred: bool = False) -> pm.Model:
    """The model of ``x`` with its labels summed out.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Observations, in their own units.
    family, allocation : Gaussian, Dirichlet
        The model with its priors; parameters are in the family's coordinates.
    centred : bool
        Whether the means are free variables. The model is the same, its unconstrained space is not.

    Returns
    -------
    pymc.Model
        With ``weights`` (K,), ``means`` (K, D), ``covariances`` (K, D, D) and the observed ``x`` (N, D), whose log density
        is per observation and in the units of x.
    """
    with pm.Model(coords=coords(family, allocation)) as model:
        pi = weights(allocation)
        observe(x, family, pi, *variables(family, allocation.n_components, centred=centred))
    return model


def variables(
    family: Gaussian, n_components: int, *, centred: bool, rename: Rename = str
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    K = n_components
    theta, eta = wishart.normal_wishart(family.prior, K, K, centred=centred, rename=rename)
    return theta, *normal(family, eta, wishart.pairs)


def unconstrain(family: Gaussian, weights: np.ndarray, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The model's unconstrained values at (pi, theta): the inverse of its transforms.

    Parameters
    ----------
    family : Gaussian
    weights : ndarray, shape (..., K)
    theta : dict of ndarray
        ``means`` (..., K, D) and ``covariances`` (..., K, D, D), in the family's coordinates.
    centred : bool
        As in `build`.

    Returns
    -------
    dict of ndarray
        One entry for each of ``model.value_vars``, by name.
    """
    K = weights.shape[-1]
    return wishart.unconstrain(family.prior, K, theta, centred=centred) | unconstrain_weights(weights)
