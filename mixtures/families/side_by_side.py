"""Arrays of a product of families from those of its parts: side by side, around the one constant that the parts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import block_diag


def join_statistics(t: Sequence[np.ndarray]) -> np.ndarray:
    """Statistics of the product (N, P) from those of its parts (N, P_j)."""
    return np.concatenate([t[0], *(own[..., 1:] for own in t[1:])], axis=-1)


def join_natural(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Natural parameters of the product (..., K, P) from those of its parts (..., K, P_j)."""
    constant = np.sum([eta[..., :1] for eta in parts], axis=0)
    return np.concatenate([constant, *(eta[..., 1:] for eta in parts)], axis=-1)


def join_moments(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (..., size) and covariance (..., size, size) of the product from those of its parts, which are uncorrelated."""
    means, covariances = zip(*parts, strict=True)
    size = sum(mean.shape[-1] for mean in means)
    covariance, start = np.zeros((*means[0].shape[:-1], size, size)), 0
    for own in covariances:
        place = slice(start, start + own.shape[-1])
        covariance[..., place, place] = own
        start = place.stop
    return np.concatenate(means, axis=-1), covariance


def join_units(units: Sequence[np.ndarray]) -> np.ndarray:
    """Scales (size,) from those of the parts, or a block-diagonal matrix (size, size) where one has a triangle."""
    if all(unit.ndim == 1 for unit in units):
        return np.concatenate(units)
    return block_diag(*(np.diag(unit) if unit.ndim == 1 else unit for unit in units))


def join_factors(factors: Sequence[np.ndarray], sizes: Sequence[int]) -> np.ndarray:
    """What the product's monomials multiply (N, W): the parts' coordinates, so many of each, then what they have behind."""
    each = list(zip(factors, sizes, strict=True))
    return np.concatenate([*(y[..., :D] for y, D in each), *(y[..., D:] for y, D in each)], axis=-1)


def join_monomials(parts: Sequence[Any]) -> np.ndarray:
    """The parts' monomials (M, 3), their places in t and their factors counted on; see `mixtures.Product.monomials`."""
    rows, p, d = [np.zeros((1, 3), int)], 0, 0
    behind = sum(len(part.unit) for part in parts)
    for part in parts:
        own, D = part.monomials[part.monomials[:, 0] > 0].copy(), len(part.unit)
        width = max(D, int(own[:, 1:].max()))
        factors = own[:, 1:]
        own[:, 1:] = np.where(factors > D, factors - D + behind, factors + d * (factors > 0))
        own[:, 0] += p
        rows.append(own)
        p, d, behind = int(own[-1, 0]), d + D, behind + width - D
    return np.concatenate(rows)


def places(parts: Sequence[Any]) -> tuple[np.ndarray, ...]:
    """Where in t each part's statistics are, the constant among them, shape (P_j,) each."""
    ends = np.cumsum([part.monomials[-1, 0] for part in parts])
    starts = np.concatenate([[0], ends[:-1]])
    return tuple(np.append(0, np.arange(a + 1, b + 1)) for a, b in zip(starts, ends, strict=True))
