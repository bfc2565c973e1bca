"""Hyperparameters of several clusters and of several data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Stacked:
    """Hyperparameters whose fields can be joined along a new first axis, one place a data set."""

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """The priors of several data sets, to be used with states (R, K, P)."""
        return cls(*(np.stack([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def take(self, places: np.ndarray) -> Self:
        """Those at some places along the first axis."""
        return type(self)(*(getattr(self, field.name)[places] for field in fields(self)))


@dataclass(frozen=True)
class Batch(Stacked):
    """Hyperparameters of several clusters, each field with the clusters along its first axis."""

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """The priors of several data sets, each the same for all clusters, to be used with states (R, K, P)."""
        stacked = super().stack(parts)
        return cls(*(getattr(stacked, field.name)[:, None] for field in fields(cls)))

    def permute(self, order: np.ndarray) -> Self:
        """The same with its clusters in another order."""
        return self.take(order)


def existing(excess: np.ndarray) -> np.ndarray:
    """The divisor of an expectation that exists where it is positive; not a number elsewhere."""
    return np.where(excess > 0, excess, np.nan)
