"""What the twins of the families share: log densities of exponential families, and of what was seen where values are missing.

    log p(x_n | theta_k) = t(x_n) . eta_k + log h(x_n)      t(x) = (1, z, products of z)      z = unit^-1 (x - origin)

Values that are missing are integrated out: features that are independent leave their terms out of t, and for features that may
be correlated each pattern of gaps has its own marginal eta (`mixtures.families.gaps`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.linalg import solve_triangular
from pytensor.tensor.variable import TensorVariable

from mixtures.families.normal import Normal
from mixtures.families.wishart import LOG_2PI
from mixtures.model import Family

Eta = tuple[TensorVariable, TensorVariable, TensorVariable]
Statistics = Callable[[TensorVariable], tuple[TensorVariable, TensorVariable | float]]
Rename = Callable[[str], str]
"""What a variable, or a dim other than that of the clusters, is called where the family is a part of a product."""


def shown(x: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """What the model observes: zeros in the gaps (N, D), of which PyMC would make free variables otherwise."""
    return np.where(gaps, 0.0, x)


def axes_of(theta: dict[str, TensorVariable]) -> list[str]:
    """The axes of the clusters' parameters, as the signature of `pymc.CustomDist` has them."""
    each = (",".join(["k", *(f"a{i}_{axis}" for axis in range(1, v.ndim))]) for i, v in enumerate(theta.values()))
    return [f"({own})" for own in each]


def log_densities(
    value: TensorVariable, gaps: np.ndarray, family: Family, eta: TensorVariable, statistics: Statistics
) -> tuple[TensorVariable, TensorVariable | float]:
    """log rho = eta_k . t(x_n), (K, N), of rows whose gaps (N, D) are integrated out, and the log base measure (N,), or 0."""
    t, log_base = statistics(pt.switch(gaps, np.nan, value) if gaps.any() else value)
    if any(gaps[:, link.columns].any() for link in family.linked):
        return _with_gaps(family, eta, t, gaps), log_base
    return eta @ t.T, log_base


def _with_gaps(family: Family, eta: TensorVariable, t: TensorVariable, gaps: np.ndarray) -> TensorVariable:
    """log rho (K, N) of rows whose gaps (N, D) are integrated out; t (N, P) is zero where a missing value has part."""
    keys, pattern = np.unique(gaps, axis=0, return_inverse=True)
    own = pt.repeat(eta[None], len(keys), axis=0)
    for link in family.linked:
        marginal = _marginal(link.family.unit, eta[:, link.places], ~keys[:, link.columns])
        own = pt.set_subtensor(own[:, :, link.places[1:]], marginal[:, :, 1:])
        own = pt.inc_subtensor(own[:, :, 0], marginal[:, :, 0] - eta[:, 0])
    return (own[pattern.ravel()] * t[:, None, :]).sum(-1).T


def _marginal(unit: np.ndarray, eta: TensorVariable, seen: np.ndarray) -> TensorVariable:
    """Natural parameters (G, K, P) of what was seen in each pattern (G, D), from eta (K, P) of correlated features."""
    D = len(unit)
    i, j = np.triu_indices(D)
    o = seen[:, None, :].astype(float)
    m = 1 - o
    h, halves = eta[:, 1 : 1 + D], np.where(i == j, -0.5, -1.0)
    place = np.empty((D, D), int)
    place[i, j] = place[j, i] = range(len(i))
    Lambda = (eta[:, 1 + D :] / halves)[:, place]
    root = pt.linalg.cholesky(Lambda * (m[..., :, None] * m[..., None, :]) + o[..., None] * np.eye(D))
    R = solve_triangular(root, pt.eye(D), lower=True) * m[..., None, :]  # R^T R = Lambda_mm^-1
    u, U = (R @ h[..., None])[..., 0], R @ Lambda
    log_det = 2 * pt.log(pt.diagonal(root, axis1=-2, axis2=-1)).sum(-1)
    gone = (m * (LOG_2PI + 2 * np.log(np.diagonal(unit)))).sum(-1)
    constant = eta[:, 0] + (gone - log_det + (u**2).sum(-1)) / 2
    linear = o * (h - (U.mT @ u[..., None])[..., 0])
    quadratic = halves * o[..., i] * o[..., j] * (Lambda - U.mT @ U)[..., i, j]
    return pt.concatenate([constant[..., None], linear, quadratic], axis=-1)


def seen(value: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
    """The values (N, D) with zeros where one is missing, and ones where it is not."""
    missing = pt.isnan(value)
    return pt.switch(missing, 0.0, value), pt.switch(missing, 0.0, 1.0)


def join(family: Any, constant: TensorVariable, *others: TensorVariable) -> TensorVariable:
    """Natural parameters (K, P) from the features' shares of the constant (K, D) and what follows it."""
    if family.missing:
        return pt.concatenate([pt.zeros_like(constant[:, :1]), constant, *others], axis=1)
    return pt.concatenate([constant.sum(1, keepdims=True), *others], axis=1)


def gather(family: Any, value: TensorVariable, *others: Callable[[TensorVariable], TensorVariable]) -> TensorVariable:
    """t (N, P) of points (N, D) and of what follows them, with counts behind the constant where values may be missing."""
    ones = pt.ones((value.shape[0], 1))
    if not family.missing:
        return pt.concatenate([ones, value, *(other(value) for other in others)], axis=1)
    known, o = seen(value)
    counts = [] if family.linked else [o]
    return pt.concatenate([ones, *counts, known, *(other(known) for other in others)], axis=1)


def normal(
    family: Normal, eta: Eta, products: Callable[[TensorVariable], TensorVariable]
) -> tuple[TensorVariable, Statistics]:
    """Natural parameters (K, P) and statistics of a Gaussian family, for ``observe`` of `models.allocations`.

    Parameters
    ----------
    family : Normal
        The coordinates z.
    eta : tuple of TensorVariable
        The parts of eta: log|Lambda|/2 - mu^T Lambda mu / 2 of shape (K,), or the features' shares of it (K, D); Lambda mu
        (K, D); and those for the products (K, Q).
    products : callable
        From z (N, D) to the products (N, Q) in t(x).
    """
    constant, linear, quadratic = eta
    if constant.ndim == 1:
        constant += -len(family.unit) / 2 * LOG_2PI - family.log_volume
        whole = pt.concatenate([constant[:, None], linear, quadratic], axis=1)
    else:
        whole = join(family, constant - LOG_2PI / 2 - np.log(family.unit), linear, quadratic)

    def statistics(value: TensorVariable) -> tuple[TensorVariable, float]:
        z, unit = value - family.origin, pt.as_tensor_variable(family.unit)
        if unit.ndim == 1:
            z = z / unit
        elif family.missing:
            z = z / np.diagonal(family.unit)
        else:
            z = solve_triangular(unit, z.T, lower=True).T
        return gather(family, z, products), 0.0

    return whole, statistics


def observed(model: pm.Model) -> TensorVariable:
    """The value of the observed ``x`` in a model's graphs."""
    return model.rvs_to_values[model["x"]]
