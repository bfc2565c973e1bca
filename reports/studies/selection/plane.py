"""The plane in which clusters are drawn: the one or two features, or the first two principal axes of more.

Principal axes are those of the features in units of their standard deviations, so that no feature leads by its unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reports.metrics.criteria import Clustering


class Plane(NamedTuple):
    """Coordinates (x - origin) axes, one or two of them.

    Parameters
    ----------
    names : tuple of str
        Names of the coordinates.
    origin : ndarray, shape (D,)
    axes : ndarray, shape (D, 1) or (D, 2)
    """

    names: tuple[str, ...]
    origin: np.ndarray
    axes: np.ndarray

    @property
    def principal(self) -> bool:
        """Whether the coordinates are principal axes, not features."""
        return len(self.origin) > 2

    @classmethod
    def of(cls, x: np.ndarray, features: Sequence[str]) -> Plane:
        """The plane of data (N, D)."""
        D = x.shape[1]
        if D <= 2:
            return cls(tuple(features), np.zeros(D), np.eye(D))
        unit = x.std(0)
        unit[unit == 0] = 1
        values, vectors = np.linalg.eigh(np.cov((x / unit).T))
        shares = values[::-1] / values.sum()
        names = tuple(f"principal axis {i + 1} ({100 * shares[i]:.0f}% of the variance)" for i in range(2))
        return cls(names, x.mean(0), vectors[:, :-3:-1] / unit[:, None])

    def points(self, x: np.ndarray) -> np.ndarray:
        """Coordinates of x (..., D), of shape (..., 1) or (..., 2)."""
        return (x - self.origin) @ self.axes

    def covariances(self, clustering: Clustering) -> np.ndarray:
        """Covariances of the clusters in these coordinates, shape (K, 1, 1) or (K, 2, 2)."""
        return self.axes.T @ clustering.covariances @ self.axes
