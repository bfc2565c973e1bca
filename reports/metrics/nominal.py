"""The columns of a table that hold levels: which they are, and how probable each level is in each cluster."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mixtures import Conjugate, Fit, Product
from mixtures.model import Theta


class Nominal(NamedTuple):
    """The binary and categorical columns of a model.

    Parameters
    ----------
    columns : ndarray of int, shape (J,)
        Their places in x.
    levels : tuple of int
        Number of levels of each.
    whole : bool
        Whether x has no other columns.
    """

    columns: np.ndarray
    levels: tuple[int, ...]
    whole: bool

    @property
    def first(self) -> np.ndarray:
        """Place of the first level of every column where the levels of all stand side by side, (J,)."""
        return np.cumsum([0, *self.levels[:-1]]).astype(int)

    @property
    def cells(self) -> float:
        """How many different rows there can be."""
        return float(np.prod(np.array(self.levels, dtype=float)))

    def indicators(self, x: np.ndarray) -> np.ndarray:
        """Which level every row has in every column, (N, L); no level where a value is missing."""
        z = np.zeros((len(x), sum(self.levels)))
        codes = x[:, self.columns]
        rows, columns = np.nonzero(~np.isnan(codes))
        z[rows, self.first[columns] + codes[rows, columns].astype(int)] = 1.0
        return z


def nominal(family: Any) -> Nominal:
    """The columns of a family that hold levels, in the order of its parts."""
    columns, levels = [np.empty(0, dtype=int)], []
    for part, own in _parts(family):
        if part.n_levels:
            columns.append(own)
            levels += part.n_levels
    return Nominal(np.concatenate(columns), tuple(levels), len(levels) == sum(len(own) for _, own in _parts(family)))


def probabilities(family: Any, theta: Theta) -> np.ndarray:
    """The probability of every level of every such column in every cluster, (..., K, L), columns in the order of `nominal`."""
    parts = family.parts_of(theta) if isinstance(family, Product) else [(family, theta)]
    return np.concatenate([part.of_levels(own) for part, own in parts if part.n_levels], axis=-1)


def parameters(fit: Fit) -> tuple[np.ndarray, Theta]:
    """Weights (S, K) and theta (S, K, ...) of all held draws, or at the mean of a posterior in closed form, where S is 1."""
    if isinstance(fit.posterior, Conjugate):
        weights, theta = fit.allocation.mean(fit.posterior.alpha), fit.family.mean(fit.posterior.theta)
        return weights[None], {name: value[None] for name, value in theta.items()}
    return fit.held.flat()


def _parts(family: Any) -> list[tuple[Any, np.ndarray]]:
    """Every part of a family with its columns; a family by itself has them all."""
    if isinstance(family, Product):
        return list(zip(family.parts, family.columns, strict=True))
    return [(family, np.arange(len(family.n_levels or family.unit)))]
