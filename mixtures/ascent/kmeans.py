"""K-means for starts: k-means++ seeds and Lloyd's algorithm, for several runs side by side."""

from __future__ import annotations

import numpy as np

from mixtures.errors import DistinctRowsError

# Steps of Lloyd's algorithm at most.
LLOYD = 100

# Share of the points that a step moves to another centre at most where the steps end: an ascent moves them all again.
SETTLED = 1 / 300


def seed(z: np.ndarray, weights: np.ndarray, K: int, u: np.ndarray, apart: bool = True) -> np.ndarray:
    """K distinct points of each z, drawn by weight and, if ``apart``, by squared distance from those before.

    Each but the first is the best of several draws in the squared distance that it leaves: k-means++ made greedy, as its
    authors suggest.

    Parameters
    ----------
    z : ndarray, shape (R, N, D)
    weights : ndarray, shape (N,)
    K : int
    u : ndarray, shape (R, 1 + (K - 1) tries)
        Uniform random numbers.
    apart : bool

    Returns
    -------
    centres : ndarray, shape (R, K, D)

    Raises
    ------
    DistinctRowsError
        If one of z has fewer than K distinct rows.
    """
    runs = np.arange(len(z))
    draws = np.split(u[:, 1:], K - 1, axis=1) if K > 1 else []
    centres = z[runs, _drawn(np.broadcast_to(weights, z.shape[:2]), u[:, :1])[:, 0], None]
    by_feature = np.ascontiguousarray(np.moveaxis(z, -1, 0))
    distance = _squares(by_feature, centres)[:, 0]
    for k, draw in enumerate(draws, 1):
        mass = weights * (distance if apart else distance > 0)
        if not mass.any(axis=1).all():
            raise too_few(K, k)
        tried = z[runs[:, None], _drawn(mass, draw)]
        left = np.minimum(distance[:, None], _squares(by_feature, tried))
        best = np.argmin(left @ weights, axis=1)
        centres, distance = np.append(centres, tried[runs, best, None], axis=1), left[runs, best]
    return centres


def _drawn(mass: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Indices (R, T) with probability proportional to mass (R, N), by inversion of u (R, T)."""
    cumulative = np.cumsum(mass, axis=1)
    reached = cumulative[:, None] <= u[..., None] * cumulative[:, None, -1:]
    return np.minimum(reached.sum(-1), mass.shape[1] - 1)


def _squares(by_feature: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (..., C, N) of points (D, ..., N) from centres (..., C, D), by differences: zero where they are one."""
    total = np.zeros((*centres.shape[:-1], by_feature.shape[-1]))
    away = np.empty_like(total)
    for own, at in zip(by_feature, np.moveaxis(centres, -1, 0), strict=True):
        np.subtract(own[..., None, :], at[..., None], out=away)
        total += np.multiply(away, away, out=away)
    return total


def nearest(z: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the closest centre (..., K, D) for every point (..., N, D), shape (..., N)."""
    with np.errstate(over="ignore", invalid="ignore"):  # where centres were given
        return np.argmin((centres**2).sum(-1)[..., None, :] - z @ (2 * centres).swapaxes(-2, -1), axis=-1)


def lloyd(
    z: np.ndarray,
    weights: np.ndarray,
    centres: np.ndarray,
    max_iter: int = LLOYD,
    settled: float = SETTLED,
    still: float = 0.0,
) -> np.ndarray:
    """Labels (R, N) from k-means by Lloyd's algorithm until few change; a centre that loses all its points stays where it is.

    Parameters
    ----------
    z : ndarray, shape (R, N, D)
    weights : ndarray, shape (N,)
    centres : ndarray, shape (R, K, D)
    max_iter : int
    settled, still : float
        A run ends once a step changes no more than this share of its labels, or moves its centres by no more than this squared
        distance in all.
    """
    labels = nearest(z, centres)
    moving, one_hot = np.arange(len(z)), np.eye(centres.shape[-2])
    for _ in range(max_iter):
        before = labels[moving]
        own = one_hot[before].swapaxes(-2, -1) * weights
        counts = own.sum(-1)[..., None]
        old, centres = centres, np.where(counts > 0, own @ z / np.maximum(counts, np.finfo(float).tiny), centres)
        labels[moving] = after = nearest(z, centres)
        moved = ((after != before).mean(axis=1) > settled) & (((centres - old) ** 2).sum((-2, -1)) > still)
        if not moved.any():
            break
        if not moved.all():
            moving, z, centres = moving[moved], z[moved], centres[moved]
    return labels


def too_few(K: int, found: int) -> DistinctRowsError:
    """That K seeds need more distinct rows than were found."""
    return DistinctRowsError(f"{K} components need {K} distinct rows; the data have {found}", found)
