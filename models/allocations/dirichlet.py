"""The twin of `mixtures.allocations.dirichlet`: the weights, and the observed mixture with its labels summed out.

    log p(x_n | pi, theta) = logsumexp_k t(x_n) . eta_k

Log pi_k is folded into the first entry of eta_k, so that the likelihood is one matrix product and its gradient another.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.model import Family
from models.observed import Statistics, axes_of, log_densities, shown


def variables(allocation: Dirichlet) -> TensorVariable:
    """The variable ``weights``, pi ~ Dirichlet(alpha0), (K,); a constant where K = 1."""
    if allocation.n_components > 1:
        return pm.Dirichlet("weights", allocation.alpha0, dims="cluster")
    return pm.Deterministic("weights", pt.ones(1), dims="cluster")


def unconstrain(allocation: Dirichlet, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The unconstrained values of the weights (..., K), by name."""
    if allocation.n_components == 1:
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
    gaps = np.isnan(x)
    eta_k = pt.concatenate([eta[:, :1] + pt.log(pi)[:, None], eta[:, 1:]], axis=1)

    def logp(value: TensorVariable, eta: TensorVariable, *_: TensorVariable) -> TensorVariable:
        log_rho, log_base = log_densities(value, gaps, family, eta[0], statistics)
        # logsumexp over clusters: as JAX translates it, the softmax has no gradient through its maximum to spend time on.
        return log_rho[0] - pt.special.log_softmax(log_rho, axis=0)[0] + log_base

    def random(_: np.ndarray, *parameters: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        weights, _columns, *values = (p[0] for p in parameters)
        labels = rng.choice(len(weights), size=size, p=weights)
        return family.simulate(dict(zip(theta, values, strict=True)), labels, rng)

    columns = np.zeros(x.shape[1])  # which tells the number of columns
    pm.CustomDist(
        "x",
        eta_k,
        pi,
        columns,
        *theta.values(),
        logp=logp,
        random=random,
        signature=",".join(["(k,p),(k),(d)", *axes_of(theta)]) + "->(d)",
        shape=x.shape,
        observed=shown(x, gaps),
    )
