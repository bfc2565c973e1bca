"""Rows so far from the others that coordinates which suit all of them leave the others few digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mixtures.families.scaling import settled
from mixtures.rows.informed import counting
from mixtures.rows.moments import Moments, moments, seen_moments
from mixtures.rows.reading import Rows, folded

# Times their spread that a row is away from the median of a feature, from which it is far.
FAR = 100.0

# Rows that tell at a glance that none is far, and rows that tell where the others are; up to twice as many are looked at.
GLANCE, ENOUGH = 50, 1000


@dataclass(frozen=True)
class Bulk:
    """Where the rows are that are not far from each other.

    Parameters
    ----------
    features : ndarray of int, shape (F,)
        Those in which some row is far.
    centre : ndarray, shape (F,)
        Their medians.
    limit : ndarray, shape (F,)
        Distances from the median above which a row is far.
    """

    features: np.ndarray
    centre: np.ndarray
    limit: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Which rows (N,) of x (N, D) are far in no feature; what is missing, NaN, is not far."""
        return ~(np.abs(x[:, self.features] - self.centre) > self.limit).any(1)


def bulk_of(x: Rows, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Bulk | None:
    """Where the rows are that are far in no feature, by the same rows of an array as of blocks; None where all are near.

    The spread is the median distance from the median among the rows that differ from it, which ignores a far minority.

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    low, high : ndarray, shape (D,), optional
        The smallest and the largest value of each feature of an array.
    """
    if isinstance(x, np.ndarray) and low is not None and high is not None:
        some = x[:: _step(len(x))]
    elif found := folded(x, None, _look, _both, "bulk"):
        low, high, _, _, some = found
    else:
        return None
    few = np.sort(some[:: _step(len(some), GLANCE)], axis=0)
    if (2 * (high - low) <= FAR * (few[3 * len(few) // 4] - few[len(few) // 4])).all():
        return None
    some = np.sort(some, axis=0).astype(np.float64, copy=False)
    often, d = len(some) - np.isnan(some).sum(0), np.arange(some.shape[1])
    centre = some[np.maximum(often - 1, 0) // 2, d]
    away = np.sort(np.abs(some - centre), axis=0)
    same = (away == 0).sum(0)
    limit = FAR * away[np.minimum(same + (often - same) // 2, len(some) - 1), d]
    far = np.flatnonzero(np.maximum(high - centre, centre - low) > limit)
    return Bulk(far, centre[far], limit[far]) if len(far) else None


def bulk_moments(x: Rows, weights: Any, bulk: Bulk | None, read: Callable[[Rows, Any], Moments]) -> Moments | None:
    """What ``read`` finds for the rows of the bulk and their weights; None where these are no more than the features."""
    if bulk is None:
        return None
    try:
        data = read(*counting(x, weights, bulk))
    except ValueError:  # nothing was seen of a feature, or no row counts
        return None
    return data if data.rows > 1 + len(data.mean) else None


def suited(family: Any, x: Rows, weights: Any) -> Any:
    """A Gaussian family in coordinates that suit the rows that are not far from the others.

    The family itself where no row is far, or where the others have no spread.
    """
    matrix = family.unit.ndim == 2
    data = bulk_moments(x, weights, bulk_of(x), seen_moments if family.missing else partial(moments, root=matrix))
    if data is None:
        return family
    variance = data.squares / data.n
    if not (variance > 0).all():
        return family
    if family.covariance == "spherical":
        variance = np.full_like(variance, variance.mean())
    unit = np.sqrt(variance)
    if matrix:
        unit = np.diag(unit) if data.root is None else settled(data.root)
    return family.in_coordinates(data.mean, unit)


class _Seen(NamedTuple):
    """The smallest and the largest value of each feature (D,), NaN where nothing was seen, and rows in equal steps.

    Parameters
    ----------
    low, high : ndarray, shape (D,)
    step : int
        The smallest power of two in whose steps no more than twice `ENOUGH` rows are met.
    at : ndarray of int, shape (S,)
        The numbers of those rows.
    some : ndarray, shape (S, D)
    """

    low: np.ndarray
    high: np.ndarray
    step: int
    at: np.ndarray
    some: np.ndarray


def _look(block: np.ndarray, weights: np.ndarray | None, start: int) -> _Seen:
    step = _step(len(block))
    at = np.arange(-start % step, len(block), step)
    return _Seen(np.fmin.reduce(block), np.fmax.reduce(block), step, start + at, block[at])


def _both(a: _Seen, b: _Seen) -> _Seen:
    step, at, some = max(a.step, b.step), np.append(a.at, b.at), np.concatenate([a.some, b.some])
    while (met := at % step == 0).sum() > 2 * ENOUGH:
        step *= 2
    return _Seen(np.fmin(a.low, b.low), np.fmax(a.high, b.high), step, at[met], some[met])


def _step(rows: int, enough: int = ENOUGH) -> int:
    """The smallest power of two in whose steps no more than twice ``enough`` of so many rows are met."""
    return 1 << (-(-rows // (2 * enough)) - 1).bit_length()
