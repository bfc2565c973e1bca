"""What the twins share: the weights, and the observed mixture of exponential families with its labels summed out.

    log p(x_n | pi, theta) = logsumexp_k t(x_n) . eta_k      t(x) = (1, z, products of z)      z = unit^-1 (x - origin)

Log pi_k is folded into the first entry of eta_k, so that the likelihood is one matrix product and its gradient another.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.linalg import solve_triangular
from pytensor.tensor.variable import TensorVariable

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.families.normal import LOG_2PI, Normal
from mixtures.model import Family
from mixtures.rows import check_matrix

Eta = tuple[TensorVariable, TensorVariable, TensorVariable]
Statistics = Callable[[TensorVariable], tuple[TensorVariable, TensorVariable | float]]
Rename = Callable[[str], str]
"""What a variable, or a dim other than that of the clusters, is called where the family is a part of a product."""


def coords(family: Family, allocation: Dirichlet) -> dict[str, range]:
    """The model's dims and their lengths."""
    K, D = allocation.n_components, len(family.unit)
    return {"cluster": range(K), "feature": range(D), "feature_": range(D)}


def weights(allocation: Dirichlet) -> TensorVariable:
    """The variable ``weights``, pi ~ Dirichlet(alpha0), (K,); a constant where K = 1."""
    if allocation.n_components > 1:
        return pm.Dirichlet("weights", allocation.alpha0, dims="cluster")
    return pm.Deterministic("weights", pt.ones(1), dims="cluster")


def unconstrain_weights(weights: np.ndarray) -> dict[str, np.ndarray]:
    """The unconstrained values of the weights (..., K), by name."""
    if weights.shape[-1] == 1:
        return {}
    log_pi = np.log(weights)
    return {"weights_simplex__": (log_pi - log_pi.mean(-1, keepdims=True))[..., :-1]}


def observe(
    x: np.ndarray,
    family: Family,
    pi: TensorVariable,
    theta: dict[str, TensorVariable],
    eta: TensorVariable,
    statistics: Statistics,
) -> None:
    """Add the observed ``x`` (N, D), with log densities per observation and in the units of x.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Observations, in their own units.
    family : Family
        How points are simulated.
    pi : TensorVariable, shape (K,)
    theta : dict of TensorVariable
        Cluster parameters as the family names them, each with a leading axis (K,).
    eta : TensorVariable, shape (K, P)
        Natural parameters.
    statistics : callable
        From x (N, D) to t(x) (N, P) and to the log base measure (N,), or 0.
    """
    x = check_matrix(x)
    eta_k = pt.concatenate([eta[:, :1] + pt.log(pi)[:, None], eta[:, 1:]], axis=1)

    def logp(value: TensorVariable, eta: TensorVariable, *_: TensorVariable) -> TensorVariable:
        t, log_base = statistics(value)
        log_rho = eta[0] @ t.T
        # logsumexp over clusters: as JAX translates it, the softmax has no gradient through its maximum to spend time on.
        return log_rho[0] - pt.special.log_softmax(log_rho, axis=0)[0] + log_base

    def random(_: np.ndarray, *parameters: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        weights, _columns, *values = (p[0] for p in parameters)
        labels = rng.choice(len(weights), size=size, p=weights)
        return family.simulate(dict(zip(theta, values, strict=True)), labels, rng)

    axes = (",".join(["k", *(f"a{i}_{axis}" for axis in range(1, v.ndim))]) for i, v in enumerate(theta.values()))
    signature = ",".join(["(k,p)", "(k)", "(d)", *(f"({own})" for own in axes)]) + "->(d)"
    columns = np.zeros(x.shape[1])  # which tells the number of columns
    pm.CustomDist(
        "x",
        eta_k,
        pi,
        columns,
        *theta.values(),
        logp=logp,
        random=random,
        signature=signature,
        shape=x.shape,
        observed=x,
    )


def normal(
    family: Normal, eta: Eta, products: Callable[[TensorVariable], TensorVariable]
) -> tuple[TensorVariable, Statistics]:
    """Natural parameters (K, P) and statistics of a Gaussian family, for `observe`.

    Parameters
    ----------
    family : Normal
        The coordinates z.
    eta : tuple of TensorVariable
        The parts of eta: log|Lambda|/2 - mu^T Lambda mu / 2 of shape (K,), Lambda mu (K, D), and those for the products (K, Q).
    products : callable
        From z (N, D) to the products (N, Q) in t(x).
    """
    constant, linear, quadratic = eta
    constant += -len(family.unit) / 2 * LOG_2PI - family.log_volume

    def statistics(value: TensorVariable) -> tuple[TensorVariable, float]:
        z, unit = value - family.origin, pt.as_tensor_variable(family.unit)
        z = z / unit if unit.ndim == 1 else solve_triangular(unit, z.T, lower=True).T
        return pt.concatenate([pt.ones((z.shape[0], 1)), z, products(z)], axis=1), 0.0

    return pt.concatenate([constant[:, None], linear, quadratic], axis=1), statistics


def observed(model: pm.Model) -> TensorVariable:
    """The value of the observed ``x`` in a model's graphs."""
    return model.rvs_to_values[model["x"]]
