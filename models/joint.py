"""The PyMC twin of a model: the free variables of its clusters and its labels, and the observed x, the labels summed out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm

from mixtures.checks import check_model
from mixtures.families.product import Product
from mixtures.fit import Draws
from mixtures.model import Allocation, Family, Theta
from mixtures.rows.arrays import check_matrix
from mixtures.rows.sequences import Sequences
from models import allocations, families


def build(x: Any, family: Family, allocation: Allocation, *, centred: bool = False) -> pm.Model:
    """The model of ``x`` with its labels summed out.

    Parameters
    ----------
    x : ndarray, shape (N, D), or Sequences
        Observations, in their own units.
    family, allocation : Family, Allocation
        The model with its priors; parameters are in the family's coordinates.
    centred : bool
        Whether the means of Gaussian clusters are free variables. The model is the same, its unconstrained space is not.

    Returns
    -------
    pymc.Model
        With the `parameters`, and the observed ``x`` (N, D), whose log density is in the units of x: per observation, or one of
        all sequences.
    """
    rows, K = checked(x, family, allocation), allocation.n_components
    axes = dict.fromkeys(("cluster", "cluster_"), K) | _axes(family, rows.shape[1])
    with pm.Model(coords={axis: range(n) for axis, n in axes.items()}) as model:
        own = allocations.twin(allocation)
        weights = own.variables(allocation)
        theta, eta, statistics = families.twin(family).variables(family, K, centred=centred)
        own.observe(rows, family, weights, theta, eta, statistics)
    return model


def unconstrain(
    family: Family, allocation: Allocation, weights: np.ndarray, theta: Theta, *, centred: bool = False
) -> dict[str, np.ndarray]:
    """The model's unconstrained values at (pi, theta): the inverse of its transforms.

    Parameters
    ----------
    family, allocation : Family, Allocation
    weights : ndarray, shape (..., K)
        Or what the allocation has in their place.
    theta : dict of ndarray, shape (..., K, ...)
        In the family's coordinates.
    centred : bool
        As in `build`.

    Returns
    -------
    dict of ndarray
        One entry for each of ``model.value_vars``, by name.
    """
    own = families.twin(family).unconstrain(family, theta, centred=centred)
    return own | allocations.twin(allocation).unconstrain(allocation, weights)


def checked(x: Any, family: Family, allocation: Allocation) -> Any:
    """The rows as the allocation takes them, a matrix or Sequences of float64, or a ValueError."""
    check_model(family, allocation)
    rows = allocation.rows(x)
    if isinstance(rows, Sequences):
        return Sequences(check_matrix(rows.x, family.missing), rows.lengths)
    return check_matrix(rows, family.missing)


def parameters(family: Family, allocation: Allocation) -> tuple[str, ...]:
    """Names of the model's variables that make up (pi, theta)."""
    return (*allocation.dims, *family.parameters)


def posterior(allocation: Allocation, values: dict[str, np.ndarray]) -> Draws:
    """Draws (chain, draw, ...) of the `parameters`, by name, as a `Fit` holds them."""
    values = dict(values)
    named = {name: values.pop(name) for name in allocation.dims}
    return Draws(allocation.weights_of(named), values)


def _axes(family: Family, columns: int) -> dict[str, int]:
    """The dims of the clusters' parameters, but for that of the clusters, and their lengths."""
    if isinstance(family, Product):
        each = (_axes(part, len(own)) for part, own in zip(family.parts, family.columns, strict=True))
        return {f"{axis}_{j}": n for j, axes in enumerate(each, 1) for axis, n in axes.items()}
    return dict.fromkeys(("feature", "feature_"), columns) | {"level": max(getattr(family, "levels", (1,)))}
