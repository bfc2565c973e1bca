"""The numbers of a model's variables, by name, on the scales on which they are compared.

Positive variables are compared by their logarithms, those between two bounds by their log odds, all others as they are: there
means and variances exist more often, and quantiles, of which every measure is made, move with the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.families.parameters import log_odds

if TYPE_CHECKING:
    import xarray as xr

    from reports.validation.target import Variable

TINY = np.finfo(float).tiny


def safe(name: str) -> str:
    """A variable's name as that of one in a tree, in which a slash would mean a path."""
    return name.replace("/", "\N{DIVISION SLASH}")


def as_dataset(values: Mapping[str, np.ndarray], variables: Mapping[str, Variable]) -> xr.Dataset:
    """Draws (chain, draw, *shape) by variable as labelled arrays, which know their scales."""
    import xarray as xr

    data: dict[str, xr.Variable] = {}
    coords: dict[str, list[str]] = {}
    for name, a in values.items():
        own = variables[name]
        attrs: dict[str, Any] = {"scale": own.scale}
        if own.scale == "log odds":
            attrs |= {"low": own.low, "high": own.high}
        data[safe(name)] = xr.Variable(("chain", "draw", *own.dims), a, attrs)
        coords |= {dim: list(labels) for dim, labels in zip(own.dims, own.labels, strict=True)}
    chains, draws = next(iter(values.values())).shape[:2]
    return xr.Dataset(data, coords={"chain": range(chains), "draw": range(draws)} | coords)


def natural(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Every number by its name, (chain, draw) each, in the units of the model."""
    return {
        scalar: values for variable in posterior.data_vars.values() for scalar, values in _numbers(variable).items()
    }


def scaled(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """The same on the scales on which they are compared."""
    return {
        scalar: on_scale(values, variable.attrs)
        for variable in posterior.data_vars.values()
        for scalar, values in _numbers(variable).items()
    }


def on_scale(values: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    """Values of a variable on its scale, by the attributes that `as_dataset` gives it."""
    if attrs["scale"] == "log":
        return np.log(np.maximum(values, TINY))
    if attrs["scale"] == "log odds":
        width = attrs["high"] - attrs["low"]
        return log_odds((values - attrs["low"]) / width, (attrs["high"] - values) / width)
    return values


def _numbers(variable: xr.DataArray) -> dict[str, np.ndarray]:
    name = str(variable.name)
    labels = [[str(label) for label in variable[dim].values] for dim in variable.dims[2:]]
    if not labels:
        return {name: variable.values}
    flat = variable.values.reshape(*variable.shape[:2], -1)
    return {f"{name}[{', '.join(place)}]": flat[..., i] for i, place in enumerate(product(*labels))}


def variable_of(posterior: xr.Dataset) -> dict[str, str]:
    """The variable of every number, by the number's name."""
    return {scalar: str(v.name) for v in posterior.data_vars.values() for scalar in _numbers(v)}
