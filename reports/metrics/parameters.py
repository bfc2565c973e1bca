"""The scalar parameters of a posterior as a Dataset holds it; `mixtures.families.parameters` says what each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixtures.families import parameters
from mixtures.families.parameters import BLOCKS, KINDS, Scalar, kind

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["BLOCKS", "KINDS", "by_feature", "kind", "natural", "scalars", "scaled", "separation"]


def natural(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Every distinct, free scalar parameter by name, each (chain, draw), in the units of the data.

    Levels of categories have the names in the coordinate over (feature, level), where there is one; names are empty behind the
    levels of a feature that has fewer.
    """
    return {scalar.name: scalar.values for scalar in _each(posterior)}


def scalars(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """`natural` on the scales of `KINDS`, where every parameter has moments, each (chain, draw).

    A single draw is an estimate, infinite where it is at the boundary: of a probability 0 or 1, of a rate 0.
    """
    point = posterior.sizes["chain"] * posterior.sizes["draw"] == 1
    return {scalar.name: scalar.estimated if point else scalar.scaled for scalar in _each(posterior)}


BOUNDED = ("initial", "transitions", "probabilities", "rates")
"""Blocks of parameters of which an estimate may be at the boundary of their range."""


def at_boundary(posterior: xr.Dataset) -> dict[str, bool]:
    """Whether an estimate, a single draw, is at the boundary, of every probability and rate."""
    return {
        scalar.name: bool(scalar.at_boundary.all())
        for scalar in _each(posterior)
        if (own := kind(scalar.name)) is not None and own.block in BOUNDED
    }


def scaled(target: str, values: np.ndarray) -> np.ndarray:
    """A parameter's values on the scale on which it is compared; what has no scale of its own as it is."""
    return Scalar(target, values).scaled


def _each(posterior: xr.Dataset) -> Iterator[Scalar]:
    named = {coord.dims: coord.values for coord in posterior.coords.values() if coord.ndim == 2}
    known = [name for name in (*parameters.WEIGHTS, *parameters.SHOWN) if name in posterior]
    for name in [
        *known,
        *(name for name in posterior.data_vars if name not in known),
    ]:  # a saved set has an order of its own
        variable = posterior[name]
        labels = [[str(label) for label in posterior[dim].values] for dim in variable.dims[2:]]
        levels = named.get(variable.dims[-2:])
        own = None if levels is None else [[str(level) for level in row if level] for row in levels]
        yield from parameters.scalars(str(name), variable.values, labels, own)


def by_feature(posterior: xr.Dataset) -> dict[str, xr.Dataset]:
    """What clusters say of every feature, (chain, draw, cluster) each, by title; see `mixtures.families.parameters.facets`."""
    import xarray as xr

    found: dict[str, xr.Dataset] = {}
    named = {
        coord.dims: coord.values for coord in posterior.coords.values() if str(coord.name).startswith("level_name")
    }
    for name in (name for name in parameters.SHOWN if name in posterior):
        variable = posterior[name]
        _, _, cluster, feature, *_ = variable.dims
        levels = named.get((feature, *variable.dims[4:]), named.get((feature,)))
        for d, label in enumerate(posterior[feature].values):
            own = None if levels is None else [str(level) for level in np.atleast_1d(levels[d])]
            titled = parameters.facets(str(name), variable.values, d, own)
            values = {title: (("chain", "draw", cluster), v) for title, v in titled.items()}
            found[str(label)] = found.get(str(label), xr.Dataset()).assign(values)
    return found


def separation(posterior: xr.Dataset) -> dict[str, float]:
    """How far apart clusters lie in each feature: the variance of their locations over their mean variance, at the medians."""
    found = {}
    for feature, drawn in by_feature(posterior).items():
        facets = {str(title): v.values for title, v in drawn.median(("chain", "draw")).items()}
        within = parameters.within(facets).mean()
        between = sum(v.var() for title, v in facets.items() if title != parameters.SD)
        found[feature] = float(between / within) if within > 0 else float("inf") if between > 0 else 0.0
    return found
