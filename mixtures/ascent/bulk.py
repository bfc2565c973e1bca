"""Rows so far from the others that coordinates which suit all of them leave the others few digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mixtures.families.scaling import settled
from mixtures.rows.moments import moments, seen_moments
from mixtures.rows.reading import Rows

# Times their spread that a row is away from the median of a feature, from which it is far.
FAR = 100.0

# Rows that tell at a glance that none is far, and rows that tell where the others are; up to twice as many are looked at.
GLANCE, ENOUGH = 50, 1000


def near(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """Which rows (N,) are far in no feature; None where all are near, or no more than the features.

    The spread is the median distance from the median among the rows that differ from it, which ignores a far minority.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        What is missing, NaN, is not far.
    low, high : ndarray, shape (D,)
        The smallest and the largest value of each feature.
    """
    some = _in_order(x, GLANCE)
    if (2 * (high - low) <= FAR * (some[3 * len(some) // 4] - some[len(some) // 4])).all():
        return None
    some = _in_order(x, ENOUGH).astype(np.float64, copy=False)
    seen, d = len(some) - np.isnan(some).sum(0), np.arange(x.shape[1])
    centre = some[np.maximum(seen - 1, 0) // 2, d]
    away = np.sort(np.abs(some - centre), axis=0)
    same = (away == 0).sum(0)
    limit = FAR * away[np.minimum(same + (seen - same) // 2, len(some) - 1), d]
    far = np.maximum(high - centre, centre - low) > limit
    if not far.any():
        return None
    inside = ~(np.abs(x[:, far] - centre[far]) > limit[far]).any(1)
    return inside if inside.sum() > 1 + x.shape[1] else None


def suited(family: Any, x: Rows, weights: np.ndarray | None) -> Any:
    """A Gaussian family in coordinates that suit the rows of an array that are not far from the others.

    Its prior is left as it is; so is the family where no row is far, where the others have no spread, and for rows that are no
    array.
    """
    if not isinstance(x, np.ndarray) or np.isnan(x).all(0).any():
        return family
    inside = near(x, np.nanmin(x, axis=0), np.nanmax(x, axis=0))
    if inside is None:
        return family
    matrix = family.unit.ndim == 2
    try:
        own = x[inside], None if weights is None else weights[inside]
        data = seen_moments(*own) if family.missing else moments(*own, root=matrix)
    except ValueError:  # nothing was seen of a feature, or no row counts
        return family
    variance = data.squares / data.n
    if not (variance > 0).all():
        return family
    if family.covariance == "spherical":
        variance = np.full_like(variance, variance.mean())
    unit = np.sqrt(variance)
    if matrix:
        unit = np.diag(unit) if data.root is None else settled(data.root)
    return replace(family, origin=data.mean, unit=unit)


def _in_order(x: np.ndarray, rows: int) -> np.ndarray:
    """So many rows, up to twice as many, with the values of each feature in order."""
    return np.sort(x[:: max(1, len(x) // rows)], axis=0)
